"""Layouts of folders: splits, Tiny ImageNet, what is passed over, what is left out."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from PIL import Image

from kd_jax import config as configuration
from kd_jax.data import roles, sources
from kd_jax.runs import inputs, run
from kd_jax.studies import definition, tasks
from kd_jax.types import ConfigError, DataError

WNIDS = ('n01443537', 'n01629819', 'n02058221')


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))


def save(path, *, level: int = 0, side: int = 64, **options):
  """Save a picture of one colour, by which it is recognised."""
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new('RGB', (side, side), (level, 255 - level, level)).save(path, **options)


def levels(source, *, places=slice(None)) -> list[int]:
  """Return the class that each picture's colour stands for (see `tiny`)."""
  return np.round(source.image[places, 20, 20, 0] / 60).astype(int).tolist()


@pytest.fixture
def tiny(tmp_path):
  """The form of tiny-imagenet-200.zip; a picture's colour is 60 · the number of its class."""
  root = tmp_path / 'tiny-imagenet-200'
  for number, name in enumerate(WNIDS):
    for each in range(4):
      save(root / 'train' / name / 'images' / f'{name}_{each}.JPEG', level=60 * number)
    boxes = ''.join(f'{name}_{each}.JPEG\t0\t10\t63\t58\n' for each in range(4))
    (root / 'train' / name / f'{name}_boxes.txt').write_text(boxes)
  annotations = []
  for number, label in enumerate((2, 0, 1, 1, 2, 0)):
    save(root / 'val' / 'images' / f'val_{number}.JPEG', level=60 * label)
    annotations.append(f'val_{number}.JPEG\t{WNIDS[label]}\t0\t32\t44\t62\n')
  (root / 'val' / 'val_annotations.txt').write_text(''.join(annotations))
  for number in range(3):
    save(root / 'test' / 'images' / f'test_{number}.JPEG')
  (root / 'wnids.txt').write_text('\n'.join(reversed(WNIDS)))
  (root / 'words.txt').write_text('n01443537\tgoldfish, Carassius auratus\n')
  return root


@pytest.fixture
def pets(tmp_path):
  """FOLDER/{train,val}/{cat,dog}, ten and two each."""
  for split, count in (('train', 10), ('val', 2)):
    for number, name in enumerate(('cat', 'dog')):
      for each in range(count):
        save(tmp_path / 'pets' / split / name / f'{each}.png', level=100 * number + each, side=32)
  return tmp_path / 'pets'


def load(folder, **options):
  return sources.load(str(folder), **options)


def fails(folder, said, *, kind=DataError, **options):
  with pytest.raises(kind, match=re.escape(said)) as caught:
    load(folder, **options)
  assert '\n' not in str(caught.value)


