"""Image files → pixels: sizes, colours and what is no image."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from PIL import Image

from kd_jax.data import pictures, sources
from kd_jax.types import DataError

DRAW = np.random.default_rng(0)
COLOUR = DRAW.integers(0, 256, (12, 10, 3), np.uint8)


@pytest.fixture
def saved(tmp_path):
  def save(picture, name='x.png', **options):
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(
      tmp_path / name, **options
    )
    return tmp_path / name

  return save


def test_pixels_as_they_are(saved):
  np.testing.assert_array_equal(pictures.read(saved(COLOUR), (12, 10, 3)), COLOUR)
  grey = COLOUR[..., 0]
  np.testing.assert_array_equal(pictures.read(saved(grey), (12, 10, 1)), grey[..., None])


def test_a_digit_of_the_data_set_comes_back(saved):
  """The rule for other sizes is the data pipeline's: the digits' 8×8 pixels become its
  16×16 ones.
  """
  from sklearn import datasets

  small = np.rint(datasets.load_digits().images * (255 / 16)).astype(np.uint8)
  pixels = sources.load('digits').test.image[0]
  (place,) = [
    n
    for n, image in enumerate(small)
    if np.array_equal(pictures.read(saved(image), (16, 16, 1)), pixels)
  ]
  assert datasets.load_digits().target[place] == sources.load('digits').test.label[0]


def test_another_size_is_averaged(saved):
  checks = np.indices((64, 64)).sum(0) % 2 * 255
  assert set(np.unique(pictures.read(saved(checks.astype(np.uint8)), (8, 8, 1)))) <= {127, 128}
  assert pictures.read(saved(COLOUR), (32, 16, 3)).shape == (32, 16, 3)


@pytest.mark.parametrize(
  ('shape', 'middle'),
  [((6, 6, 3), np.s_[3:9, 2:8]), ((12, 5, 3), np.s_[:, 2:7]), ((4, 10, 3), np.s_[4:8])],
)
def test_the_middle_of_the_wanted_proportions_is_taken(shape, middle, saved):
  """A frame around it does not count; here nothing is scaled."""
  framed = np.zeros((12, 10, 3), np.uint8)
  framed[middle] = COLOUR[middle]
  pixels = pictures.read(saved(np.kron(framed, np.ones((2, 2, 1), np.uint8))), shape)
  assert pixels.shape == shape and pixels.any(-1).mean() > 0.5


def test_a_picture_is_read_as_a_folder_reads_it(tmp_path):
  from kd_jax.data import folders

  for name in ('cat', 'dog'):
    (tmp_path / 'photos' / name).mkdir(parents=True)
    for number in range(2):
      Image.fromarray(DRAW.integers(0, 256, (50, 70, 3), np.uint8)).save(
        tmp_path / 'photos' / name / f'{number}.jpg'
      )
  images = folders.read(tmp_path / 'photos', side=8).images
  stored = {image.tobytes() for part in images.values() for image in np.asarray(part.image)}
  for path in pictures.paths([tmp_path / 'photos' / 'cat', tmp_path / 'photos' / 'dog']):
    assert pictures.read(path, (8, 8, 3)).tobytes() in stored


def test_grey_becomes_colour_and_colour_grey(saved):
  assert (
    pictures.read(saved(COLOUR[..., 0]), (12, 10, 3)).tolist()
    == np.repeat(COLOUR[..., :1], 3, -1).tolist()
  )
  weights = COLOUR @ np.array([0.299, 0.587, 0.114])
  assert np.abs(pictures.read(saved(COLOUR), (12, 10, 1))[..., 0] - weights).max() <= 1


def test_jpeg_palette_bitmap_and_cmyk(saved):
  picture = Image.fromarray(COLOUR).resize((64, 64))
  for converted, name in (
    (picture, 'x.jpg'),
    (picture.convert('P'), 'p.png'),
    (picture.convert('1'), '1.png'),
    (picture.convert('CMYK'), 'c.jpg'),
    (picture, 'x.bmp'),
  ):
    assert pictures.read(saved(converted, name), (64, 64, 3)).shape == (64, 64, 3)


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P'])
def test_what_is_transparent_lies_on_white(mode, saved):
  if mode == 'P':
    picture = Image.new('P', (4, 4), 0)
    path = saved(picture, transparency=0)
  else:
    path = saved(Image.new(mode, (4, 4)))
  assert (pictures.read(path, (4, 4, 3)) == 255).all()


def test_orientation(saved):
  turned = Image.fromarray(COLOUR)
  exif = turned.getexif()
  exif[0x0112] = 6  # to be turned by 90° clockwise
  np.testing.assert_array_equal(
    pictures.read(saved(turned, exif=exif), (10, 12, 3)), np.rot90(COLOUR, -1)
  )


@pytest.mark.parametrize(
  ('content', 'reason'),
  [
    (b'', 'no kind'),
    (b'not an image', 'no kind'),
    (b'\x89PNG\r\n\x1a\n', 'no kind'),
    (None, 'truncated'),
  ],
)
def test_what_is_no_image(content, reason, saved):
  path = saved(DRAW.integers(0, 256, (64, 64, 3), np.uint8))
  path.write_bytes(path.read_bytes()[:3000] if content is None else content)
  with pytest.raises(
    DataError, match=rf'x\.png is no image that can be read \(.*{reason}'
  ) as caught:
    pictures.read(path, (8, 8, 3))
  assert '\n' not in str(caught.value)


def test_more_than_8_bits(saved):
  with pytest.raises(DataError, match='more than 8 bits a channel'):
    pictures.read(saved(Image.fromarray(np.full((4, 4), 40000, np.uint16))), (4, 4, 1))


def test_far_too_many_pixels(saved, monkeypatch):
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 50)
  with warnings.catch_warnings(), pytest.raises(DataError, match='no image that can be read'):
    warnings.simplefilter('ignore')
    pictures.read(saved(COLOUR), (12, 10, 3))


def test_damaged_notes_of_the_camera(tmp_path):
  # its header, cut off
  Image.fromarray(np.zeros((12, 10, 3), np.uint8)).save(
    tmp_path / 'a.png', exif=b'Exif\0\0MM\0*\0\0\0'
  )
  with pytest.raises(DataError, match='a.png is no image that can be read'):
    pictures.read(tmp_path / 'a.png', (12, 10, 3))


def test_other_channels(saved):
  with pytest.raises(DataError, match='takes images of 4 channels, and image files have 1 or 3'):
    pictures.read(saved(COLOUR), (12, 10, 4))


def test_folders_give_their_images_by_name(tmp_path):
  for name in ('b.png', 'a.JPG', 'notes.txt', '.hidden'):
    (tmp_path / name).write_bytes(b'')
  (tmp_path / 'inner.png').mkdir()
  given = tmp_path / 'notes.txt'
  assert [path.name for path in pictures.paths([given, tmp_path])] == [
    'notes.txt',
    'a.JPG',
    'b.png',
  ]


def test_nothing_there(tmp_path):
  with pytest.raises(DataError, match=re.escape(f'{tmp_path} holds no image')):
    pictures.paths([tmp_path])
  with pytest.raises(DataError, match='nosuch.png does not exist'):
    pictures.paths([tmp_path / 'nosuch.png'])
