"""Puts what benchmarks.accelerator.pack packed together again, on a machine without a network.

  python3 -m benchmarks.accelerator.unpack PART... --into=DIR

The parts may arrive one after the other, in any order, each by a call of its own. Once all are
there, DIR holds
  site/         the packages that the machine lacked
  data/ pretrained/ reference/
  environment   what a shell reads (`. DIR/environment`) so that kd_jax finds all of these
Nothing but this checkout, the standard library and pip is used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from kd_jax.commands.command_line import Parser

# in every part: how many parts there are, and the sha256 of each and of the whole
DESCRIPTION = 'pack.json'
CHUNK = 'chunk'


def unpack(parts: list[Path], into: Path, *, install: bool = True) -> bool:
  """Take further parts in; put all together once none is missing. Return whether that was done.

  Raises:
    ValueError: a part is damaged, or of another pack than those before it.
  """
  kept = into / 'parts'
  kept.mkdir(parents=True, exist_ok=True)
  for part in parts:
    description = json.loads((part / DESCRIPTION).read_text())
    noted = kept / DESCRIPTION
    if noted.exists() and json.loads(noted.read_text())['chunks'] != description['chunks']:
      raise ValueError(
        f'{part} is of another pack than the parts in {kept}: empty {into}, and begin again'
      )
    noted.write_text(json.dumps({'chunks': description['chunks'], 'sha256': description['sha256']}))
    shutil.copyfile(part / CHUNK, kept / str(description['number']))
    if sha256(kept / str(description['number'])) != description['chunks'][description['number']]:
      (kept / str(description['number'])).unlink()
      raise ValueError(f'{part} is damaged on the way: send it again')
  noted = json.loads((kept / DESCRIPTION).read_text())
  chunks = [kept / str(number) for number in range(len(noted['chunks']))]
  if missing := [chunk.name for chunk in chunks if not chunk.exists()]:
    print(f'{len(chunks) - len(missing)} of {len(chunks)} parts are there.')
    return False
  whole = into / 'whole.tar'
  with whole.open('wb') as out:
    for chunk in chunks:
      with chunk.open('rb') as file:
        shutil.copyfileobj(file, out)
  if sha256(whole) != noted['sha256']:
    raise ValueError(f'{whole} is not what was packed: empty {into}, and begin again')
  with tarfile.open(whole) as archive:
    archive.extractall(into, filter='data')
  whole.unlink()
  if install:
    _install(into)
  names = {
    'PYTHONPATH': into / 'site',
    'KD_JAX_DATA': into / 'data',
    'KD_JAX_PRETRAINED': into / 'pretrained',
    'KD_JAX_REFERENCE': into / 'reference',
  }
  (into / 'environment').write_text(
    ''.join(f'export {name}={path.absolute()}\n' for name, path in names.items())
  )
  print(f'All {len(chunks)} parts are there and put together in {into}.')
  return True


def sha256(path: Path) -> str:
  """Return the hexadecimal digest of a file."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _install(into: Path) -> None:
  wheels = sorted(map(str, (into / 'wheels').glob('*.whl')))
  if wheels:
    subprocess.run(
      [
        sys.executable,
        '-m',
        'pip',
        'install',
        '-q',
        '--no-index',
        '--no-deps',
        '--no-compile',
        '--no-cache-dir',
        '--disable-pip-version-check',
        '--upgrade',
        '--target',
        str(into / 'site'),
        *wheels,
      ],
      check=True,
    )


def main() -> None:
  """Run the command."""
  parser = Parser('python -m benchmarks.accelerator.unpack', __doc__)
  parser.add_argument('parts', nargs='+', type=Path, help='folders that pack wrote')
  parser.add_argument('--into', required=True, type=Path, help='where everything is put together')
  arguments = parser.parse_args()
  try:
    unpack(arguments.parts, arguments.into)
  except (ValueError, OSError, subprocess.CalledProcessError) as fault:
    sys.exit(f'unpack: {fault}')


if __name__ == '__main__':
  main()