class TestTinyImageNet:
  def test_labels_are_right(self, tiny):
    data = load(tiny, image_size=64)
    assert data.classes == WNIDS
    assert len(data.train.label) == 9 and len(data.test.label) == 3
    assert np.bincount(data.validation.label).tolist() == [2, 2, 2]
    for source in (data.train, data.validation, data.test):
      assert source.image.shape[1:] == (64, 64, 3)
      assert levels(source) == source.label.tolist()

  def test_val_tests_if_asked(self, tiny):
    data = load(tiny, image_size=64, test_split='val')
    assert len(data.train.label) == 12 and data.validation is None
    assert levels(data.test) == data.test.label.tolist() == [0, 0, 1, 1, 2, 2]

  def test_test_images_with_annotations_test(self, tiny):
    (tiny / 'test' / 'test_annotations.txt').write_text(
      ''.join(f'test_{number}.JPEG\t{name}\n' for number, name in enumerate(WNIDS))
    )
    data = load(tiny)
    assert data.test.label.tolist() == [0, 1, 2] and len(data.train.label) == 12

  def test_what_became_of_its_folders_is_told(self, tiny):
    files = ', '.join(['wnids.txt', 'words.txt', f'train/{WNIDS[0]}/{WNIDS[0]}_boxes.txt'])
    passed = f'tiny-imagenet-200: passed over 5 files that are no images: {files} (and 2 more)'
    assert load(tiny).notes == (
      'tiny-imagenet-200: images: 9 of train/ to train on, 6 of val/ to validate on, '
      '3 held out of train/ to test on, test/ is left out, as it has no labels',
      passed,
    )
    assert load(tiny, test_split='val').notes == (
      'tiny-imagenet-200: images: 12 of train/ to train on, 6 of val/ to test on, '
      'test/ is left out, as it has no labels',
      passed,
    )

  def test_labels_that_change_are_noticed(self, tiny):
    """The files and their order stay the same, and so do their decoded copies."""
    before = load(tiny)
    annotations = tiny / 'val' / 'val_annotations.txt'
    lines = [f'val_{number}.JPEG\t{WNIDS[number // 2]}' for number in range(6)]
    annotations.write_text('\n'.join(lines))
    one = load(tiny)
    annotations.write_text(
      '\r\n'.join(lines).replace(f'val_1.JPEG\t{WNIDS[0]}', f'val_1.JPEG\t{WNIDS[1]}')
    )
    other = load(tiny)
    assert one.validation.label.tolist() == [0, 0, 1, 1, 2, 2]
    assert other.validation.label.tolist() == [0, 1, 1, 1, 2, 2]
    assert len({before.sha256, one.sha256, other.sha256}) == 3

  def test_splits_sorted_into_classes_are_read_too(self, tiny):
    """Many scripts move the images of val/ into folders of classes."""
    for line in (tiny / 'val' / 'val_annotations.txt').read_text().splitlines():
      file, name, *_ = line.split('\t')
      (tiny / 'val' / name / 'images').mkdir(parents=True, exist_ok=True)
      (tiny / 'val' / 'images' / file).rename(tiny / 'val' / name / 'images' / file)
    (tiny / 'val' / 'images').rmdir()
    (tiny / 'val' / 'val_annotations.txt').unlink()
    data = load(tiny, image_size=64)
    assert levels(data.validation) == data.validation.label.tolist() == [0, 0, 1, 1, 2, 2]

  def test_an_image_without_a_line(self, tiny):
    save(tiny / 'val' / 'images' / 'val_7.JPEG')
    fails(tiny, 'val_7.JPEG has no line in val_annotations.txt: add one')

  def test_a_line_without_an_image(self, tiny):
    (tiny / 'val' / 'images' / 'val_3.JPEG').unlink()
    fails(tiny, 'val_annotations.txt names val_3.JPEG, which is not in')

  @pytest.mark.parametrize(
    ('line', 'said'),
    [
      ('val_9.JPEG', 'line 7 of'),
      ('\tn01443537', 'line 7 of'),
      ('val_0.JPEG\tn01443537', "gives val_0.JPEG two classes, 'n02058221' and 'n01443537'"),
    ],
  )
  def test_a_line_that_is_none(self, tiny, line, said):
    with open(tiny / 'val' / 'val_annotations.txt', 'a') as file:
      file.write(f'{line}\n')
    fails(tiny, said)

  def test_annotations_that_are_no_text(self, tiny):
    (tiny / 'val' / 'val_annotations.txt').write_bytes('val_0.JPEG\tÜ'.encode('utf-16'))
    fails(tiny, 'val_annotations.txt is no text in UTF-8')

  def test_annotations_that_cannot_be_read(self, tiny):
    (tiny / 'val' / 'val_annotations.txt').unlink()
    (tiny / 'val' / 'val_annotations.txt').symlink_to(tiny / 'nowhere')
    fails(tiny, 'val_annotations.txt cannot be read (No such file or directory)')

  def test_a_class_that_training_lacks(self, tiny):
    text = (tiny / 'val' / 'val_annotations.txt').read_text()
    (tiny / 'val' / 'val_annotations.txt').write_text(text.replace(f'{WNIDS[1]}', 'n09'))
    fails(tiny, f"has the class '{WNIDS[1]}' under train and not under validation (and 1 more)")

  def test_test_images_of_classes_are_not_taken_for_unlabelled_ones(self, tiny):
    save(tiny / 'test' / 'images' / WNIDS[0] / '1.JPEG')
    fails(tiny, f'{WNIDS[0]} is a folder inside the class images')

  def test_a_class_whose_images_lie_deeper(self, tiny):
    save(tiny / 'train' / WNIDS[0] / 'images' / 'more' / '1.JPEG')
    fails(tiny, 'more is a folder inside the class')

  def test_images_beside_their_folder(self, tiny):
    save(tiny / 'train' / WNIDS[0] / '1.JPEG')
    fails(tiny, 'images is a folder inside the class')


