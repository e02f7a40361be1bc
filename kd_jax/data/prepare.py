"""Download archives, and prepare CIFAR in tfds's own form, without TensorFlow.

The stock builders need TensorFlow to unpack the archive and to encode the images. A subclass
replaces these two steps alone: version, features, order of the records and pixels are those of the
stock data set.
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import socket
import tarfile
import threading
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from kd_jax.data import decoded
from kd_jax.text import one_line
from kd_jax.types import DataError

PREPARABLE = ('cifar10', 'cifar100')
_DAMAGE = (OSError, tarfile.TarError, EOFError, zlib.error)  # of an archive or the disk
_CONNECT_SECONDS = 4.0
_LOOK_UP_SECONDS = 4.0  # a resolver without network may take minutes, and heeds no timeout


def prepare(name: str, data_dir: pathlib.Path) -> None:
  """Download `name`, one of PREPARABLE, and write it under `data_dir` as ARRAY_RECORD files.

  An archive that the user has put into `data_dir`/downloads/manual is taken from there, without
  network.

  Raises:
    DataError: the download host cannot be reached (within seconds), the archive is damaged, or
      `data_dir` cannot be written.
  """
  import tensorflow_datasets as tfds

  with explained(name, data_dir):
    builder = _builder_class(name)(data_dir=data_dir, file_format='array_record')
  download_config = tfds.download.DownloadConfig(try_download_gcs=False)
  try:
    with explained(name, data_dir):
      _check_reachable(name, builder._cifar_info.url, data_dir)
      builder.download_and_prepare(download_config=download_config)
  except DataError:
    if not builder.data_path.exists():  # another process may have been first
      raise


def archive(name: str, url: str, data_dir: pathlib.Path) -> pathlib.Path:
  """Return the file at `url`, downloaded into `data_dir`/downloads where it is not there yet.

  It is taken from `data_dir`/downloads/manual where a user has put it. Its checksum is compared
  with the one that tfds has noted of the data set `name`.

  Raises:
    DataError: as `prepare`.
    FileError: the disk has no room for it.
  """
  import tensorflow_datasets as tfds

  with explained(name, data_dir):
    noted = tfds.builder_cls(name).url_infos
    folder = data_dir / 'downloads'
    if not _manual(url, data_dir).exists() and not _downloaded(folder, url):
      _check_reachable(name, url, data_dir)
      size = noted[url].size if url in noted else 0
      decoded.check_room(f'the archive of {name}', size, data_dir, 'data_dir')
    manager = tfds.download.DownloadManager(
      download_dir=folder, manual_dir=folder / 'manual', url_infos=noted, dataset_name=name
    )
    return pathlib.Path(manager.download(url))


def not_prepared(name: str, data_dir: pathlib.Path) -> DataError:
  """Return the fault of a data set that could be downloaded, and may not be as it is named."""
  base = name.split('/')[0].split(':')[0]
  return DataError(
    f"data set '{name}' is not prepared in {data_dir}: allow the download (of '{base}', without "
    'version or configuration), or give the data_dir that holds it'
  )


@contextlib.contextmanager
def explained(name: str, data_dir: pathlib.Path) -> Iterator[None]:
  """Turn what goes wrong with an archive, a download or a disk into a DataError of one line."""
  from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
  from tensorflow_datasets.core.download.util import DownloadError

  try:
    yield
  except ImportError as error:
    raise DataError(
      f'cannot prepare {name} in {data_dir} ({error}): install that package, or prepare {name} on '
      'a machine that has it'
    ) from error
  except (*_DAMAGE, DownloadError, NonMatchingChecksumError) as error:
    reason = one_line(error, at_most=1000)  # holds two long paths, and then what is wrong
    raise DataError(
      f'cannot prepare {name} in {data_dir} ({reason}): mend that and try again'
    ) from error


def _manual(url: str, data_dir: pathlib.Path) -> pathlib.Path:
  """Return where a user puts an archive that is downloaded by hand."""
  name = pathlib.PurePosixPath(urllib.parse.urlsplit(url).path).name
  return data_dir / 'downloads' / 'manual' / name


def _check_reachable(name: str, url: str, data_dir: pathlib.Path) -> None:
  """Raise DataError where an archive is neither there nor to be had."""
  manual = _manual(url, data_dir)
  if not manual.exists() and (fault := _connection_fault(url)):
    raise DataError(
      f'cannot download {name}: {fault}; connect to the network, put {url} into {manual.parent}, '
      f'or give a data_dir where {name} is prepared'
    )


def _downloaded(folder: pathlib.Path, url: str) -> bool:
  """Return whether an earlier call has downloaded an archive."""
  notes = folder.rglob('*.INFO')  # which tfds writes beside what it has downloaded
  return any(
    url in note.read_text(encoding='utf-8') and note.with_suffix('').exists() for note in notes
  )


def _builder_class(name: str) -> Any:
  """Return the stock tfds builder of `name` with TensorFlow's two steps replaced."""
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core import registered

  # Outside skip_registration, or its own registration would be skipped for good.
  stock = tfds.builder_cls(name)
  with registered.skip_registration():

    class Builder(stock):  # type: ignore[misc, valid-type]
      name = stock.name

      def _split_generators(self, dl_manager):
        info = self._cifar_info
        files = _read_archive(pathlib.Path(dl_manager.download(info.url)), info.prefix)
        for key, file in zip(info.label_keys, info.label_files, strict=True):
          self.info.features[key].names = _member(files, file).decode().split()
        return {
          split: _examples(split, [_member(files, file) for file in names], info.label_keys)
          for split, names in (('train', info.train_files), ('test', info.test_files))
        }

  return Builder


