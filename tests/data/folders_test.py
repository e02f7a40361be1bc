"""Folders of one's own images, as kd_jax.data.sources loads them."""

from __future__ import annotations

import functools
import os
import re

import numpy as np
import pytest
from PIL import Image

from kd_jax import config as configuration
from kd_jax import text
from kd_jax.data import decoded, pictures, roles, sources
from kd_jax.runs import inputs
from kd_jax.types import ConfigError, DataError, FileError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))


def picture(seed: int, *, size: tuple[int, int] = (32, 32), mode: str = 'RGB') -> Image.Image:
  draw = np.random.default_rng(seed)
  pixels = draw.integers(0, 256, (*size[::-1], 3), np.uint8)
  return Image.fromarray(pixels).convert(mode)


def fill(place, count: int, *, seed: int = 0, suffix: str = '.png', **options):
  place.mkdir(parents=True, exist_ok=True)
  for number in range(count):
    picture(seed * 1000 + number, **options).save(place / f'{number:03d}{suffix}')


@pytest.fixture
def split(tmp_path):
  """FOLDER/{train,test}/{cat,dog}."""
  for seed, (part, name, count) in enumerate(
    (('train', 'cat', 4), ('train', 'dog', 3), ('test', 'cat', 2), ('test', 'dog', 1))
  ):
    fill(tmp_path / 'pets' / part / name, count, seed=seed)
  return tmp_path / 'pets'


@pytest.fixture
def flat(tmp_path):
  """FOLDER/{cat,dog,owl} with 30, 20 and 10 images."""
  for seed, (name, count) in enumerate((('cat', 30), ('dog', 20), ('owl', 10))):
    fill(tmp_path / 'pets' / name, count, seed=seed)
  return tmp_path / 'pets'


def load(folder, **options):
  return sources.load(str(folder), **options)


def fails(folder, said, **options):
  with pytest.raises((DataError, FileError), match=re.escape(said)) as caught:
    load(folder, **options)
  assert '\n' not in str(caught.value)


class TestSplits:
  def test_are_read_in_the_order_of_names(self, split):
    data = load(split)
    assert data.classes == ('cat', 'dog') and data.validation is None
    assert data.train.label.tolist() == [0] * 4 + [1] * 3 and data.test.label.tolist() == [0, 0, 1]
    assert data.train.image.dtype == np.uint8 and data.train.label.dtype == np.int32
    for number, image in enumerate(data.train.image[4:]):  # of the wanted size: as they are
      np.testing.assert_array_equal(image, np.asarray(picture(1000 + number)))

  @pytest.mark.parametrize('name', ['validation', 'val', 'valid'])
  def test_validation_images_validate_and_nothing_is_held_out(self, split, name):
    for seed, kind in enumerate(('cat', 'dog')):
      fill(split / name / kind, 2, seed=10 + seed)
    data = load(split)
    parts = roles.assign(data, validation_examples=5000, train_examples=0, eval_examples=0, seed=0)
    assert (
      parts.validation.source is data.validation
      and len(parts.validation.index) == 4
      and len(parts.train.index) == 7
    )
    assert (
      roles.assign(
        data, validation_examples=0, train_examples=0, eval_examples=0, seed=0
      ).validation
      is None
    )

  def test_of_classes_alone_a_fifth_is_held_out_equally_and_always_the_same(self, flat):
    data = load(flat)
    assert np.bincount(data.test.label).tolist() == [4, 4, 4]  # 60 images, 3 classes
    assert np.bincount(data.train.label).tolist() == [26, 16, 6]
    everything = {image.tobytes() for image in (*data.train.image, *data.test.image)}
    assert len(everything) == 60
    np.testing.assert_array_equal(load(flat).test.image, data.test.image)

  def test_of_a_small_class_no_more_than_half_is_held_out(self, flat):
    for number in range(3, 10):
      (flat / 'owl' / f'{number:03d}.png').unlink()
    assert np.bincount(load(flat).test.label).tolist() == [1, 1, 1]

  def test_a_class_may_be_called_train(self, flat):
    (flat / 'owl').rename(flat / 'train')
    assert load(flat).classes == ('cat', 'dog', 'train')

  def test_counts_are_described_by_class(self, flat):
    data = load(flat)
    described = roles.described(
      data, roles.assign(data, validation_examples=6, train_examples=0, eval_examples=0, seed=0)
    )
    assert described['classes'][2] == {'name': 'owl', 'train': 4, 'validation': 2, 'test': 4}
    assert described['image_shape'] == [32, 32, 3] and len(described['sha256']) == 64