class TestSplits:
  @pytest.mark.parametrize('names', [('Train', 'VAL', 'Test'), ('TRAIN', 'Validation', 'TEST')])
  def test_their_names_may_be_in_any_case(self, pets, names):
    train, val, test = names
    for number, name in enumerate(('cat', 'dog')):
      save(pets / test / name / '0.png', level=200 + number, side=32)
    before = load(pets)  # as far as it can be: test/ in another case
    (pets / 'train').rename(pets / train)
    (pets / 'val').rename(pets / val)
    data = load(pets)
    assert [len(s.label) for s in (data.train, data.validation, data.test)] == [20, 4, 2]
    assert data.sha256 == before.sha256
    assert data.notes == (
      f'pets: images: 20 of {train}/ to train on, 4 of {val}/ to validate on, 2 of {test}/ to test '
      'on',
    )

  def test_two_of_one_kind(self, pets):
    save(pets / 'Train' / 'cat' / '0.png')
    fails(pets, 'has two sub-folders of train images, Train and train: keep one')

  def test_of_train_and_val_test_images_are_held_out(self, pets):
    data = load(pets)
    assert [len(s.label) for s in (data.train, data.validation, data.test)] == [16, 4, 4]

  @pytest.mark.parametrize('name', ['val', 'Val'])
  def test_val_tests_if_asked(self, pets, name):
    data = load(pets, test_split=name)
    assert data.validation is None and len(data.train.label) == 20
    np.testing.assert_array_equal(data.test.image[:, 0, 0, 0], [0, 1, 100, 101])
    parts = roles.assign(data, validation_examples=4, train_examples=0, eval_examples=0, seed=0)
    assert len(parts.train.index) == 16 and len(parts.validation.index) == 4

  def test_test_is_left_out_where_val_tests(self, pets):
    for name in ('cat', 'dog'):
      save(pets / 'test' / name / '0.png', side=32)
    assert len(load(pets, test_split='test').test.label) == 2
    data = load(pets, test_split='val')
    assert len(data.test.label) == 4
    assert data.notes[0].endswith('to test on, test/ is left out, as test_split is val')

  @pytest.mark.parametrize('name', ['test', 'valid', 'train', 'cat'])
  def test_a_folder_that_is_not_there(self, pets, name):
    fails(
      pets,
      f"test_split is '{name}', and {pets} has no folder of that name with labels beside train (it "
      'has val)',
      kind=ConfigError,
      test_split=name,
    )

  def test_of_classes_alone(self, pets):
    fails(pets / 'train', 'has no folder of that name', kind=ConfigError, test_split='val')

  def test_other_data_sets_have_splits_of_their_own(self):
    fails(
      'digits', 'test_split is for folders of images', kind=ConfigError, test_split='validation'
    )


