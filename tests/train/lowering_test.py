"""The real steps lower for NVIDIA GPUs and TPUs, on a machine that has neither.

(Lowered, not compiled: that needs the device.)
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import models
from kd_jax.data import pipeline
from kd_jax.train import evaluation, parallel, state, step
from kd_jax.types import Block, Frozen, NetworkSpec, Source
from tests import tiny

PLATFORMS = ('cuda', 'tpu')
BATCH = 128
CASES = [case for case in tiny.cases() if case.recipe == 'written']
SOURCES = (
  Source(
    jax.ShapeDtypeStruct((50_000, 32, 32, 3), jnp.uint8), jax.ShapeDtypeStruct((50_000,), jnp.int32)
  ),
)
INDEX = (jax.ShapeDtypeStruct((BATCH,), jnp.int32),)


@functools.cache
def network(name: str, dtype: str, placement: str = 'block'):
  return models.build(
    NetworkSpec(name, 10, (32, 32, 3), placement, (0.49, 0.48, 0.45), (0.2, 0.2, 0.2), dtype)
  )


@functools.cache
def known(name: str, dtype: str, placement: str):
  return tiny.info(network(name, dtype, placement))


def train_step(case: tiny.Case, dtype: str):
  """The jitted training step of a case, ResNet26 → ResNet8 on CIFAR-10, and its arguments as
  shapes.
  """
  student, teacher, method = (
    network('resnet8', dtype, case.placement),
    network('resnet26', dtype, case.placement),
    case.method(),
  )
  weights = (models.shapes(teacher),) * case.teachers
  own = jax.eval_shape(
    lambda key, weights: method.init(
      tiny.init_inputs(
        known('resnet8', dtype, case.placement),
        *(known('resnet26', dtype, case.placement)._replace(variables=w) for w in weights),
        key=key,
      )
    ),
    jax.random.key(0),
    weights,
  )
  sgd = tiny.rule(tiny.PAPER, method, 1000)
  first = jax.eval_shape(
    lambda variables, own: state.create(variables, own, sgd), models.shapes(student), own
  )
  views = {
    view: pipeline.policy(text, pipeline.Weak(4, True)) for view, text in method.views.items()
  }
  made = step.train_step(
    student, (teacher,) * case.teachers, method, sgd, pipeline.preprocess(views)
  )
  count = jax.ShapeDtypeStruct((), jnp.int32)
  frozen = Frozen(
    teachers=weights,
    constants=own.constants,
    key=jax.eval_shape(lambda: jax.random.key(0)),
    epoch_steps=count,
    phase_steps=count,
  )
  block = Block(sources=SOURCES, index=INDEX, example=INDEX, position=INDEX)
  return parallel.make('jit', devices=1).train(made, False), (first, frozen, block)


def lowered(compiled, arguments) -> str:
  return compiled.trace(*arguments).lower(lowering_platforms=PLATFORMS).as_text()


@pytest.mark.system
@pytest.mark.parametrize('case', CASES, ids=str)
def test_training_step(case):
  text = lowered(*train_step(case, 'float32'))
  assert 'stablehlo.convolution' in text and 'xbf16>' not in text and 'f64>' not in text


@pytest.mark.parametrize('name', ['kd', 'ab', 'rkd'])
def test_training_step_in_bfloat16(name):
  """Every convolution of the networks sees bfloat16 alone (connectors are products, in float32);
  the state stays in float32.
  """
  compiled, arguments = train_step(tiny.Case(name, 'written', 1), 'bfloat16')
  convolutions = [
    line for line in lowered(compiled, arguments).splitlines() if 'stablehlo.convolution' in line
  ]
  assert convolutions and not any('xf32>' in line for line in convolutions)
  after, _ = jax.eval_shape(compiled, *arguments)
  assert {leaf.dtype for leaf in jax.tree.leaves((after.params, after.state))} == {
    np.dtype(np.float32)
  }


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_evaluation_step(dtype):
  student = network('resnet8', dtype)
  compiled = parallel.make('jit', devices=1).evaluate(
    evaluation.evaluation_step(student, pipeline.to_unit), False
  )
  mask = jax.ShapeDtypeStruct((BATCH,), jnp.float32)
  text = lowered(compiled, (models.shapes(student), SOURCES, INDEX, mask))
  assert ('xbf16>' in text) == (dtype == 'bfloat16')


def test_a_kernel_for_another_platform_is_noticed():
  """What a step must not contain: code that exists for CPUs alone."""
  only_here = jax.jit(lambda x: jax.lax.platform_dependent(x, cpu=jnp.sin))
  with pytest.raises(Exception, match='(?i)platform'):
    only_here.trace(jnp.ones(3)).lower(lowering_platforms=PLATFORMS)
