from __future__ import annotations

import io
import json
import os
import pathlib
import re
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from kd_jax.data import sources, tfds_reader
from kd_jax.types import KdJaxError

FORMATS = ('array_record', 'tfrecord')


@pytest.fixture(autouse=True)
def isolated(tmp_path_factory, monkeypatch):
  """A cache of the test's own, and a look at whether TensorFlow came in."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
  imported = 'tensorflow' in sys.modules
  yield
  assert ('tensorflow' in sys.modules) == imported  # where it is installed, it must not be imported


def fails(message, name, data_dir, load=sources.load, download=True):
  """Loading fails with one line that matches `message`, and nothing else."""
  with pytest.raises(KdJaxError, match=message) as caught:
    load(name, data_dir=str(data_dir), download=download)
  assert '\n' not in str(caught.value)


def png(image, **options):
  file = io.BytesIO()
  Image.fromarray(image.squeeze()).save(file, 'PNG', **options)
  return file.getvalue()


def example(image=None, label=None):
  from tensorflow_datasets.proto import tf_example_pb2

  message = tf_example_pb2.Example()
  if image is not None:
    message.features.feature['image'].bytes_list.value.append(
      image if isinstance(image, bytes) else png(image)
    )
  if label is not None:
    message.features.feature['label'].int64_list.value.append(label)
  return message.SerializeToString()


def write_records(path, file_format, records):
  if file_format == 'tfrecord':
    # an implementation of the format that is not kd_jax's
    from tensorboardX.record_writer import RecordWriter

    writer = RecordWriter(str(path))
    for record in records:
      writer.write(record)
  else:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), 'group_size:1')
    for record in records:
      writer.write(record)
  writer.close()


def write_dataset(
  data_dir,
  splits,
  *,
  name='toy',
  version='1.0.0',
  config='',
  file_format='array_record',
  shards=1,
  classes=('cat', 'dog', 'owl'),
  shape=(4, 5, 3),
  dtype='uint8',
  image_key='image',
):
  """Writes a folder as tfds does; `splits` maps names to lists of serialised examples."""
  folder = data_dir / name / config / version
  folder.mkdir(parents=True)
  package = 'tensorflow_datasets.core.features'
  features = {
    image_key: {
      'pythonClassName': f'{package}.image_feature.Image',
      'image': {'dtype': dtype, 'shape': {'dimensions': [str(length) for length in shape]}},
    }
  }
  if classes:
    features['label'] = {
      'pythonClassName': f'{package}.class_label_feature.ClassLabel',
      'classLabel': {'numClasses': str(len(classes))},
    }
    (folder / 'label.labels.txt').write_text('\n'.join(classes) + '\n')
  (folder / 'features.json').write_text(
    json.dumps(
      {
        'pythonClassName': f'{package}.features_dict.FeaturesDict',
        'featuresDict': {'features': features},
      }
    )
  )
  infos = []
  for split, records in splits.items():
    parts = [records[shard::shards] for shard in range(shards)]
    for shard, part in enumerate(parts):
      write_records(
        folder / f'{name}-{split}.{file_format}-{shard:05d}-of-{shards:05d}', file_format, part
      )
    infos.append(
      {
        'name': split,
        'filepathTemplate': '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
        'shardLengths': [str(len(part)) for part in parts],
        'numBytes': str(sum(map(len, records))),
      }
    )
  info = {'name': name, 'version': version, 'fileFormat': file_format, 'splits': infos}
  if config:
    info['configName'] = config
  (folder / 'dataset_info.json').write_text(json.dumps(info))
  return folder


def random_images(count, shape=(4, 5, 3), seed=0):
  return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def examples(count, shape=(4, 5, 3), seed=0):
  return [
    example(image, number % 3) for number, image in enumerate(random_images(count, shape, seed))
  ]


# Reading prepared folders


@pytest.mark.parametrize('file_format', FORMATS)
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_reads_pixels_labels_and_classes(tmp_path, file_format, channels):
  shape = (4, 5, channels)
  splits = {'train': examples(7, shape, 1), 'test': examples(5, shape, 2)}
  write_dataset(tmp_path, splits, file_format=file_format, shape=shape)
  data = sources.load('toy', data_dir=str(tmp_path))
  np.testing.assert_array_equal(data.train.image, random_images(7, shape, 1))
  np.testing.assert_array_equal(data.test.image, random_images(5, shape, 2))
  np.testing.assert_array_equal(data.train.label, np.arange(7) % 3)
  assert data.train.image.dtype == np.uint8 and data.train.label.dtype == np.int32
  assert data.name == 'toy' and data.classes == ('cat', 'dog', 'owl')


@pytest.mark.parametrize('file_format', FORMATS)
def test_reads_shards_in_order_and_more_than_a_round_of_chunks(tmp_path, file_format):
  count = tfds_reader._CHUNK * tfds_reader._THREADS + 3
  shape = (2, 2, 1)
  splits = {'train': examples(count, shape), 'test': examples(2, shape)}
  write_dataset(tmp_path, splits, file_format=file_format, shape=shape, shards=2)
  image = sources.load('toy', data_dir=str(tmp_path)).train.image
  expected = random_images(count, shape)
  np.testing.assert_array_equal(image, np.concatenate([expected[0::2], expected[1::2]]))


def test_grey_pictures_of_a_colour_data_set_become_colour(tmp_path):
  grey = random_images(3, (4, 5, 1))
  write_dataset(tmp_path, {'train': [example(image, 0) for image in grey], 'test': examples(1)})
  image = sources.load('toy', data_dir=str(tmp_path)).train.image
  np.testing.assert_array_equal(image, np.repeat(grey, 3, axis=-1))


def test_second_load_maps_the_decoded_arrays(tmp_path, monkeypatch):
  write_dataset(tmp_path, {'train': examples(4), 'test': examples(2)})
  first = sources.load('toy', data_dir=str(tmp_path))
  monkeypatch.setattr(tfds_reader, '_decode_record', None)
  second = sources.load('toy', data_dir=str(tmp_path))
  np.testing.assert_array_equal(first.train.image, second.train.image)
  assert not second.train.image.flags.writeable


def test_decoded_arrays_are_kept_in_the_cache(tmp_path):
  write_dataset(tmp_path / 'data', {'train': examples(4), 'test': examples(2)})
  before = sorted((tmp_path / 'data').rglob('*'))
  for place in (tmp_path / 'mine', tmp_path / 'other'):
    sources.load('toy', data_dir=str(tmp_path / 'data'), cache_dir=str(place))
    assert len(list(place.rglob('*-image.npy'))) == 2
  assert sorted((tmp_path / 'data').rglob('*')) == before


def test_validation_serves_as_test_where_there_is_no_test(tmp_path):
  write_dataset(tmp_path, {'train': examples(4), 'validation': examples(2)})
  assert len(sources.load('toy', data_dir=str(tmp_path)).test.image) == 2
  write_dataset(
    tmp_path,
    {'train': examples(4), 'validation': examples(2), 'test': examples(3)},
    version='1.0.1',
  )
  assert len(sources.load('toy', data_dir=str(tmp_path)).test.image) == 3


def test_takes_the_highest_version_or_the_one_asked_for(tmp_path):
  for count, version in ((1, '1.9.0'), (2, '1.10.0'), (3, '1.2.0')):
    write_dataset(tmp_path, {'train': examples(count), 'test': examples(1)}, version=version)
  (tmp_path / 'toy' / '2.0.0').mkdir()  # without metadata: not prepared
  assert len(sources.load('toy', data_dir=str(tmp_path)).train.image) == 2
  assert len(sources.load('toy:1.2.0', data_dir=str(tmp_path)).train.image) == 3
  fails(r"no prepared version of 'toy:2.0.0' lies in", 'toy:2.0.0', tmp_path)


def test_configurations(tmp_path):
  write_dataset(tmp_path, {'train': examples(1), 'test': examples(1)}, config='blue')
  assert len(sources.load('toy', data_dir=str(tmp_path)).train.image) == 1
  write_dataset(tmp_path, {'train': examples(2), 'test': examples(1)}, config='red')
  assert len(sources.load('toy/red', data_dir=str(tmp_path)).train.image) == 2
  fails(
    r"several configurations lie in .* \(blue, red\): name one, as in 'toy/blue'", 'toy', tmp_path
  )


def test_the_default_data_dir_is_that_of_tfds(tmp_path, monkeypatch):
  write_dataset(tmp_path / 'a', {'train': examples(1), 'test': examples(1)})
  write_dataset(tmp_path / 'tensorflow_datasets', {'train': examples(2), 'test': examples(1)})
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
  assert len(sources.load('toy').train.image) == 2
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'a'))
  assert len(sources.load('toy').train.image) == 1


def test_unlabelled_takes_the_split_of_that_name_or_train_and_drops_labels(tmp_path):
  unlabelled = [example(image, -1) for image in random_images(6)]  # as stl10 stores them
  write_dataset(tmp_path, {'train': examples(4), 'test': examples(2), 'unlabelled': unlabelled})
  source = sources.load_unlabelled('toy', data_dir=str(tmp_path))
  np.testing.assert_array_equal(source.image, random_images(6))
  np.testing.assert_array_equal(source.label, np.full(6, -1))
  write_dataset(tmp_path, {'train': examples(4)}, name='bare')
  source = sources.load_unlabelled('bare', data_dir=str(tmp_path))
  np.testing.assert_array_equal(source.label, np.full(4, -1))
  assert source.label.dtype == np.int32
  write_dataset(
    tmp_path,
    {'train': [example(image) for image in random_images(3)]},
    name='no_labels',
    classes=(),
  )
  assert sources.load_unlabelled('no_labels', data_dir=str(tmp_path)).image.shape == (3, 4, 5, 3)
  fails("no feature 'label' with classes", 'no_labels', tmp_path)
  write_dataset(tmp_path, {'test': examples(2)}, name='tests')
  fails("neither a split 'unlabelled' nor 'train'", 'tests', tmp_path, load=sources.load_unlabelled)


# Faults of names and folders


def test_unknown_names_get_the_closest(tmp_path):
  fails(r"unknown data set 'cifarr10': .*did you mean cifar10 or ", 'cifarr10', tmp_path)
  fails(r'did you mean cifar10 or ', 'CIFAR10', tmp_path)
  fails(r'did you mean digits', 'digit', tmp_path)
  write_dataset(tmp_path, {'train': examples(1)}, name='my_pictures')
  fails(r'did you mean my_pictures\?', 'my_picture', tmp_path)
  fails(r"unknown data set 'zz/../qq': .*catalog", 'zz/../qq', tmp_path)
  with pytest.raises(KdJaxError) as caught:
    sources.load('cifarr10', data_dir=str(tmp_path))
  assert len(str(caught.value)) < 300


def test_a_data_dir_that_is_not_there(tmp_path):
  fails(r'the data directory .*/nowhere does not exist', 'cifar10', tmp_path / 'nowhere')
  assert not (tmp_path / 'nowhere').exists()


def test_data_sets_that_are_not_prepared(tmp_path):
  fails('not prepared in .* allow the download', 'cifar10', tmp_path, download=False)
  fails('not prepared in .* without version', 'cifar10:1.0.0', tmp_path)
  command = re.escape(f'tfds build mnist --data_dir={tmp_path} --file_format=array_record')
  fails(f'kd_jax itself prepares only cifar10, cifar100 and stl10: .*{command}', 'mnist', tmp_path)


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
  write_dataset(tmp_path, {'train': examples(1)})

  def forbidden(path):
    raise PermissionError(13, 'Permission denied', str(path))

  monkeypatch.setattr(pathlib.Path, 'iterdir', forbidden)  # chmod does not stop root
  fails('/toy may not be read: change its permissions', 'toy', tmp_path)


# Faults of contents


def test_data_sets_of_another_kind(tmp_path):
  write_dataset(
    tmp_path, {'train': examples(1), 'test': examples(1)}, name='sounds', image_key='sound'
  )
  fails(r"'sounds' has no feature 'image' \(its features: label, sound\)", 'sounds', tmp_path)
  write_dataset(tmp_path, {'train': examples(1)}, name='deep', dtype='uint16')
  fails('stores images of uint16', 'deep', tmp_path)
  write_dataset(tmp_path, {'train': examples(1)}, name='one_split')
  fails(r"has no split 'validation' \(its splits: train\)", 'one_split', tmp_path)
  hidden = [example(image, -1) for image in random_images(2)]
  write_dataset(tmp_path, {'train': examples(3), 'test': hidden}, name='hidden')
  fails(
    "split 'test' of 'hidden' has labels from -1 to -1, outside its 3 classes", 'hidden', tmp_path
  )
  small = examples(3, (4, 4, 3))
  write_dataset(tmp_path, {'train': examples(3), 'test': small}, name='two_sizes')
  fails('training images of 4×5×3 and test images of 4×4×3', 'two_sizes', tmp_path)
  write_dataset(tmp_path, {'train': [], 'test': examples(2)}, name='empty')
  fails("split 'train' in .* has no records", 'empty', tmp_path)


@pytest.mark.parametrize('content', ['{', '{"name": 3}', ''])
def test_damaged_metadata(tmp_path, content):
  folder = write_dataset(tmp_path, {'train': examples(1)})
  (folder / 'dataset_info.json').write_text(content)
  fails('cannot read the metadata in', 'toy', tmp_path)


def test_other_file_formats(tmp_path):
  folder = write_dataset(tmp_path, {'train': examples(1), 'test': examples(1)})
  path = folder / 'dataset_info.json'
  path.write_text(path.read_text().replace('"array_record"', '"riegeli"'))
  fails('its format is riegeli; prepare it as array_record or tfrecord', 'toy', tmp_path)


def test_array_record_without_its_package(tmp_path, monkeypatch):
  write_dataset(tmp_path, {'train': examples(1), 'test': examples(1)})
  monkeypatch.setitem(sys.modules, 'array_record', None)
  fails('the package array_record is not installed', 'toy', tmp_path)


@pytest.mark.parametrize('file_format', FORMATS)
@pytest.mark.parametrize(
  ('record', 'reason'),
  [
    # protobuf's words, of its C code and of its Python
    (lambda: b'\xff\xff\xff', '(Error parsing|Truncated) message'),
    (lambda: example(b'no picture', 1), 'cannot identify image file'),
    (lambda: example(png(random_images(1)[0])[:60], 1), 'truncated'),
    (lambda: example(None, 1), ''),
    (lambda: example(random_images(1)[0]), ''),
  ],
  ids=['noise', 'no_picture', 'half_a_picture', 'without_image', 'without_label'],
)
def test_records_that_cannot_be_decoded_are_named(tmp_path, file_format, record, reason):
  records = examples(300)
  records[280] = record()
  folder = write_dataset(tmp_path, {'train': records, 'test': examples(2)}, file_format=file_format)
  fails(f"cannot decode record 280 of split 'train' in .*{reason}", 'toy', tmp_path)
  assert not list(folder.rglob('*.npy'))


def test_images_of_differing_sizes(tmp_path):
  count = tfds_reader._CHUNK
  records = examples(count) + examples(1, (6, 7, 3))
  write_dataset(tmp_path, {'train': records, 'test': examples(2)}, shape=(0, 0, 3))
  fails(rf"differing sizes in split 'train' .*\(4×5, but record {count} is 6×7\)", 'toy', tmp_path)


def test_damaged_array_record(tmp_path):
  folder = write_dataset(
    tmp_path, {'train': examples(300, (16, 16, 3)), 'test': examples(2)}, shape=(16, 16, 3)
  )
  (path,) = folder.glob('*train*')
  content = bytearray(path.read_bytes())
  middle = 65536 + 100 * 800  # well inside the records
  content[middle : middle + 4] = b'\x00\xff\x00\xff'
  path.write_bytes(content)
  fails(r"cannot read record \d+ of split 'train' in .*orrupted", 'toy', tmp_path)
  path.write_bytes(content[:1000])
  fails("cannot read record 0 of split 'train'", 'toy', tmp_path)
  path.unlink()
  fails("cannot read record 0 of split 'train' .*No such file", 'toy', tmp_path)


def test_damaged_tfrecord(tmp_path):
  folder = write_dataset(
    tmp_path, {'train': examples(3), 'test': examples(2)}, file_format='tfrecord'
  )
  (path,) = folder.glob('*train*')
  content = path.read_bytes()
  (length,) = struct.unpack('<Q', content[:8])
  second = 12 + length + 4
  flipped = content[:second] + bytes([content[second] ^ 1]) + content[second + 1 :]
  for damaged, message in (
    (flipped, 'record 1 of toy-train.tfrecord-00000-of-00001 is damaged'),
    (content[:-1], 'record 2 of .* is damaged or cut short'),
    (content[: second + 5], 'record 1 of .* is damaged'),
    (content[:second], 'holds 1 records where its metadata has 3'),
    (content + content, 'holds 6 records where its metadata has 3'),
    (b'', 'holds 0 records'),
  ):
    path.write_bytes(damaged)
    fails(message, 'toy', tmp_path)
  path.unlink()
  fails(r'cannot read .*toy-train.tfrecord-00000-of-00001 \(No such file', 'toy', tmp_path)
  assert not list(folder.rglob('*.npy'))


def test_crc32c_agrees_with_its_published_check_value():
  # of '123456789': RFC 3720's polynomial, as listed in the catalogue of parametrised CRC algorithms
  crc = 0xE3069283
  assert (
    tfds_reader._masked_crc32c(b'123456789') == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
  )


# Digits


@pytest.mark.parametrize(('name', 'side'), [('digits', 16), ('digits32', 32)])
def test_digits(name, side):
  data = sources.load(name)
  assert data.train.image.shape == (1437, side, side, 1) and data.test.image.shape == (
    360,
    side,
    side,
    1,
  )
  assert data.train.image.dtype == np.uint8 and data.train.label.dtype == np.int32
  assert data.train.image.max() == 255 and data.train.image.min() == 0
  np.testing.assert_array_equal(np.bincount(data.test.label), np.full(10, 36))
  assert data.classes == tuple('0123456789')
  np.testing.assert_array_equal(sources.load(name).test.image, data.test.image)
  unlabelled = sources.load_unlabelled(name)
  np.testing.assert_array_equal(unlabelled.image, data.train.image)
  assert (unlabelled.label == -1).all()


def test_digits_are_parted_and_keep_their_labels():
  from sklearn import datasets

  data = sources.load('digits')
  images = np.concatenate([data.train.image, data.test.image])
  labels = np.concatenate([data.train.label, data.test.label])
  bunch = datasets.load_digits()
  # Block means of the upsampled image come near the original's pixels: near enough to tell nearly
  # all images apart.
  means = images.reshape(-1, 8, 2, 8, 2).mean((2, 4)).reshape(-1, 64) * (16 / 255)
  originals = bunch.images.reshape(-1, 64)
  distance = (means**2).sum(1)[:, None] + (originals**2).sum(1) - 2 * means @ originals.T
  nearest = distance.argmin(1)
  assert len(np.unique(nearest)) > 1700
  np.testing.assert_array_equal(bunch.target[nearest], labels)


# Real data


@pytest.fixture(scope='module')
def real():
  if not os.environ.get('KD_JAX_DATA'):
    pytest.skip('KD_JAX_DATA is not set: no real data to test with')
  return os.environ['KD_JAX_DATA']


def test_real_cifar10(real):
  data = sources.load('cifar10', data_dir=real, download=False)
  assert data.train.image.shape == (50_000, 32, 32, 3) and data.test.image.shape == (
    10_000,
    32,
    32,
    3,
  )
  assert data.classes == (
    'airplane',
    'automobile',
    'bird',
    'cat',
    'deer',
    'dog',
    'frog',
    'horse',
    'ship',
    'truck',
  )
  np.testing.assert_array_equal(np.bincount(data.train.label), np.full(10, 5_000))
  np.testing.assert_array_equal(np.bincount(data.test.label), np.full(10, 1_000))
  # tfds begins with train_16399, a horse
  np.testing.assert_array_equal(data.train.label[:8], [7, 8, 4, 4, 6, 5, 2, 9])
  np.testing.assert_array_equal(data.test.label[:8], [7, 0, 6, 9, 5, 1, 7, 0])
  # The mean of CIFAR-10's training pixels, as every recipe for it states.
  np.testing.assert_allclose(
    data.train.image[::10].mean((0, 1, 2)) / 255, (0.4914, 0.4822, 0.4465), atol=0.005
  )


def test_real_unlabelled(real):
  source = sources.load_unlabelled('tiny_imagenet32', data_dir=real, download=False)
  assert source.image.shape == (20_000, 32, 32, 3)
  assert (source.label == -1).all() and source.label.shape == (20_000,)