class TestPictures:
  def test_the_middle_square_is_scaled(self, split):
    """Of a wide image, the middle third counts: it is white, the rest black."""
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 255
    Image.fromarray(wide).save(split / 'train' / 'cat' / '000.png')
    assert (load(split, image_size=20).train.image[0] == 255).all()

  def test_scaling_down_averages(self, split):
    """A board of single black and white pixels turns grey; one that takes every fourth pixel would
    stay black.
    """
    board = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).convert('RGB').save(split / 'train' / 'cat' / '000.png')
    inner = load(split, image_size=16).train.image[0][1:-1, 1:-1]
    assert inner.min() > 110 and inner.max() < 145

  @pytest.mark.parametrize('side', [16, 32, 48])
  def test_have_the_wanted_size(self, split, side):
    fill(split / 'train' / 'dog', 1, size=(90, 31))
    assert load(split, image_size=side).train.image.shape == (7, side, side, 3)

  def test_large_photographs_are_decoded_small(self, split):
    """A JPEG of 4000 pixels is read at an eighth, and still is the same picture."""
    smooth = picture(0, size=(8, 8)).resize((4000, 4000), Image.Resampling.BICUBIC)
    (split / 'train' / 'cat' / '000.png').unlink()
    smooth.save(split / 'train' / 'cat' / '000.JPG', quality=95)
    image = load(split).train.image[0].astype(int)
    assert (
      np.abs(
        image - np.asarray(smooth.resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
      ).max()
      <= 8
    )

  def test_are_turned_as_the_camera_noted(self, split):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    picture(7).save(split / 'train' / 'cat' / '000.png', exif=exif)
    np.testing.assert_array_equal(load(split).train.image[0], np.rot90(np.asarray(picture(7)), -1))

  def test_grey_ones_alone_have_one_channel(self, split):
    for path in split.rglob('*.png'):
      picture(1, mode='L').save(path)
    data = load(split)
    assert data.train.image.shape[-1] == data.test.image.shape[-1] == 1

  @pytest.mark.parametrize('mode', ['L', 'LA', '1', 'P', 'RGBA'])
  def test_beside_colour_all_are_in_colour(self, split, mode):
    image = picture(1, mode=mode)
    image.save(split / 'train' / 'cat' / '000.png')
    found = load(split).train.image[0]
    np.testing.assert_array_equal(found, np.asarray(image.convert('RGB')))

  def test_a_palette_with_transparency_warns_of_nothing(self, split):
    picture(1, mode='P').save(split / 'train' / 'cat' / '000.png', transparency=bytes(range(256)))
    assert load(split).train.image.shape[-1] == 3

  @pytest.mark.parametrize(
    ('suffix', 'mode'),
    [
      ('.jpeg', 'CMYK'),
      ('.JPG', 'L'),
      ('.webp', 'RGB'),
      ('.bmp', 'RGB'),
      ('.gif', 'P'),
      ('.TIF', 'CMYK'),
      ('.tiff', 'RGBA'),
    ],
  )
  def test_of_other_kinds(self, split, suffix, mode):
    fill(split / 'train' / 'cat', 1, suffix=suffix, mode=mode)
    assert len(load(split).train.image) == 8

  @pytest.mark.parametrize('suffix', ['.gif', '.tif'])
  def test_the_first_of_several_counts(self, split, suffix):
    first, *others = (Image.new('RGB', (32, 32), name) for name in ('red', 'green', 'blue'))
    path = split / 'train' / 'cat' / f'000{suffix}'
    first.save(path, save_all=True, append_images=others)
    image = load(split).train.image[0 if suffix < '.png' else 1]
    np.testing.assert_array_equal(image, np.asarray(first))

  def test_tiff_keeps_every_pixel(self, split):
    (split / 'train' / 'cat' / '000.png').unlink()
    picture(3).save(split / 'train' / 'cat' / '000.tiff', compression='tiff_lzw')
    np.testing.assert_array_equal(load(split).train.image[0], np.asarray(picture(3)))


class TestNames:
  @pytest.mark.parametrize('name', ['Zwölf Größen', '犬', 'a, b=c', "it's", '-x', '%d'])
  def test_odd_ones(self, flat, name):
    (flat / 'owl').rename(flat / name)
    assert sorted(load(flat).classes) == list(load(flat).classes) and name in load(flat).classes

  def test_one_letter_has_one_form(self, split):
    (split / 'train' / 'cat').rename(split / 'train' / 'e\u0301')
    (split / 'test' / 'cat').rename(split / 'test' / '\u00e9')
    assert load(split).classes == ('dog', '\u00e9')

  def test_hidden_files_and_what_systems_leave_are_passed_over(self, split):
    for name in ('.DS_Store', 'Thumbs.db', '._000.png', 'desktop.ini'):
      (split / 'train' / 'cat' / name).write_bytes(b'x')
    (split / 'train' / '.git').mkdir()
    (split / 'README.txt').write_text('mine')
    assert len(load(split).train.image) == 7

  def test_a_relative_folder(self, flat, monkeypatch):
    monkeypatch.chdir(flat.parent)
    assert (
      sources.load('pets').classes
      == sources.load('./pets').classes
      == sources.load('pets/').classes
    )

  def test_what_tfds_knows_is_not_taken_for_a_folder(self, flat, monkeypatch):
    flat.rename(flat.parent / 'mnist')
    monkeypatch.chdir(flat.parent)
    with pytest.raises(DataError, match="'mnist' is not prepared"):
      sources.load('mnist', data_dir=str(flat.parent / 'mnist'))
    assert sources.load('./mnist').classes == ('cat', 'dog', 'owl')


class TestCache:
  def forbid(self, monkeypatch):
    monkeypatch.setattr(pictures, 'read', lambda *rest: pytest.fail('it decodes again'))

  def test_images_are_decoded_once(self, split, monkeypatch):
    first = load(split)
    self.forbid(monkeypatch)
    again = load(split)
    np.testing.assert_array_equal(again.train.image, first.train.image)
    assert not again.train.image.flags.writeable and again.sha256 == first.sha256

  def test_the_folder_is_left_as_it_is(self, split, monkeypatch):
    before = sorted(split.rglob('*'))
    load(split)
    self.forbid(monkeypatch)
    load(split)
    assert sorted(split.rglob('*')) == before

  def test_what_an_older_version_kept_in_the_folder_is_read(self, split, tmp_path, monkeypatch):
    place, as_now = tmp_path / 'older', decoded.Store.mapped_or_decoded
    monkeypatch.setattr(
      decoded.Store, 'mapped_or_decoded', functools.partialmethod(as_now, beside=True)
    )
    first = load(split)
    monkeypatch.undo()
    assert sorted(path.name for path in (split / '.kd_jax').rglob('*.npy'))[0] == 'test-image.npy'
    self.forbid(monkeypatch)
    before = sorted(split.rglob('*'))
    assert load(split, cache_dir=str(place)).sha256 == first.sha256
    assert sorted(split.rglob('*')) == before and not place.exists()

  def test_the_cache_may_be_any_folder(self, split, tmp_path):
    before = sorted(split.rglob('*'))
    load(split, cache_dir=str(tmp_path / 'mine'))
    sources.load_unlabelled(str(split), cache_dir=str(tmp_path / 'mine'))
    names = {path.name for path in (tmp_path / 'mine').rglob('*-image.npy')}
    assert names == {'train-image.npy', 'test-image.npy', 'unlabelled-image.npy'}
    assert sorted(split.rglob('*')) == before

  @pytest.mark.parametrize(
    ('places', 'key', 'sha256'),
    [
      (
        ('cat', 'dog'),
        '66b6e2d0fd611f04',
        '9dd2671350e31c67fad1e9d982edbd3477f348029f085097e5ae44789dab02ae',
      ),
      (
        ('train/cat', 'train/dog', 'test/cat', 'test/dog', 'val/cat', 'val/dog'),
        '75e7d16ef2e3ff7c',
        'b4cc9be16075350a1f7cb6c9ca452318f292f1a49f1b59197de6d15be9a35d62',
      ),
      (
        ('train/cat', 'train/dog', 'valid/cat', 'valid/dog'),
        '5e81fb5ac86cc2b4',
        'dfa4e2962ef986de4af1aa3b19304aba772810079240e60e7a2b1534493ff0d7',
      ),
    ],
    ids=['classes', 'splits', 'train_and_valid'],
  )
  def test_keys_and_hashes_stay(self, tmp_path, monkeypatch, places, key, sha256):
    """As kd_jax 0.2.0 computed them: decoded copies are found again, and runs go on."""
    for name, place in enumerate(places):
      (tmp_path / 'pets' / place).mkdir(parents=True)
      for number in range(4):
        path = tmp_path / 'pets' / place / f'{number}.bmp'
        Image.new('RGB', (8, 8), (40 * name, 20 * number, 7)).save(path)
        os.utime(path, ns=(10**18, 10**18))
    monkeypatch.setattr(
      decoded.Store,
      'mapped_or_decoded',
      functools.partialmethod(decoded.Store.mapped_or_decoded, beside=True),
    )
    assert load(tmp_path / 'pets', image_size=8).sha256 == sha256
    assert [place.name for place in (tmp_path / 'pets' / '.kd_jax').iterdir()] == [key]

  @pytest.mark.parametrize('change', ['content', 'time', 'removed', 'added', 'size'])
  def test_changes_are_noticed(self, split, change):
    before, path, options = load(split), split / 'train' / 'cat' / '000.png', {}
    if change == 'content':
      picture(99).save(path)
    elif change == 'time':
      os.utime(path, ns=(1, 1))
    elif change == 'removed':
      path.unlink()
    elif change == 'added':
      fill(split / 'test' / 'dog', 2, seed=5)
    else:
      options = {'image_size': 16}
    now = load(split, **options)
    assert (now.sha256 == before.sha256) == (change == 'time')

  def test_a_moved_folder_holds_the_same(self, split):
    before = load(split).sha256
    split.rename(split.parent / 'elsewhere')
    assert load(split.parent / 'elsewhere').sha256 == before

  def test_long_work_is_shown(self, split, monkeypatch, capsys):
    monkeypatch.setattr(text, 'EVERY', 0.0)
    load(split)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(', about')[0] for line in said] == [
      'pets: looking at files: 10 of 10',
      "pets, split 'test': decoding images, once: 3 of 3",
      "pets, split 'train': decoding images, once: 7 of 7",
    ]

  def test_short_work_is_not(self, split, capsys):
    load(split)
    assert capsys.readouterr().out == ''