class TestOtherFiles:
  def test_texts_are_passed_over_with_a_word(self, pets):
    place = pets / 'train'
    for name in ('cat/notes.txt', 'cat/labels.CSV', 'dog/0.json', 'dog/0.xml', 'README.md'):
      (place / name).write_text('mine')
    (place / 'dog' / 'tool').write_bytes(b'')
    data = load(place)
    assert len(data.train.label) + len(data.test.label) == 20
    assert data.notes == (
      'train: images: 16 to train on, 4 held out to test on',
      'train: passed over 6 files that are no images: README.md, cat/labels.CSV, cat/notes.txt '
      '(and 3 more)',
    )

  def test_their_names_steer_no_terminal(self, pets):
    (pets / 'train' / 'cat' / '\x1b[31m.txt').write_text('mine')
    os.rename(pets / 'train' / 'cat' / '0.png', os.fsencode(pets / 'train') + b'/\xff.txt')
    assert (
      load(pets)
      .notes[1]
      .endswith(r'2 files that are no images: train/\udcff.txt, train/cat/\x1b[31m.txt')
    )

  def test_an_animation_beside_the_classes_is_passed_over_as_ever(self, pets):
    save(pets / 'train' / 'demo.gif')
    assert 'passed over 1 file that is no image: train/demo.gif' in load(pets).notes[1]

  @pytest.mark.parametrize('name', ['1.heic', '1.JP2', '1.avif', '1.jxl'])
  def test_images_of_other_forms_are_refused(self, pets, name):
    (pets / 'train' / 'cat' / name).write_bytes(b'x')
    fails(pets, f'{name} is no image that kd_jax reads (.png, .jpg')

  @pytest.mark.parametrize(
    'start',
    [
      b'\x89PNG\r\n',
      b'\xff\xd8\xff\xe0',
      b'RIFF\0\0\0\0WEBP',
      b'\0\0\0\x18ftypheic',
      b'\0\0\0\x0cjP  \r\n',
      b'MM\0*',
    ],
  )
  def test_what_begins_like_an_image_is_refused(self, pets, start):
    (pets / 'train' / 'cat' / '0001').write_bytes(start)
    fails(pets, '0001 is no image that kd_jax reads')
    (pets / 'train' / 'cat' / '0001').rename(pets / 'train' / 'cat' / '0001.txt')
    assert load(pets).notes[1].endswith('train/cat/0001.txt')

  def test_a_run_prints_what_became_of_them(self, pets, tmp_path, monkeypatch):
    (pets / 'words.txt').write_text('mine')
    config = configuration.resolve(
      configuration.default(
        dataset=str(pets), test_split='val', validation_examples=4, batch_size=8
      )
    )
    printed = []
    # where training would begin
    monkeypatch.setattr(run, 'context', lambda *_, **__: (_ for _ in ()).throw(ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
      run.run(config, tmp_path / 'run', say=printed.append)
    assert printed == [
      'pets: images: 20 of train/ to train on, 4 of val/ to test on',
      'pets: passed over 1 file that is no image: words.txt',
    ]

  def test_a_study_prints_it_once_for_all_rows(self, pets):
    rows = tuple(definition.Row(name, {'method': name}, seeds=1) for name in ('kd', 'nokd'))
    options = {'dataset': str(pets), 'validation_examples': 4, 'batch_size': 8}
    of_pets = definition.study('pets', question='', protocol='', rows=rows, **options)
    printed = []
    tasks.Plan(definition.resolve(of_pets)).check(printed.append)
    assert printed == [
      'pets: images: 16 of train/ to train on, 4 of val/ to validate on, 4 held out of train/ to '
      'test on'
    ]


class TestStoredSize:
  def test_images_are_kept_larger_than_networks_take_them(self, pets):
    data = load(pets, image_size=24, stored_size=32)
    assert data.train.image.shape == (16, 32, 32, 3) and data.image_shape == (24, 24, 3)
    plain = load(pets, image_size=32)
    np.testing.assert_array_equal(data.train.image, plain.train.image)
    assert data.sha256 == plain.sha256 and plain.image_shape == (32, 32, 3)
    assert not data.train.image.flags.writeable  # mapped
    parts = roles.assign(data, validation_examples=4, train_examples=0, eval_examples=0, seed=0)
    assert roles.described(data, parts)['image_shape'] == [24, 24, 3]

  def test_unlabelled_images_are_kept_alike(self, pets):
    config = configuration.resolve(
      configuration.default(unlabelled_dataset=str(pets), image_size=16, stored_size=20)
    )
    assert inputs.unlabelled(config)[0].image.shape == (24, 20, 20, 3)

  @pytest.mark.parametrize(('image_size', 'stored_size'), [(64, 63), (0, 31)])
  def test_it_is_no_smaller(self, pets, image_size, stored_size):
    options = {'image_size': image_size, 'stored_size': stored_size}
    said = f'stored_size is {stored_size} pixels, and networks take images of {image_size or 32}'
    fails(pets, said, kind=ConfigError, **options)
    with pytest.raises(ConfigError, match=said):
      sources.load_unlabelled(str(pets), **options)

  def test_other_data_sets_have_a_size_of_their_own(self):
    fails('digits', 'stored_size is for folders of images', kind=ConfigError, stored_size=64)
