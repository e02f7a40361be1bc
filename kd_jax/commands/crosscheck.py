"""Does kd_jax compute what PyTorch computes? Checks networks, losses and training against numbers
made with published code.

  python -m kd_jax.crosscheck --reference=DIR --pretrained=DIR --data_dir=DIR [--out=FILE.json]

Each file of the reference folder is known by its name; one kind is enough:
  logits_<checkpoint>.npz             outputs of <checkpoint>.pth: logits, features, embedding, correct test images
  losses.npz                          inputs, and the value and gradient of each loss
  trace_<teacher>_to_<student>.npz    steps of training from given weights, taught by <teacher>_cifar10.pth

Where torch is installed, every recipe of every method also trains beside a PyTorch rendering of it
(kd_jax.verify.live). The last lines name what was compared with nothing. Exits non-zero where a
check fails, or a file lacks what its kind always has.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

from kd_jax.commands.command_line import Parser
from kd_jax.files import records
from kd_jax.train import parallel
from kd_jax.types import KdJaxError
from kd_jax.verify import live
from kd_jax.verify.losses import check_losses
from kd_jax.verify.networks import check_network, uncovered
from kd_jax.verify.numbers import Check, Numbers, Uncovered
from kd_jax.verify.traces import check_trace

KINDS = {'logits': r'logits_(\w+)', 'losses': r'losses', 'trace': r'trace_(\w+)_to_(\w+)'}


def check_all(reference: Path, pretrained: Path, data_dir: str) -> Iterator[Check | Uncovered]:
  """Check every file in the reference folder, and name the kinds of which it has none.

  Raises KdJaxError where there is nothing to check, or where a file is of no known kind, or is
  missing.
  """
  files = sorted(reference.glob('*.npz'))
  if not files:
    raise KdJaxError(f'{reference} holds no .npz file; name the folder of reference numbers')
  met = set()
  for file in files:
    found = [
      (kind, match)
      for kind, pattern in KINDS.items()
      if (match := re.fullmatch(pattern, file.stem))
    ]
    if not found:
      raise KdJaxError(
        f'{file} is of no known kind; names are logits_<checkpoint>, losses, '
        f'trace_<teacher>_to_<student>'
      )
    ((kind, match),) = found
    met.add(kind)
    for line in _check_file(kind, match, Numbers(file), pretrained, data_dir):
      yield line._replace(what=f'{file.stem}: {line.what}')
  for kind in (kind for kind in KINDS if kind not in met):
    yield Uncovered(
      {
        'logits': 'released networks',
        'losses': 'losses by themselves',
        'trace': 'training by the released code',
      }[kind],
      f'{reference} has no file {kind}{"" if kind == "losses" else "_…"}.npz',
    )


def _check_file(
  kind: str, match: re.Match, data: Numbers, pretrained: Path, data_dir: str
) -> Iterator[Check | Uncovered]:
  if kind == 'losses':
    yield from check_losses(data)
  elif kind == 'trace':
    yield from check_trace(data, pretrained / f'{match[1]}_cifar10.pth', match[2])
  else:
    yield from check_network(data, pretrained / f'{match[1]}.pth', data_dir)
    if why := uncovered(data):
      yield Uncovered('stage features and embedding', why)


def main(argv: list[str] | None = None) -> int:
  """Run the command `python -m kd_jax.crosscheck`; return the exit code."""
  parser = Parser('crosscheck', __doc__)
  parser.add_argument(
    '--reference', required=True, type=Path, help='folder of .npz files with reference numbers'
  )
  parser.add_argument(
    '--pretrained',
    required=True,
    type=Path,
    help='folder of the PyTorch checkpoints that they were made with',
  )
  parser.add_argument(
    '--data_dir', default='', help='prepared tensorflow_datasets data, with cifar10'
  )
  parser.add_argument('--out', type=Path, help='a JSON file for the table')
  arguments = parser.parse_args(argv)
  started, lines, open_ends = time.perf_counter(), [], []
  try:
    parallel.find_devices()
    for line in itertools.chain(
      check_all(arguments.reference, arguments.pretrained, arguments.data_dir), live.check_live()
    ):
      if isinstance(line, Uncovered):
        open_ends.append(line)
        continue
      lines.append(line)
      print(
        f'{"pass" if line.passed else "FAIL"}  {line.error:9.2e} ≤ {line.tolerance:7.0e}  '
        f'{line.what}',
        flush=True,
      )
    if arguments.out:
      records.write_json(
        arguments.out,
        {
          'checks': [{**line._asdict(), 'passed': line.passed} for line in lines],
          'not_covered': [line._asdict() for line in open_ends],
        },
      )
  except KdJaxError as error:
    parser.error(str(error))
  for line in open_ends:
    print(f'not covered: {line.what} ({line.why})')
  failed = sum(not line.passed for line in lines)
  print(
    f'{len(lines) - failed} of {len(lines)} checks pass, in {time.perf_counter() - started:.0f} s.'
  )
  return 0 if lines and not failed else 1