class TestFaults:
  def test_nothing_there(self, tmp_path):
    fails(tmp_path / 'nosuch', 'nosuch does not exist')
    (tmp_path / 'file').touch()
    fails(tmp_path / 'file', 'file is a file')
    (tmp_path / 'empty').mkdir()
    fails(tmp_path / 'empty', 'empty has no sub-folders')

  def test_a_relative_name_that_is_no_folder(self, tmp_path):
    with pytest.raises(
      ConfigError, match="unknown data set 'photos/petz': no folder, none of tfds"
    ):
      sources.load('photos/petz', data_dir=str(tmp_path))

  def test_one_class(self, flat):
    fills = flat.parent / 'one'
    fill(fills / 'cat', 3)
    fails(fills, "has one class, 'cat'")

  def test_a_class_without_images(self, flat):
    (flat / 'empty').mkdir()
    fails(flat, f'the class {flat / "empty"} has no images')

  def test_one_image_where_some_are_held_out(self, flat):
    fill(flat / 'yak', 1)
    fails(flat, f"the class 'yak' in {flat} has one image: it needs two")
    fill(flat / 'emu', 1)
    fails(flat, f"the class 'emu' in {flat} has one image (and 1 more): it needs two")

  def test_a_file_that_is_no_image(self, flat):
    (flat / 'cat' / '001.heic').write_text('mine')
    fails(flat, '001.heic is no image that kd_jax reads (.png,')

  def test_files_that_only_seem_to_be_images(self, flat):
    for name in ('dog/100.png', 'owl/100.jpg'):
      (flat / name).write_text('no pixels')
    fails(flat, 'dog/100.png is no image (cannot identify image file')
    fails(flat, 'replace or remove it (and 1 more)')

  @pytest.mark.parametrize('suffix', ['.png', '.jpg'])
  def test_a_truncated_image(self, flat, suffix):
    fill(flat / 'cat', 1, seed=3, suffix=suffix, size=(64, 64))
    path = flat / 'cat' / f'000{suffix}'
    path.write_bytes(path.read_bytes()[:1500])
    fails(flat, f'000{suffix} is no image that can be read')

  def test_sixteen_bits(self, flat):
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(flat / 'cat' / '100.png')
    fails(flat, '100.png has more than 8 bits a channel')

  def test_an_image_in_no_class(self, flat):
    picture(0).save(flat / 'lost.png')
    fails(flat, 'lost.png lies in no class')

  def test_a_folder_one_level_too_high(self, split):
    (split / 'extra' / 'cat').mkdir(parents=True)
    fails(split, f'{split / "extra" / "cat"} is a folder inside the class extra')

  def test_classes_that_differ(self, split):
    fill(split / 'test' / 'owl', 1)
    fails(split, "has the class 'owl' under test and not under train: every split")
    (split / 'test' / 'owl').rename(split / 'train' / 'owl')
    fails(split, "has the class 'owl' under train and not under test")

  def test_splits_that_do_not_fit(self, split):
    (split / 'val').mkdir()
    (split / 'valid').mkdir()
    fails(split, 'has two sub-folders of validation images, val and valid')
    for name in ('val', 'valid'):
      (split / name).rmdir()
    (split / 'train').rename(split / 'val')
    fails(split, "has test and val, and no sub-folder 'train'")

  def test_a_broken_link(self, flat):
    (flat / 'cat' / 'gone.png').symlink_to(flat / 'nosuch.png')
    fails(flat, 'gone.png cannot be read (No such file or directory)')

  def test_a_name_that_is_no_text(self, flat):
    os.rename(flat / 'owl', os.fsencode(flat) + b'/\xff')
    fails(flat, 'is not UTF-8')

  def test_more_than_the_disk_takes(self, flat, monkeypatch):
    monkeypatch.setattr(decoded.shutil, 'disk_usage', lambda place: type('', (), {'free': 1000}))
    fails(flat, "the decoded split 'train' takes 0.0 GB, and")

  def test_too_many_validation_images_name_the_key(self, flat):
    data, too_many = load(flat), 'validation_examples: cannot hold out 5000'
    with pytest.raises(ConfigError, match=f"{too_many}.* the class 'owl' has 6 images, 5 of them"):
      roles.assign(data, validation_examples=5000, train_examples=0, eval_examples=0, seed=0)
    with pytest.raises(ConfigError, match="cannot choose 50 .* the class 'owl' has 6 images, 6 of"):
      roles.assign(data, validation_examples=0, train_examples=50, eval_examples=0, seed=0)

  def test_a_size_for_data_that_has_its_own(self):
    with pytest.raises(
      ConfigError, match="image_size is for folders of images, and 'digits' is none"
    ):
      sources.load('digits', image_size=32)


