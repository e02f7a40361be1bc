"""The process that checks losses and published networks against the reference numbers, on this
device and in this precision.

The precision of products is JAX_DEFAULT_MATMUL_PRECISION's: 'highest' is float32, without it an
NVIDIA device takes TF32.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.accelerator import jobs
from benchmarks.workers import serve


@jobs.answering
def prepare(
  threads: int, reference: str, pretrained: str, data_dir: str, after: str
) -> jobs.Prepared:
  """Does every check whose files are there; the answer holds the largest error of each kind and
  what failed.
  """
  del threads
  from kd_jax.verify import crosscheck

  jobs.wait_for(after)

  lines = []
  folder = Path(reference)
  if not folder.is_dir() or not list(folder.glob('*.npz')):
    return {'missing': f'{reference or "the reference folder"} holds no reference numbers'}, {}
  for file in sorted(folder.glob('*.npz')):
    numbers = crosscheck.Numbers(file)
    if file.stem == 'losses':
      checks = crosscheck.check_losses(numbers)
    elif match := re.fullmatch(r'logits_(\w+)', file.stem):
      path = Path(pretrained) / f'{match[1]}.pth'
      if not path.exists():
        continue
      checks = crosscheck.check_network(numbers, path, data_dir)
    else:
      continue
    lines += [line._replace(what=f'{file.stem}: {line.what}') for line in checks]
  networks = [line for line in lines if 'logits_' in line.what]
  return {
    'checks': len(lines),
    'passed': sum(line.passed for line in lines),
    'largest_error_of_losses': max(
      (line.error for line in lines if line.what.startswith('losses')), default=None
    ),
    'largest_error_of_logits': max(
      (line.error for line in networks if line.what.endswith(': logits')), default=None
    ),
    'test_images_judged_otherwise': {
      line.what.split(':')[0]: line.error for line in networks if 'correct' in line.what
    },
    'failed': [
      f'{line.what}: {line.error:.1e} > {line.tolerance:.0e}' for line in lines if not line.passed
    ],
  }, {}


if __name__ == '__main__':
  serve(prepare)
