"""Packs what a machine without a network lacks into parts that may travel one after the other.

  python -m benchmarks.accelerator.pack --data_dir=DIR --pretrained=DIR --reference=DIR
  --out=.accelerator

The machine has Python 3.12, jax with CUDA, flax, optax, orbax, torch and the usual packages; WHEELS
are what it lacks. CIFAR-10 goes as prepared data of tensorflow_datasets, its pictures written anew
as lossless WebP: every pixel is compared, and they take 30 % less. benchmarks.accelerator.unpack
puts the parts together there.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.accelerator.unpack import CHUNK, DESCRIPTION, sha256
from kd_jax.commands.command_line import Parser

# Of kd_jax's requirements, and of what these require, what the machine lacks; protobuf is there, in
# a version that is not known.
WHEELS = (
  *('array_record', 'dm-tree', 'docstring-parser', 'googleapis-common-protos', 'immutabledict'),
  *('importlib_resources', 'ml_collections', 'promise', 'protobuf', 'simple-parsing'),
  *('six', 'tensorboardX', 'tensorflow-datasets', 'tensorflow-metadata', 'termcolor'),
  'toml',
)
PYTHON = '3.12'
PLATFORMS = (
  *('manylinux_2_28_x86_64', 'manylinux_2_24_x86_64', 'manylinux_2_17_x86_64'),
  *('manylinux2014_x86_64', 'manylinux1_x86_64'),
)
# The published networks, which studies have as teachers, and those of them whose reference numbers
# are packed, too.
NETWORKS = (
  *('resnet8_cifar10', 'resnet20_cifar10', 'resnet26_cifar10'),
  *('WRN10_1_cifar10', 'WRN16_1_cifar10'),
)
CHECKED = ('resnet26_cifar10', 'resnet8_cifar10', 'WRN16_1_cifar10')
_MIB = 2**20


def split(stage: Path, out: Path, *, size: int) -> list[Path]:
  """Write a folder as parts of at most `size` bytes under `out`, part1, part2, …, and
  return them.
  """
  out.mkdir(parents=True, exist_ok=True)
  whole = out / 'whole.tar'
  with tarfile.open(whole, 'w') as archive:
    for path in sorted(stage.iterdir()):
      archive.add(path, path.name)
  count = -(-whole.stat().st_size // size)
  each = -(-whole.stat().st_size // count)
  parts = [out / f'part{number + 1}' for number in range(count)]
  for older in out.glob('part*'):
    shutil.rmtree(older)
  digests = []
  with whole.open('rb') as file:
    for part in parts:
      part.mkdir()
      (part / CHUNK).write_bytes(data := file.read(each))
      digests.append(hashlib.sha256(data).hexdigest())
  for number, part in enumerate(parts):
    described = {'number': number, 'chunks': digests, 'sha256': sha256(whole)}
    (part / DESCRIPTION).write_text(json.dumps(described, indent=2) + '\n')
  whole.unlink()
  return parts


def repack(folder: Path, out: Path) -> None:
  """Write a data set of tfds with lossless WebP pictures; the order, the labels and every pixel
  stay. Raise ValueError where not.
  """
  import numpy as np
  import tensorflow_datasets as tfds
  from array_record.python import array_record_module
  from PIL import Image
  from tensorflow_datasets.proto import tf_example_pb2

  out.mkdir(parents=True)
  for path in folder.iterdir():
    if path.suffix in ('.json', '.txt'):
      shutil.copyfile(path, out / path.name)
  builder = tfds.builder_from_directory(folder)
  raw = tfds.decode.DeserializeMethod.RAW_BYTES
  for name, info in builder.info.splits.items():
    (file,) = info.filenames
    source = builder.as_data_source(name, deserialize_method=raw, file_format='array_record')
    writer = array_record_module.ArrayRecordWriter(str(out / file), 'group_size:1,uncompressed')
    for start in range(0, len(source), 1000):
      for record in source.__getitems__(list(range(start, min(start + 1000, len(source))))):
        example = tf_example_pb2.Example.FromString(record)
        values = example.features.feature['image'].bytes_list.value
        picture = Image.open(io.BytesIO(values[0]))
        smaller = io.BytesIO()
        picture.save(smaller, 'WEBP', lossless=True, exact=True, quality=75, method=2)
        if not np.array_equal(np.asarray(picture), np.asarray(Image.open(smaller))):
          raise ValueError(f'a picture of {folder} changes as WebP')
        values[0] = smaller.getvalue()
        writer.write(example.SerializeToString())
    writer.close()


def _wheels(to: Path) -> None:
  """Fetch the wheels by pip; what comes as source alone, and is pure Python, is built here."""
  pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '-q']
  platforms = [argument for name in PLATFORMS for argument in ('--platform', name)]
  for name in WHEELS:
    fetched = subprocess.run(
      [
        *pip,
        'download',
        '--no-deps',
        '--only-binary=:all:',
        '--python-version',
        PYTHON,
        '--implementation',
        'cp',
        *platforms,
        '-d',
        str(to),
        name,
      ],
      capture_output=True,
      check=False,
    )
    if fetched.returncode:
      subprocess.run([*pip, 'wheel', '--no-deps', '-w', str(to), name], check=True)
  if foreign := [
    path.name
    for path in to.iterdir()
    if not (path.name.endswith('-none-any.whl') or 'manylinux' in path.name)
  ]:
    raise ValueError(f'{foreign[0]} was built for this machine alone, and will not run there')


def main() -> None:
  """Run the command."""
  parser = Parser('python -m benchmarks.accelerator.pack', __doc__)
  parser.add_argument(
    '--data_dir',
    required=True,
    type=Path,
    help='prepared data of tensorflow_datasets, with cifar10',
  )
  parser.add_argument(
    '--pretrained', required=True, type=Path, help='folder of the published networks'
  )
  parser.add_argument(
    '--reference', type=Path, help='folder of the reference numbers of kd_jax.crosscheck'
  )
  parser.add_argument(
    '--out', default=Path('.accelerator'), type=Path, help='folder that gets part1, part2, …'
  )
  parser.add_argument('--size', default=55.0, type=float, help='MiB of a part, at most')
  arguments = parser.parse_args()
  (version,) = sorted((arguments.data_dir / 'cifar10').iterdir())[-1:]
  with tempfile.TemporaryDirectory(prefix='kd_jax-pack-') as place:
    stage = Path(place)
    for name in ('wheels', 'pretrained', 'reference'):
      (stage / name).mkdir()
    for name in NETWORKS:
      shutil.copyfile(arguments.pretrained / f'{name}.pth', stage / 'pretrained' / f'{name}.pth')
    for name in ('losses', *(f'logits_{name}' for name in CHECKED)) if arguments.reference else ():
      shutil.copyfile(arguments.reference / f'{name}.npz', stage / 'reference' / f'{name}.npz')
    _wheels(stage / 'wheels')
    repack(version, stage / 'data' / 'cifar10' / version.name)
    for part in split(stage, arguments.out, size=int(arguments.size * _MIB)):
      print(f'{part}: {sum(file.stat().st_size for file in part.iterdir()) / _MIB:.1f} MiB')


if __name__ == '__main__':
  main()