class TestUnlabelled:
  def test_all_images_at_any_depth(self, split):
    picture(50).save(split / 'loose.png')
    (split / 'notes.txt').write_text('mine')
    source = sources.load_unlabelled(str(split), image_size=16)
    assert source.image.shape == (11, 16, 16, 3) and set(source.label.tolist()) == {-1}

  def test_links_are_followed_and_never_round(self, split, tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    picture(50).save(tmp_path / 'elsewhere' / '1.png')
    before = len(sources.load_unlabelled(str(split), image_size=16).image)
    (split / 'linked').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere' / 'round').symlink_to(split)
    assert len(sources.load_unlabelled(str(split), image_size=16).image) == before + 1

  def test_a_sub_folder_that_may_not_be_read(self, split, monkeypatch):
    scan = os.scandir

    def refused(place):
      if os.fspath(place).endswith('cat'):
        raise PermissionError(13, 'Permission denied')
      return scan(place)

    monkeypatch.setattr(os, 'scandir', refused)
    with pytest.raises(DataError, match='cat cannot be read'):
      sources.load_unlabelled(str(split), image_size=16)

  def test_an_image_of_another_kind_is_not_passed_over(self, split):
    (split / 'scan.JP2').write_bytes(b'x')
    with pytest.raises(DataError, match='scan.JP2 is no image that kd_jax reads'):
      sources.load_unlabelled(str(split), image_size=16)

  def test_another_pixel_is_another_fingerprint(self, split):
    config = configuration.resolve(
      configuration.default(unlabelled_dataset=str(split), image_size=16)
    )
    before = inputs.unlabelled(config)[1]
    assert before == inputs.unlabelled(config)[1] and len(before) == 64
    picture(50).save(split / 'loose.png')
    assert inputs.unlabelled(config)[1] != before

  def test_a_prepared_data_set_has_none(self):
    assert (
      inputs.unlabelled(configuration.resolve(configuration.default(unlabelled_dataset='digits')))[
        1
      ]
      == ''
    )

  def test_none(self, tmp_path):
    with pytest.raises(DataError, match='no images lie in'):
      sources.load_unlabelled(str(tmp_path))
    with pytest.raises(DataError, match='nosuch does not exist'):
      sources.load_unlabelled(str(tmp_path / 'nosuch'))
