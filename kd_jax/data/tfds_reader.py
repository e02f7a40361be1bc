"""Read a prepared tfds folder into uint8 arrays, without TensorFlow.

Both of tfds's usual file formats, ARRAY_RECORD and TFRECORD, hold the same tf.train.Example
messages, so one decoder serves both. Images are decoded with Pillow. tfds's stored PNGs are
lossless; JPEGs may differ from TensorFlow's decoder by a grey level.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from kd_jax.data import decoded
from kd_jax.text import one_line
from kd_jax.types import DataError, Source

_CHUNK = 256  # records that a thread takes at a time: enough to hide its overhead
_THREADS = min(4, os.cpu_count() or 1)
_MODES = {1: 'L', 3: 'RGB', 4: 'RGBA'}  # Pillow's name for so many channels


def open_folder(folder: pathlib.Path) -> Any:
  """Open a prepared folder, such as `…/cifar10/3.0.2`, as a tfds builder.

  The data set's own code is not needed.

  Raises:
    DataError: the metadata cannot be read, or the data set does not hold 8-bit images under
      'image'.
  """
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder_from_directory(folder)
    features = builder.info.features
  # Damaged metadata surfaces as almost any error, and all of them mean the same.
  except Exception as error:
    raise DataError(
      f'cannot read the metadata in {folder} ({one_line(error)}): prepare the data set again'
    ) from error
  names = sorted(features) if isinstance(features, tfds.features.FeaturesDict) else []
  if 'image' not in names or not isinstance(features['image'], tfds.features.Image):
    raise DataError(
      f"data set '{builder.name}' has no feature 'image' (its features: "
      f'{", ".join(names) or "none"}): choose an image-classification data set'
    )
  image = features['image']
  if image.np_dtype != np.uint8 or (image.shape[-1] or 3) not in _MODES:
    raise DataError(
      f"data set '{builder.name}' stores images of {np.dtype(image.np_dtype)} with "
      f'{image.shape[-1]} channels: kd_jax reads 8-bit images of 1, 3 or 4 channels'
    )
  return builder


def class_names(builder: Any) -> tuple[str, ...]:
  """Return the names of the classes in the order of the labels.

  They are none where there is no feature 'label' of classes.
  """
  import tensorflow_datasets as tfds

  label = dict(builder.info.features).get('label')
  return tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()


def read_split(builder: Any, split: str, *, cache_dir: str = '') -> Source:
  """Read one split: decoded at the first call, mapped from files afterwards.

  See kd_jax.data.decoded.

  Args:
    builder: from `open_folder`.
    split: a key of `builder.info.splits`.
    cache_dir: where decoded images are kept; empty: the user's cache.

  Returns:
    Source of NumPy arrays: image u8[N, H, W, C], mapped and read-only; label i32[N], −1 where the
      data set has none.

  Raises:
    DataError: a file is missing or damaged, a record cannot be decoded, or images differ in size.
    FileError: the decoded arrays cannot be kept.
  """
  store = decoded.Store(
    folder=pathlib.Path(builder.data_path), name=builder.name, cache_dir=cache_dir
  )
  count = builder.info.splits[split].num_examples
  if not count:
    raise DataError(f"split '{split}' in {store.folder} has no records: prepare the data set again")
  decode = functools.partial(_decode_split, builder, split, count)
  return store.mapped_or_decoded(split, count, decode)


def _decode_split(builder: Any, split: str, count: int) -> Iterator[decoded.Block]:
  where = f"split '{split}' in {builder.data_path}"
  mode = _MODES[builder.info.features['image'].shape[-1] or 3]
  labelled = bool(class_names(builder))

  def decode(numbered: tuple[int, bytes]) -> tuple[np.ndarray, int]:
    number, record = numbered
    return _decode_record(record, mode, labelled, f'record {number} of {where}')

  shape, done = None, 0
  records = enumerate(_records(builder, split, where))
  for block in decoded.in_threads(decode, records, threads=_THREADS, chunk=_CHUNK):
    images, labels = zip(*block, strict=True)
    shape = shape or images[0].shape
    for number, image in enumerate(images, start=done):
      if image.shape != shape:
        raise DataError(
          f'images of differing sizes in {where} ({shape[0]}×{shape[1]}, but record {number} is '
          f'{image.shape[0]}×{image.shape[1]}): kd_jax needs one size'
        )
    done += len(images)
    yield np.stack(images), np.asarray(labels, np.int32)
  if done != count:
    raise DataError(
      f'{where} holds {done} records where its metadata has {count}: prepare the data set again'
    )


def _decode_record(record: bytes, mode: str, labelled: bool, where: str) -> tuple[np.ndarray, int]:
  from PIL import Image
  from tensorflow_datasets.proto import tf_example_pb2

  try:
    features = tf_example_pb2.Example.FromString(record).features.feature
    with Image.open(io.BytesIO(features['image'].bytes_list.value[0])) as image:
      pixels = np.asarray(image.convert(mode))
    label = features['label'].int64_list.value[0] if labelled else -1
  except Exception as error:  # whatever a damaged picture makes its decoder raise
    raise DataError(
      f'cannot decode {where} ({one_line(error)}): prepare the data set again'
    ) from error
  return pixels.reshape(*pixels.shape[:2], -1), label


def _records(builder: Any, split: str, where: str) -> Iterator[bytes]:
  """Yield the serialised examples of a split, in order."""
  import tensorflow_datasets as tfds

  formats = builder.info.available_file_formats()
  if tfds.core.FileFormat.ARRAY_RECORD in formats:
    yield from _array_records(builder, split, where)
  elif tfds.core.FileFormat.TFRECORD in formats:
    for path in builder.info.splits[split].filepaths:
      yield from _tfrecords(pathlib.Path(path), where)
  else:
    named = ', '.join(sorted(format.value for format in formats)) or 'none named'
    raise DataError(
      f'cannot read {where}: its format is {named}; prepare it as array_record or tfrecord'
    )


def _array_records(builder: Any, split: str, where: str) -> Iterator[bytes]:
  import tensorflow_datasets as tfds

  try:
    import array_record  # noqa: F401
  except ImportError as error:
    raise DataError(
      f'cannot read {where}: the package array_record is not installed; install it, or, where it '
      'has no wheel for this platform, prepare the data set with file_format=tfrecord'
    ) from error
  method = tfds.decode.DeserializeMethod.RAW_BYTES
  source = builder.as_data_source(split, deserialize_method=method, file_format='array_record')
  for start in range(0, len(source), _CHUNK):
    numbers = range(start, min(start + _CHUNK, len(source)))
    try:
      records = source.__getitems__(list(numbers))
    except (RuntimeError, ValueError, IndexError) as error:
      number = next((number for number in numbers if not _readable(source, number)), start)
      raise DataError(
        f'cannot read record {number} of {where} ({one_line(error)}): prepare the data set again'
      ) from error
    yield from records


def _readable(source: Any, number: int) -> bool:
  try:
    source[number]
  except (RuntimeError, ValueError, IndexError):
    return False
  return True


def _tfrecords(path: pathlib.Path, where: str) -> Iterator[bytes]:
  """Yield the records of a TFRECORD file.

  Each is its length u64, the length's masked CRC-32C u32, the data, and the data's masked CRC-32C
  u32. The lengths are checked by their checksums and the file's end, the data by their decoder (a
  PNG has its own checksum).
  """
  try:
    with open(path, 'rb') as file:
      for number in itertools.count():
        header = file.read(12)
        if not header:
          return
        length, checksum = struct.unpack('<QI', header) if len(header) == 12 else (0, None)
        body = file.read(length + 4) if checksum == _masked_crc32c(header[:8]) else b''
        if len(body) != length + 4:
          raise DataError(
            f'record {number} of {path.name} is damaged or cut short, {where}: prepare the data '
            'set again'
          )
        yield body[:-4]
  except OSError as error:
    raise DataError(
      f'cannot read {path} ({error.strerror}), {where}: prepare the data set again'
    ) from error


@functools.cache
def _crc32c_table() -> tuple[int, ...]:
  table = []
  for value in range(256):
    for _ in range(8):
      value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    table.append(value)
  return tuple(table)


def _masked_crc32c(data: bytes) -> int:
  """Return CRC-32C (Castagnoli), rotated and offset as TFRECORD stores it."""
  table = _crc32c_table()
  crc = 0xFFFFFFFF
  for byte in data:
    crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
