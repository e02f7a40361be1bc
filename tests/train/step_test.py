"""The training step by a network of one dense layer, whose steps a hand can check; real networks in
parallel_test.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd_jax import methods
from kd_jax.data import pipeline
from kd_jax.methods.base import cross_entropy, no_modules
from kd_jax.models.layers import BatchNorm
from kd_jax.train import evaluation, parallel, state, step
from kd_jax.types import (
  Block,
  LogitsOnly,
  Method,
  MethodVariables,
  Network,
  NetworkSpec,
  Outputs,
  Source,
)
from tests import tiny

CLASSES, SIDE, BATCH = 3, 4, 16


class Toy(nn.Module):
  """BatchNorm of the pixels, then a dense layer."""

  dtype: str = 'float64'
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image, *, train: bool):
    x = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name='norm')(
      image.astype(self.dtype), train=train
    )
    flat = x.reshape(x.shape[0], -1)
    logits = nn.Dense(CLASSES, dtype=self.dtype, param_dtype=self.dtype, name='head')(flat)
    return Outputs(logits, (x,), {'norm': x}, flat)


def toy() -> Network:
  return Network(
    NetworkSpec('toy', CLASSES, (SIDE, SIDE, 2), compute_dtype='float64'), Toy(), (('norm',),)
  )


def weights(seed: int = 0) -> Any:
  draw = np.random.default_rng(seed)
  size = SIDE * SIDE * 2
  return {
    'params': {
      'norm': {'scale': draw.uniform(0.5, 1.5, 2), 'bias': draw.normal(size=2)},
      'head': {'kernel': draw.normal(size=(size, CLASSES)) / 4, 'bias': draw.normal(size=CLASSES)},
    },
    'batch_stats': {'norm': {'mean': draw.normal(size=2), 'var': draw.uniform(0.5, 1.5, 2)}},
  }


def source(count: int, side: int = SIDE, seed: int = 0, labelled: bool = True) -> Source:
  draw = np.random.default_rng(seed)
  label = (
    draw.integers(0, CLASSES, count).astype(np.int32) if labelled else np.full(count, -1, np.int32)
  )
  return Source(draw.integers(0, 256, (count, side, side, 2), np.uint8), label)


VIEWS = {'weak': lambda keys, images: images}


def begun(
  method: Method,
  *,
  teachers: int = 0,
  kind='jit',
  devices=1,
  sources=None,
  shares=(BATCH,),
  spec=tiny.PAPER,
  policies=VIEWS,
  streamed=False,
):
  """(compiled step, state, frozen, a function of the images chosen that gives their block)."""
  sources = sources or (source(40),)
  spread = parallel.make(kind, devices=devices)
  sgd = tiny.rule(spec, method)
  made = step.train_step(
    toy(), (toy(),) * teachers, method, sgd, pipeline.preprocess(policies), axis=spread.axis
  )
  first = spread.place(
    jax.tree.map(np.array, jax.device_get(state.create(weights(), MethodVariables(), sgd)))
  )
  frozen = spread.place(tiny.frozen(tuple(weights(10 + n) for n in range(teachers))))
  placed, position = spread.place(sources), spread.split(pipeline.positions(shares))

  def block(*chosen) -> Block:
    chosen = tuple(np.asarray(c, np.int32) for c in chosen)
    example = spread.split(chosen)
    if not streamed:
      return Block(sources=placed, index=example, example=example, position=position)
    taken = tuple(Source(s.image[c], s.label[c]) for s, c in zip(sources, chosen, strict=True))
    none = (None,) * len(chosen)
    return Block(sources=spread.split(taken), index=none, example=example, position=position)

  return spread.train(made, streamed), first, frozen, block


def chosen_block(stored: Source, chosen) -> Block:
  """The block of these images of a source, on one device."""
  index, position = (np.asarray(chosen, np.int32),), (np.arange(len(chosen), dtype=np.int32),)
  return Block(sources=(stored,), index=index, example=index, position=position)


FIRST = np.arange(BATCH)


@pytest.fixture(autouse=True)
def quick(float64):
  with tiny.quick_compilation():
    yield


class TestByHand:
  def one_step(self):
    spec = tiny.sgd(learning_rate=0.5, momentum=0.0, nesterov=False, weight_decay=0.0)
    compiled, first, frozen, block = begun(methods.make('nokd'), spec=spec)
    return compiled(first, frozen, block(FIRST))

  def test_the_gradient_of_the_classifier(self):
    """∂CE/∂b = mean(softmax(z) − onehot); ∂CE/∂W = xᵀ of that."""
    after, metrics = self.one_step()
    start, stored = weights(), source(40)
    x = stored.image[:BATCH] / np.float32(255)
    x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5) * start['params']['norm'][
      'scale'
    ] + start['params']['norm']['bias']
    flat = x.reshape(BATCH, -1)
    logits = flat @ start['params']['head']['kernel'] + start['params']['head']['bias']
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    error = (probability - np.eye(CLASSES)[stored.label[:BATCH]]) / BATCH
    head = after.params['student']['head']
    np.testing.assert_allclose(
      head['bias'], start['params']['head']['bias'] - 0.5 * error.sum(0), rtol=1e-5
    )
    np.testing.assert_allclose(
      head['kernel'], start['params']['head']['kernel'] - 0.5 * flat.T @ error, rtol=1e-4, atol=1e-6
    )
    loss = -np.log(probability[np.arange(BATCH), stored.label[:BATCH]]).mean()
    assert metrics['loss'] == (pytest.approx(loss, rel=1e-5), 1) == metrics['term/cross_entropy']
    assert metrics['accuracy'] == (int((logits.argmax(-1) == stored.label[:BATCH]).sum()), BATCH)

  def test_counts_its_steps_and_moves_the_statistics(self):
    after, _ = self.one_step()
    assert after.step == 1
    x = source(40).image[:BATCH] / 255
    expected = 0.9 * weights()['batch_stats']['norm']['mean'] + 0.1 * x.mean((0, 1, 2))
    np.testing.assert_allclose(after.state['student']['norm']['mean'], expected, rtol=1e-6)

  def test_images_without_a_label_are_neither_right_nor_counted(self):
    stored = source(40)
    label = np.where(np.arange(40) % 4 == 0, -1, stored.label).astype(np.int32)
    compiled, first, frozen, block = begun(
      methods.make('nokd'), sources=(stored._replace(label=label),)
    )
    _, metrics = compiled(first, frozen, block(FIRST))
    right, count = metrics['accuracy']
    assert count == 12 and 0 <= right <= 12

  def test_each_step_draws_its_own_augmentation(self):
    flip = {'weak': pipeline.weak(crop_padding=0, flip=True)}
    still = tiny.sgd(learning_rate=1e-30, weight_decay=0.0)
    compiled, first, frozen, block = begun(methods.make('nokd'), policies=flip, spec=still)
    losses = []
    current = first
    for _ in range(3):
      current, metrics = compiled(current, frozen, block(FIRST))
      losses.append(float(metrics['loss'][0]))
    assert len(set(losses)) == 3


class TestTeachers:
  def test_a_teacher_gets_no_gradient_and_still_counts(self):
    """The loss depends on the teacher's weights, its derivative with respect to them is 0 all the
    same.
    """
    made = step.train_step(
      toy(), (toy(),), methods.make('kd'), optax.identity(), pipeline.preprocess(VIEWS)
    )
    first = state.create(weights(), MethodVariables(), optax.identity())

    def loss(teacher):
      frozen = tiny.frozen((teacher,))
      return made(first, frozen, chosen_block(source(40), FIRST))[1]['loss'][0]

    gradient = jax.jit(jax.grad(loss))(weights(10))
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient))
    assert abs(float(jax.jit(loss)(weights(10))) - float(jax.jit(loss)(weights(11)))) > 1e-3

  def test_running_or_batch_statistics(self):
    expected = {}

    def peek(name):
      def loss(variables, inputs):
        teacher, student = inputs.teachers[0]['weak'], inputs.student['weak']
        return {'sum': teacher.logits.sum() + 0 * student.logits.sum()}, variables.state

      method = Method(init=no_modules, loss=loss, teacher_statistics=name)
      compiled, first, frozen, block = begun(method, teachers=1)
      return float(compiled(first, frozen, block(FIRST))[1]['term/sum'][0])

    image = source(40).image[:BATCH] / np.float32(255)
    for name, train in (('running', False), ('batch', True)):
      outputs = toy().module.apply(
        weights(10), image, train=train, mutable=['batch_stats'] if train else False
      )
      expected[name] = float((outputs[0] if train else outputs).logits.sum())
      assert peek(name) == pytest.approx(expected[name], rel=1e-5)
    assert abs(expected['running'] - expected['batch']) > 1e-2

  def test_a_teacher_sees_the_crop_and_flip_that_the_student_sees(self):
    """Two networks of equal weights, on the statistics of the batch: their logits are equal where
    their images are.
    """

    def loss(variables, inputs):
      student, (teacher,) = inputs.student, inputs.teachers
      shown = jnp.stack(
        [jnp.abs(student[view].logits - teacher[view].logits).max() for view in student]
      )
      return {
        'apart': shown.max(),
        'views_apart': jnp.abs(student['weak'].logits - student['strong'].logits).max(),
      }, variables.state

    method = Method(
      init=no_modules,
      loss=loss,
      views={'weak': 'weak', 'strong': 'weak'},
      joint=False,
      teacher_statistics='batch',
    )
    crop = pipeline.weak(crop_padding=2, flip=True)
    made = step.train_step(
      toy(), (toy(),), method, optax.identity(), pipeline.preprocess({'weak': crop, 'strong': crop})
    )
    first = state.create(weights(), MethodVariables(), optax.identity())
    _, metrics = jax.jit(made)(first, tiny.frozen((weights(),)), chosen_block(source(40), FIRST))
    # each view is drawn by itself
    assert metrics['term/apart'][0] < 1e-12 and metrics['term/views_apart'][0] > 0.1

  def test_each_teacher_sees_every_view(self):
    def loss(variables, inputs):
      one, other = inputs.teachers
      assert all(set(outputs) == {'weak', 'strong'} for outputs in (one, other, inputs.student))
      return {
        'difference': jnp.abs(one['strong'].logits - other['strong'].logits).sum()
        + 0 * inputs.student['weak'].logits.sum()
      }, variables.state

    method = Method(init=no_modules, loss=loss, views={'weak': 'weak', 'strong': 'strong'})
    policies = {
      'weak': lambda keys, images: images,
      'strong': lambda keys, images: images[:, :, ::-1],
    }
    compiled, first, frozen, block = begun(method, teachers=2, policies=policies)
    assert compiled(first, frozen, block(FIRST))[1]['loss'][0] > 1


class TestViews:
  def statistics(self, joint: bool):
    """The running mean after one step on images and darker ones."""

    def loss(variables, inputs):
      hard = sum(cross_entropy(outputs, inputs) for outputs in inputs.student.values())
      return {'cross_entropy': hard}, variables.state

    method = Method(init=no_modules, loss=loss, views={'weak': 'weak', 'dark': 'dark'}, joint=joint)
    policies = {'weak': lambda keys, images: images, 'dark': lambda keys, images: images // 4}
    compiled, first, frozen, block = begun(method, policies=policies)
    return compiled(first, frozen, block(FIRST))[0].state['student']['norm']['mean']

  def test_batch_norm_sees_the_views_together_or_one_after_the_other(self):
    start = weights()['batch_stats']['norm']['mean']
    images = source(40).image[:BATCH]
    clean, dark = (x.mean((0, 1, 2)) / 255 for x in (images, images // 4))
    np.testing.assert_allclose(
      self.statistics(True), 0.9 * start + 0.1 * (clean + dark) / 2, rtol=1e-6
    )
    np.testing.assert_allclose(
      self.statistics(False), 0.9 * (0.9 * start + 0.1 * clean) + 0.1 * dark, rtol=1e-6
    )


class TestUntrained:
  def test_an_excluded_leaf_stays_bit_for_bit_under_decay_and_momentum(self):
    method = replace(methods.make('nokd'), trains=lambda path: path[:2] != ('student', 'head'))
    compiled, current, frozen, block = begun(method, spec=tiny.sgd(weight_decay=0.1))
    start = jax.device_get(current.params['student'])
    for number in range(3):
      current, _ = compiled(current, frozen, block(FIRST + 4 * number))
    after = jax.device_get(current.params['student'])
    chex.assert_trees_all_equal(after['head'], start['head'])
    assert not np.array_equal(after['norm']['scale'], start['norm']['scale'])


class TestDonation:
  def test_weights_that_a_phase_starts_from_survive_it(self):
    """The loop copies before the first step: the teacher of a later phase is still whole."""
    kept = weights()
    copy = jax.tree.map(np.array, kept)
    compiled, current, frozen, block = begun(methods.make('kd'), teachers=1)
    for number in range(3):
      current, _ = compiled(current, frozen, block(FIRST + number))
    chex.assert_trees_all_equal(kept, copy)
    chex.assert_trees_all_equal(jax.device_get(frozen.teachers[0]), weights(10))

  def test_a_state_may_not_be_used_twice(self):
    compiled, first, frozen, block = begun(methods.make('nokd'))
    compiled(first, frozen, block(FIRST))
    with pytest.raises(Exception, match='(?i)deleted|donated'):
      compiled(first, frozen, block(FIRST))


class TestSources:
  """Half of a batch from one source, half from another: as jit on one device, under pmap on eight,
  and streamed.
  """

  PLACES = (np.arange(8) * 3, np.arange(8) * 2 + 1)

  def trained(self, kind, devices, streamed=False):
    sources = (source(40), source(30, seed=1, labelled=False))
    policies = {'weak': pipeline.weak(crop_padding=1, flip=True)}
    compiled, current, frozen, block = begun(
      methods.make('kd'),
      teachers=1,
      kind=kind,
      devices=devices,
      sources=sources,
      shares=(8, 8),
      policies=policies,
      streamed=streamed,
    )
    for number in range(3):
      current, metrics = compiled(current, frozen, block(*(p + number for p in self.PLACES)))
    return jax.device_get((current.params, current.state, metrics))

  @pytest.mark.parametrize(
    ('kind', 'devices', 'streamed'), [('pmap', 8, False), ('jit', 8, True), ('pmap', 8, True)]
  )
  def test_agree(self, kind, devices, streamed):
    one, other = self.trained('jit', 1), self.trained(kind, devices, streamed)
    chex.assert_trees_all_close(other, one, rtol=1e-8, atol=1e-10)
    assert one[2]['accuracy'][1] == 8


class TestGather:
  def test_takes_the_chosen_images_of_all_sources_in_order(self):
    one, other = source(10), source(7, seed=1, labelled=False)
    images, labels = evaluation.gather(
      (one, other), (np.array([3, 1]), np.array([5])), (SIDE, SIDE)
    )
    np.testing.assert_array_equal(images, np.concatenate([one.image[[3, 1]], other.image[[5]]]))
    assert labels.tolist() == [*one.label[[3, 1]], -1]

  def test_no_index_takes_a_source_whole(self):
    one, other = source(4), source(3, seed=1)
    images, labels = evaluation.gather((one, other), (None, None), (SIDE, SIDE))
    np.testing.assert_array_equal(images, np.concatenate([one.image, other.image]))
    assert labels.dtype == np.int32 and len(labels) == 7

  def test_images_of_another_size_are_resized(self):
    large = np.repeat(np.repeat(source(2, seed=1).image, 3, 1), 3, 2)  # each pixel three by three
    images, _ = evaluation.gather(
      (source(2), Source(large, np.zeros(2, np.int32))), (None, None), (SIDE, SIDE)
    )
    assert images.shape == (4, SIDE, SIDE, 2) and images.dtype == np.uint8
    flat, _ = evaluation.gather(
      (source(2), Source(np.full((2, 9, 7, 2), 200, np.uint8), np.zeros(2, np.int32))),
      (None, None),
      (SIDE, SIDE),
    )
    assert (flat[2:] == 200).all()

  def test_resized_images_stay_within_what_u8_holds(self):
    sharp = np.zeros((1, 2, 2, 2), np.uint8)
    sharp[:, 0] = 255
    images, _ = evaluation.gather(
      (source(1), Source(sharp, np.zeros(1, np.int32))), (None, None), (SIDE, SIDE)
    )
    made = np.asarray(images)[1].astype(int)
    assert made.min() == 0 and made.max() == 255 and (np.diff(made[:, 0, 0]) <= 0).all()

  def test_a_step_sees_its_only_source_at_the_networks_size(self):
    small = source(40, labelled=False)
    large = Source(np.repeat(np.repeat(small.image, 2, 1), 2, 2), small.label)
    after = []
    for stored in (large, large, small):
      resized = Source(
        np.asarray(evaluation.gather((stored,), (None,), (SIDE, SIDE))[0]), stored.label
      )
      given = stored if not after else resized
      compiled, first, frozen, block = begun(
        methods.make('unsupervised'), teachers=1, sources=(given,)
      )
      after.append(jax.device_get(compiled(first, frozen, block(FIRST))[0].params))
    chex.assert_trees_all_close(after[0], after[1], rtol=1e-6)
    chex.assert_trees_all_equal_shapes(after[0], after[2])


class TestEvaluation:
  def test_the_mask_leaves_padding_out(self):
    evaluate = jax.jit(evaluation.evaluation_step(toy(), pipeline.to_unit))
    stored, mask = source(8), np.array([1, 1, 1, 1, 1, 0, 0, 0], np.float32)
    metrics = evaluate(weights(), (stored,), (None,), mask)
    logits = np.asarray(
      toy().module.apply(weights(), stored.image / np.float32(255), train=False).logits
    )
    assert metrics['accuracy'] == (int((logits.argmax(-1) == stored.label)[:5].sum()), 5)
    probability = np.asarray(jax.nn.softmax(logits))[np.arange(8), stored.label][:5]
    assert metrics['loss'] == (pytest.approx(-np.log(probability).sum(), rel=1e-5), 5)

  def test_changes_no_statistics_and_draws_nothing(self):
    evaluate = jax.jit(evaluation.evaluation_step(toy(), pipeline.to_unit))
    mask = np.ones(8, np.float32)
    one, again = (evaluate(weights(), (source(8),), (None,), mask) for _ in range(2))
    chex.assert_trees_all_equal(one, again)


def test_a_step_is_traced_once():
  method = methods.make('nokd')
  sgd = tiny.rule(tiny.PAPER, method)
  made = chex.assert_max_traces(
    step.train_step(toy(), (), method, sgd, pipeline.preprocess(VIEWS)), n=1
  )
  compiled = jax.jit(made)
  current = state.create(weights(), MethodVariables(), sgd)
  for number in range(3):
    current, _ = compiled(current, tiny.frozen(), chosen_block(source(40), FIRST + number))
  assert int(current.step) == 3


class Dropping(nn.Module):
  """A dense layer after dropout."""

  axis_name: str | None = None

  @nn.compact
  def __call__(self, image, *, train: bool):
    flat = image.reshape(image.shape[0], -1)
    kept = nn.Dropout(0.5, deterministic=not train)(flat)
    return LogitsOnly(nn.Dense(CLASSES, name='head')(kept))


def dropped() -> Any:
  return jax.tree.map(np.float32, weights()['params']['head'])


class TestStreams:
  """What a network draws while it trains."""

  NETWORK = Network(NetworkSpec('dropping', CLASSES, (SIDE, SIDE, 2)), Dropping(), (), ('dropout',))

  def outputs(
    self,
    *,
    at: int = 0,
    kind: str = 'jit',
    devices: int = 1,
    joint: bool = True,
    equal: bool = False,
  ):
    """The student's logits on both views in a step, of one image alone where `equal`."""

    def loss(variables, inputs):
      sums = {view: outputs.logits.sum() for view, outputs in inputs.student.items()}
      if inputs.axis is not None:
        of_devices = jax.lax.all_gather(sums['weak'], inputs.axis)
        sums['apart'] = of_devices.max() - of_devices.min()
      return sums, variables.state

    method = Method(
      init=no_modules, loss=loss, views={'weak': 'weak', 'again': 'weak'}, joint=joint
    )
    spread = parallel.make(kind, devices=devices)
    made = step.train_step(
      self.NETWORK,
      (),
      method,
      optax.identity(),
      pipeline.preprocess(dict.fromkeys(method.views, VIEWS['weak'])),
      axis=spread.axis,
    )
    head = {'params': {'head': dropped()}, 'batch_stats': {}}
    first = state.create(head, MethodVariables(), optax.identity())
    first = first._replace(step=jnp.int32(at))
    chosen = np.zeros(BATCH, np.int32) if equal else np.arange(BATCH, dtype=np.int32)
    index = spread.split((chosen,))
    block = Block(sources=spread.place((source(40),)), index=index, example=index, position=index)
    first = spread.place(jax.tree.map(np.array, jax.device_get(first)))
    return jax.device_get(spread.train(made, False)(first, spread.place(tiny.frozen()), block)[1])

  def test_each_step_and_each_view_draws_anew_and_a_step_repeats_itself(self):
    chex.assert_trees_all_equal(self.outputs(), self.outputs())
    drawn = [self.outputs(joint=False), self.outputs(joint=False, at=1)]
    values = [float(m[f'term/{view}'][0]) for m in drawn for view in ('weak', 'again')]
    assert len(set(values)) == 4

  def test_each_device_draws_for_itself(self):
    """Equal images on all of them: the same masks would give every device the same loss."""
    assert self.outputs(kind='pmap', devices=2, equal=True)['term/apart'][0] > 0.1

  def test_evaluation_draws_nothing(self):
    head = {'params': {'head': dropped()}, 'batch_stats': {}}
    evaluate = jax.jit(evaluation.evaluation_step(self.NETWORK, pipeline.to_unit))
    mask = np.ones(8, np.float32)
    one, again = (evaluate(head, (source(8),), (None,), mask) for _ in range(2))
    chex.assert_trees_all_equal(one, again)