def _read_archive(path: pathlib.Path, prefix: str) -> dict[str, bytes]:
  """Return the files under `prefix` in a tar archive, by their names without it."""
  with tarfile.open(path) as archive:
    return {
      member.name.removeprefix(prefix): file.read()
      for member in archive
      if member.name.startswith(prefix) and (file := archive.extractfile(member))
    }


def _member(files: dict[str, bytes], name: str) -> bytes:
  if name not in files:
    raise tarfile.TarError(f'the archive has no file {name}')
  return files[name]


def _examples(
  split: str, blobs: list[bytes], label_keys: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
  """Yield the records of CIFAR's binary files: labels, a byte each, then 3072 of colour planes.

  The number of a record is its key, as in the stock builder: tfds derives the order on disk from
  it.
  """
  from PIL import Image

  size = len(label_keys) + 3072
  number = 0
  for blob in blobs:
    if len(blob) % size:
      raise tarfile.TarError(
        f'a file in the archive is {len(blob)} bytes long, which is no multiple of {size}'
      )
    for record in np.frombuffer(blob, np.uint8).reshape(-1, size):
      pixels = record[len(label_keys) :].reshape(3, 32, 32).transpose(1, 2, 0)
      png = io.BytesIO()
      Image.fromarray(pixels).save(png, 'PNG')
      labels = {key: int(label) for key, label in zip(label_keys, record, strict=False)}
      yield number, {'id': f'{split}_{number:05d}', 'image': png.getvalue(), **labels}
      number += 1


def _connection_fault(url: str) -> str:
  """Return why the host of `url`, or its proxy, cannot be reached; empty where it can."""
  parts = urllib.parse.urlsplit(url)
  proxy = urllib.request.getproxies().get(parts.scheme)
  if proxy and not urllib.request.proxy_bypass(parts.hostname or ''):
    parts = urllib.parse.urlsplit(proxy if '//' in proxy else f'//{proxy}')
  address = parts.hostname or '', parts.port or (443 if parts.scheme == 'https' else 80)
  outcome = [f'{address[0]} cannot be reached (no answer)']

  def connect() -> None:
    try:
      socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
      outcome.append('')
    except OSError as error:
      outcome.append(f'{address[0]} cannot be reached ({error.strerror or error})')

  thread = threading.Thread(target=connect, daemon=True)
  thread.start()
  thread.join(_LOOK_UP_SECONDS + _CONNECT_SECONDS)
  return outcome[-1]
