"""What a training step of each method must take at least on an accelerator, from its program:
predictions, not measurements.

  python -m benchmarks.roofline [--batch=128] [--methods=kd,oh] [--out=roofline.json]

ResNet26 → ResNet8 on 32×32 images, lowered for the GPU or TPU on whatever machine this is.
Operations are counted by XLA in the program as it is written. Bytes are of the program that XLA
makes for this machine's CPU, after fusion, in float32; an accelerator fuses otherwise, and in
bfloat16 moves about half. The bound is the larger of operations / peak and bytes / bandwidth.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from absl import flags, logging

from benchmarks import command
from benchmarks.bounds import DEVICES, bound, counted

FLAGS = flags.FLAGS
flags.DEFINE_integer('batch', 128, 'images in a step', lower_bound=1)
flags.DEFINE_list(
  'methods',
  [],
  'rows of kd_jax.methods.METHODS; empty: all that train one student from labelled images',
)
flags.DEFINE_string('out', None, 'a JSON file for every figure')

OTHER_DATA = ('stl', 'unsupervised')  # their batches are not of labelled images alone


def main(argv: list[str]) -> None:
  """Print the table."""
  logging.set_verbosity(logging.WARNING)
  from kd_jax.methods import METHODS
  from kd_jax.train import peaks

  names = FLAGS.methods or [name for name in METHODS if name not in OTHER_DATA]
  if len(argv) > 1 or (unknown := sorted(set(names) - set(METHODS))):
    sys.exit(
      f'give methods of {", ".join(METHODS)}'
      + (f', not {unknown[0]}' if len(argv) == 1 else '; see --help')
    )
  steps = {}
  print(
    '| method | GFLOP a step | GB a step | '
    f'{" | ".join(f"{name}: ms, bound by, images/s" for name in DEVICES)} |'
  )
  print('|---' * (3 + len(DEVICES)) + '|')
  for name in names:
    flops, size = counted(name, FLAGS.batch)
    bounds = {device: bound(flops, size, peaks.of(kind)) for device, kind in DEVICES.items()}
    steps[name] = {'flops': flops, 'bytes': size, 'batch': FLAGS.batch, 'bounds': bounds}
    cells = [
      f'{1e3 * seconds:.2f}, {by}, {FLAGS.batch / seconds:,.0f}' for seconds, by in bounds.values()
    ]
    print(f'| {name} | {flops / 1e9:.1f} | {size / 1e9:.2f} | {" | ".join(cells)} |', flush=True)
  if FLAGS.out:
    Path(FLAGS.out).write_text(json.dumps(steps, indent=2) + '\n')


if __name__ == '__main__':
  command.run(main)
