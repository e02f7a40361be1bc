"""What bounds a step: its operations and bytes, and the devices that they are held against."""

from __future__ import annotations

from typing import Any

# As they are called here → a part of jax's device_kind
DEVICES = {'H100': 'H100', 'v5e': 'TPU v5 lite'}


def counted(name: str, batch: int) -> tuple[float, float]:
  """Return operations and bytes of a step of a method, teacher, augmentation and optimiser
  included.
  """
  import jax
  import jax.numpy as jnp
  import numpy as np

  from kd_jax import methods, models
  from kd_jax.data import pipeline
  from kd_jax.train import optim, peaks, state, step
  from kd_jax.types import Block, Frozen, InitInputs, NetworkSpec, OptimiserSpec, Source

  spec = NetworkSpec('resnet8', 10, (32, 32, 3))
  student, teacher = models.build(spec), models.build(spec._replace(name='resnet26'))
  method = methods.make(name)
  key = jax.eval_shape(lambda: jax.random.key(0))
  teachers = (teacher,) * methods.teachers(name)[0]
  rule = optim.optimiser(OptimiserSpec(), lambda step: 0.1, method.trains)
  views = {
    view: pipeline.policy(text, pipeline.Weak(4, True)) for view, text in method.views.items()
  }
  made = step.train_step(student, teachers, method, rule, pipeline.preprocess(views))

  def begun(key: Any, variables: Any, weights: Any) -> Any:
    pairs = zip(teachers, weights, strict=True)
    own = method.init(
      InitInputs(
        key=key,
        student=models.info(student),
        teachers=tuple(models.info(t, variables=w) for t, w in pairs),
        labels=np.zeros(50_000, np.int32),
      )
    )
    count = jnp.ones((), jnp.int32)
    frozen = Frozen(
      teachers=weights, constants=own.constants, key=key, epoch_steps=count, phase_steps=count
    )
    return state.create(variables, own, rule), frozen

  now, frozen = jax.eval_shape(
    begun, key, models.shapes(student), tuple(models.shapes(t) for t in teachers)
  )
  chosen: Any = (jax.ShapeDtypeStruct((batch,), jnp.int32),)
  stored: Any = jax.ShapeDtypeStruct((50_000, 32, 32, 3), jnp.uint8)
  labels: Any = jax.ShapeDtypeStruct((50_000,), jnp.int32)
  block = Block(sources=(Source(stored, labels),), index=chosen, example=chosen, position=chosen)
  compiled = jax.jit(made, donate_argnums=0)
  given = (now, frozen, block)
  costs = compiled.lower(*given).compile().cost_analysis() or {}
  return peaks.operations(compiled, *given) or 0.0, costs['bytes accessed']


def bound(flops: float, size: float, peak: Any) -> tuple[float, str]:
  """Return the seconds that a step takes at least, and what they are spent on."""
  return max((flops / peak.flops, 'arithmetic'), (size / peak.bandwidth, 'memory'))
