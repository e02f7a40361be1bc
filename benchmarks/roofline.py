"""What a training step of each method must take at least on an accelerator, from its program: predictions, not measurements.

  python -m benchmarks.roofline [--batch=128] [--methods=kd,oh] [--out=roofline.json]

ResNet26 → ResNet8 on 32×32 images, lowered for the GPU or TPU on whatever machine this is. Operations are counted by XLA in the
program as it is written. Bytes are of the program that XLA makes for this machine's CPU, after fusion, in float32; an accelerator
fuses otherwise, and in bfloat16 moves about half. The bound is the larger of operations / peak and bytes / bandwidth.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from absl import flags, logging

from benchmarks import command

FLAGS = flags.FLAGS
flags.DEFINE_integer('batch', 128, 'images in a step', lower_bound=1)
flags.DEFINE_list('methods', [], 'rows of kd_jax.methods.METHODS; empty: all that train one student from labelled images')
flags.DEFINE_string('out', None, 'a JSON file for every figure')

DEVICES = {'H100': 'H100', 'v5e': 'TPU v5 lite'}
OTHER_DATA = ('stl', 'unsupervised')  # their batches are not of labelled images alone


def main(argv: list[str]) -> None:
  """Prints the table."""
  logging.set_verbosity(logging.WARNING)
  from kd_jax.methods import METHODS
  from kd_jax.train import peaks

  names = FLAGS.methods or [name for name in METHODS if name not in OTHER_DATA]
  if len(argv) > 1 or (unknown := sorted(set(names) - set(METHODS))):
    sys.exit(f'give methods of {", ".join(METHODS)}' + (f', not {unknown[0]}' if len(argv) == 1 else '; see --help'))
  found = {}
  print(f'| method | GFLOP a step | GB a step | {" | ".join(f"{name}: ms, bound by, images/s" for name in DEVICES)} |')
  print('|---' * (3 + len(DEVICES)) + '|')
  for name in names:
    flops, size = counted(name, FLAGS.batch)
    bounds = {device: bound(flops, size, peaks.of(kind)) for device, kind in DEVICES.items()}
    found[name] = {'flops': flops, 'bytes': size, 'batch': FLAGS.batch, 'bounds': bounds}
    cells = [f'{1e3 * seconds:.2f}, {by}, {FLAGS.batch / seconds:,.0f}' for seconds, by in bounds.values()]
    print(f'| {name} | {flops / 1e9:.1f} | {size / 1e9:.2f} | {" | ".join(cells)} |', flush=True)
  if FLAGS.out:
    Path(FLAGS.out).write_text(json.dumps(found, indent=2) + '\n')


def counted(name: str, batch: int) -> tuple[float, float]:
  """Operations and bytes of a step of a method, teacher, augmentation and optimiser included."""
  import jax
  import jax.numpy as jnp

  from kd_jax import methods, models, training
  from kd_jax.data import pipeline
  from kd_jax.train import optim, state, step
  from kd_jax.types import Frozen, NetworkSpec, Optimiser, Source

  spec = NetworkSpec('resnet8', 10, (32, 32, 3))
  student, teacher = models.build(spec), models.build(spec._replace(name='resnet26'))
  method, key = methods.make(name), jax.eval_shape(lambda: jax.random.key(0))
  taught_by = (teacher,) * methods.teachers(name)[0]
  rule = optim.sgd(Optimiser(), 0.1, method.trains)
  views = {view: pipeline.policy(text, crop_padding=4, flip=True) for view, text in method.views.items()}
  made = step.train_step(student, taught_by, method, rule, pipeline.preprocess(views))

  def begun(key, variables, weights):
    known = tuple(training.known(t, variables=w) for t, w in zip(taught_by, weights, strict=True))
    own = method.init(key, training.known(student), known)
    return state.create(variables, own, rule), Frozen(weights, own.consts, key)

  now, frozen = jax.eval_shape(begun, key, models.shapes(student), tuple(models.shapes(t) for t in taught_by))
  chosen = (jax.ShapeDtypeStruct((batch,), jnp.int32),)
  sources = (Source(jax.ShapeDtypeStruct((50_000, 32, 32, 3), jnp.uint8), jax.ShapeDtypeStruct((50_000,), jnp.int32)),)
  lowered = jax.jit(made, donate_argnums=0).lower(now, frozen, sources, chosen, chosen)
  return lowered.cost_analysis()['flops'], lowered.compile().cost_analysis()['bytes accessed']


def bound(flops: float, size: float, peak) -> tuple[float, str]:
  """Seconds that a step takes at least, and what they are spent on."""
  return max((flops / peak.flops, 'arithmetic'), (size / peak.bandwidth, 'memory'))


if __name__ == '__main__':
  command.run(main)
