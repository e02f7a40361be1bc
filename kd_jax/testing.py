"""Checks for the tests of a method of one's own: what training relies on, on networks of a second.

from kd_jax.testing import check_method
from my_methods import match

def test_match():
  check_method(match)
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kd_jax import models
from kd_jax.data import pipeline
from kd_jax.files import packing
from kd_jax.models.resnet import resnet
from kd_jax.train import optim, state, step
from kd_jax.types import (
  Batch,
  Block,
  Frozen,
  InitInputs,
  LossInputs,
  Method,
  MethodVariables,
  Network,
  NetworkSpec,
  OptimiserSpec,
  Outputs,
  PyTree,
  Source,
  TrainState,
)

CLASSES, SIDE, BATCH, STEPS = 5, 8, 8, 4
AXIS = 'devices'


def check_method(make: Callable[..., Method], *, teachers: int = 1, **options: Any) -> None:
  """Check a method on tiny networks in float64.

  - Every option of the factory has a default that JSON can hold.
  - Each term is a scalar, finite, and so is every gradient.
  - A gradient reaches exactly what `trains` names.
  - The order of a batch does not count.
  - On two devices, each with half of the batch, the mean of each term is its value on the whole
    batch, and the new state is the same on both.
  - The new state has the form of the old one; interrupted and resumed, training ends with the same
    bits.
  - `predict`, where there is one, gives [B, K].

  Args:
    make: the factory.
    teachers: how many it is given.
    **options: of the factory.

  Raises:
    AssertionError: one of these does not hold; the message states which, and what to do.
  """
  _check_options(make)
  with jax.enable_x64(True):
    method = make(**options)
    student, teacher = (network(dtype='float64', blocks=blocks) for blocks in ((1, 1), (2, 1)))
    weights = tuple(drawn(models.shapes(teacher), seed=10 + n) for n in range(teachers))
    own = method.init(
      InitInputs(
        key=jax.random.key(7),
        student=models.info(student),
        teachers=tuple(models.info(teacher, variables=each) for each in weights),
        labels=np.arange(4 * BATCH, dtype=np.int32) % CLASSES,
      )
    )
    check = _Losses(method, own, student, teacher, teachers)
    check.terms()
    check.order()
    check.devices()
    check.prediction()
    _check_training(method, own, student, (teacher,) * teachers, weights)


def _check_options(make: Callable[..., Method]) -> None:
  for parameter in inspect.signature(make).parameters.values():
    assert parameter.default is not parameter.empty, (
      f'the option {parameter.name} has no default: give it one'
    )
    try:
      json.dumps(parameter.default)
    except TypeError:
      raise AssertionError(
        f'the default of {parameter.name} is {parameter.default!r}: take a number, a text, a bool '
        'or a tuple of them'
      ) from None


class _Losses:
  """A method's loss on random outputs of networks."""

  def __init__(
    self, method: Method, own: MethodVariables, student: Network, teacher: Network, teachers: int
  ):
    self.method, self.own = method, own
    self.student = {v: _outputs(student, n) for n, v in enumerate(method.views)}
    self.teachers = tuple(
      {v: _outputs(teacher, 50 + 10 * place + n) for n, v in enumerate(method.views)}
      for place in range(teachers)
    )
    draw = np.random.default_rng(3)
    image = draw.uniform(size=(BATCH, *student.spec.image_shape))
    label = np.array([0, 1, 2, 3, 4, 0, -1, -1], np.int32)
    example = draw.permutation(4 * BATCH)[:BATCH].astype(np.int32)
    self.batch = Batch(image, label, example)

  def value(self, given: PyTree, axis: str | None) -> tuple[dict[str, jax.Array], PyTree]:
    student, taught, batch = given
    inputs = LossInputs(
      student=student,
      teachers=taught,
      batch=batch,
      step=jnp.int32(1),
      epoch=jnp.float32(1),
      progress=jnp.float32(0.5),
      key=jax.random.key(0),
      axis=axis,
    )
    return self.method.loss(self.own, inputs)

  def given(self, rows: np.ndarray) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[rows], (self.student, self.teachers, self.batch))

  def terms(self) -> None:
    terms, changed = self.value(self.given(np.arange(BATCH)), None)
    assert terms, 'loss returns no term: return {"name": scalar}, the new state'
    for name, term in terms.items():
      assert jnp.shape(term) == (), (
        f'the term {name} has the shape {jnp.shape(term)}: end in kd_jax.losses.reduce.mean'
      )
      assert jnp.isfinite(term), f'the term {name} is {term} on random outputs'
    before, after = (jax.eval_shape(lambda t=tree: t) for tree in (self.own.state, changed))
    assert jax.tree.structure(before) == jax.tree.structure(after) and all(
      (old.shape, old.dtype) == (new.shape, new.dtype)
      for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    ), f'the new state is {after} and the old one {before}: keep its form and its types'

  def order(self) -> None:
    rows = np.random.default_rng(0).permutation(BATCH)
    one, other = (self.value(self.given(r), None)[0] for r in (np.arange(BATCH), rows))
    for name in one:
      assert np.allclose(one[name], other[name], rtol=1e-9, atol=1e-9), (
        f'the term {name} is {one[name]} and {other[name]} on the same batch in another order'
      )

  def devices(self) -> None:
    halves = self.given(np.arange(BATCH).reshape(2, BATCH // 2))
    spread, states = jax.vmap(lambda given: self.value(given, AXIS), axis_name=AXIS)(halves)
    whole, state = self.value(self.given(np.arange(BATCH)), None)
    for name in whole:
      assert np.allclose(spread[name].mean(), whole[name], rtol=1e-8, atol=1e-9), (
        f'the term {name} is {whole[name]}, and on two devices {spread[name].mean()}: end in '
        'reduce.mean(…, axis=inputs.axis), and gather what is compared with '
        'kd_jax.methods.base.whole'
      )
    for one, both in zip(jax.tree.leaves(state), jax.tree.leaves(states), strict=True):
      assert np.allclose(both, np.stack([one, one]), rtol=1e-8, atol=1e-9), (
        'the new state is another on two devices: gather with kd_jax.methods.base.whole before it '
        'is changed'
      )

  def prediction(self) -> None:
    if self.method.predict:
      view = next(iter(self.method.views))
      shape = jnp.shape(self.method.predict(self.own, self.student[view]))
      assert shape == (BATCH, CLASSES), f'predict returns {shape}, and [B, K] is {BATCH, CLASSES}'


def _check_training(
  method: Method,
  own: MethodVariables,
  student: Network,
  teachers: tuple[Network, ...],
  weights: tuple[PyTree, ...],
) -> None:
  spec = OptimiserSpec(schedule='constant', options={'weight_decay': 0.0, 'momentum': 0.5})
  rule = recording(optim.optimiser(spec, optim.schedule(spec, STEPS, epochs=1), method.trains))
  views = pipeline.preprocess(
    {v: lambda keys, images, by=n: jnp.roll(images, by, 2) for n, v in enumerate(method.views)}
  )
  with jax.numpy_dtype_promotion('standard'):
    taken = jax.jit(step.train_step(student, teachers, method, rule, views))
  first = state.create(drawn(models.shapes(student), seed=1), own, rule)
  frozen = Frozen(
    teachers=weights,
    constants=own.constants,
    key=jax.random.key(3),
    epoch_steps=np.int32(2),
    phase_steps=np.int32(STEPS),
  )
  draw = np.random.default_rng(4)
  images = draw.integers(0, 256, (4 * BATCH, SIDE, SIDE, 3), np.uint8)
  source = Source(images, (np.arange(4 * BATCH) % CLASSES).astype(np.int32))

  def trained(now: TrainState, steps: range) -> TrainState:
    for number in steps:
      index = np.arange(number * BATCH, (number + 1) * BATCH, dtype=np.int32)
      place = np.arange(BATCH, dtype=np.int32)
      block = Block(sources=(source,), index=(index,), example=(index,), position=(place,))
      now, measured = taken(now, frozen, block)
      assert math.isfinite(measured['loss'][0]), (
        f'the loss is {measured["loss"][0]} in step {number}'
      )
    return now

  moved = trained(first, range(1))
  last = trained(moved, range(1, STEPS))
  # A bank that begins with zeros teaches nothing in the first step.
  gradients = jax.tree.map(
    lambda *each: any(np.asarray(g).any() for g in each), moved.opt_state[0], last.opt_state[0]
  )
  for path, reached in jax.tree_util.tree_leaves_with_path(gradients):
    name = tuple(part.key for part in path)
    named = method.trains(name)
    assert reached == named, (
      f'the loss {"reaches" if reached else "does not reach"} {"/".join(name)}, and trains returns '
      f'{named} for it: let trains name what the loss reaches'
    )
  kept = {name: jax.tree.map(np.asarray, tree) for name, tree in state.stored(moved).items()}
  packed, described, keys = packing.pack(kept)
  held = packing.unpack(packed, described, keys)
  again = trained(state.restored(packing.as_in(kept, held, 'the state')), range(1, STEPS))
  assert all(
    np.array_equal(one, other, equal_nan=True)
    for one, other in zip(jax.tree.leaves(last), jax.tree.leaves(again), strict=True)
  ), 'a resumed run ends with other bits: keep all that changes in MethodVariables.state'


def recording(inner: optax.GradientTransformation) -> optax.GradientTransformation:
  """Return the same optimiser, whose state begins with the last gradients: `opt_state[0]`."""

  def init(params):
    return jax.tree.map(jnp.zeros_like, params), inner.init(params)

  def update(gradients, opt_state, params=None):
    updates, following = inner.update(gradients, opt_state[1], params)
    return updates, (gradients, following)

  return optax.GradientTransformation(init, update)


def network(
  *,
  dtype: str = 'float32',
  blocks: tuple[int, ...] = (1, 1),
  widths: tuple[int, ...] = (4, 8),
  placement: str = 'block',
) -> Network:
  """Return a residual network of images of 8×8 pixels and 5 classes that compiles in a second."""
  spec = NetworkSpec(
    'tiny', CLASSES, (SIDE, SIDE, 3), placement, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), dtype
  )
  return Network(spec, *resnet(spec, blocks=blocks, widths=widths, stem_width=4))


def drawn(shapes: PyTree, *, seed: int = 0) -> PyTree:
  """Return weights drawn by numpy: nothing is compiled.

  BatchNorm's are away from 0 and 1, so that they count.
  """
  draw = np.random.default_rng(seed)

  def leaf(path, shape):
    name = path[-1].key
    if name == 'kernel':
      value = draw.uniform(-1, 1, shape.shape) / math.sqrt(math.prod(shape.shape[:-1]))
    elif name in ('scale', 'var'):
      value = draw.uniform(0.5, 1.5, shape.shape)
    else:
      value = draw.uniform(-0.5, 0.5, shape.shape)
    return value.astype(np.float32).astype(shape.dtype)  # the same in float32 and float64

  return jax.tree_util.tree_map_with_path(leaf, shapes)


def _outputs(network: Network, seed: int) -> Outputs:
  draw = np.random.default_rng(seed)
  shapes = models.output_shapes(network, batch=BATCH)
  return jax.tree.map(lambda leaf: draw.normal(size=leaf.shape), shapes)
