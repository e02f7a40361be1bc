"""`kd-jax crosscheck`: does kd_jax compute what PyTorch computes?"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from kd_jax.commands.command_line import Parser, prog

_TEXT = """Checks networks, losses and training against numbers made with published code.

Each file of the reference folder is read by its name; one kind is enough:

  logits_<checkpoint>.npz           outputs of <checkpoint>.pth: logits,
                                    features, embedding, right test images
  losses.npz                        inputs, value and gradient of each loss
  trace_<teacher>_to_<student>.npz  steps of training from given weights, the
                                    teacher in <teacher>_cifar10.pth
  <source>_<network>.npz            a network of public code: names and
                                    shapes, logits, number of parameters

Where torch is installed, every recipe of every method also trains beside a PyTorch
rendering of it. The last lines name what was compared with nothing. The exit code
is 1 where a check fails, or a file lacks what its kind always has."""


def parser() -> Parser:
  """Return the arguments of the command."""
  made = Parser(prog('crosscheck'), _TEXT)
  reference = 'folder of .npz files with reference numbers'
  made.add_argument('--reference', required=True, type=Path, metavar='DIR', help=reference)
  pretrained = 'folder of the PyTorch checkpoints that logits and traces were made with'
  made.add_argument('--pretrained', type=Path, metavar='DIR', help=pretrained)
  data = 'prepared tensorflow_datasets data, with cifar10'
  made.add_argument('--data_dir', default='', metavar='DIR', help=data)
  made.add_argument('--out', type=Path, metavar='FILE', help='a JSON file for the table')
  return made


def main(arguments: list[str]) -> int:
  """Check all that can be; return the exit code."""
  given = parser().parse_args(arguments)
  from kd_jax.files import records
  from kd_jax.train import parallel
  from kd_jax.verify import crosscheck, live
  from kd_jax.verify.numbers import Uncovered

  started = time.perf_counter()
  parallel.find_devices()
  against_files = crosscheck.check_all(given.reference, given.pretrained, given.data_dir)
  lines, uncovered = [], []
  for line in itertools.chain(against_files, live.check_live()):
    if isinstance(line, Uncovered):
      uncovered.append(line)
      continue
    lines.append(line)
    passed = 'pass' if line.passed else 'FAIL'
    print(f'{passed}  {line.error:9.2e} ≤ {line.tolerance:7.0e}  {line.what}', flush=True)
  if given.out:
    table = {
      'checks': [{**line._asdict(), 'passed': line.passed} for line in lines],
      'not_covered': [line._asdict() for line in uncovered],
    }
    records.write_json(given.out, table)
  for line in uncovered:
    print(f'not covered: {line.what} ({line.why})')
  passing = sum(line.passed for line in lines)
  print(f'{passing} of {len(lines)} checks pass, in {time.perf_counter() - started:.0f} s.')
  return 0 if lines and passing == len(lines) else 1
