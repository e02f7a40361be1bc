"""The training step by a network of one dense layer, whose steps a hand can check; real networks in
parallel_test.
"""

from __future__ import annotations

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
from kd_jax.methods.base import cross_entropy
from kd_jax.models.layers import BatchNorm
from kd_jax.train import optim, parallel, state, step
from kd_jax.types import (
  Frozen,
  Method,
  MethodState,
  Network,
  NetworkSpec,
  Optimiser,
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


def setup(
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
  """(compiled step, state, frozen, sources, position, parallel)."""
  sources = sources or (source(40),)
  spread = parallel.make(kind, devices=devices)
  sgd = optim.sgd(spec, optim.learning_rate(spec, 5), method.trains)
  made = step.train_step(
    toy(), (toy(),) * teachers, method, sgd, pipeline.preprocess(policies), axis=spread.axis
  )
  first = spread.place(
    jax.tree.map(np.array, jax.device_get(state.create(weights(), MethodState({}, {}, {}), sgd)))
  )
  frozen = spread.place(
    Frozen(tuple(weights(10 + n) for n in range(teachers)), {}, jax.random.key(3))
  )
  placed = sources if streamed else spread.place(sources)
  return (
    spread.train(made, streamed),
    first,
    frozen,
    placed,
    spread.split(pipeline.positions(shares)),
    spread,
  )


def index(spread, *chosen):
  return spread.split(tuple(np.asarray(c, np.int32) for c in chosen))


FIRST = np.arange(BATCH)


@pytest.fixture(autouse=True)
def quick(float64):
  with tiny.quick_compilation():
    yield


class TestByHand:
  def one_step(self):
    spec = Optimiser(learning_rate=0.5, momentum=0.0, nesterov=False, weight_decay=0.0)
    compiled, first, frozen, sources, position, spread = setup(methods.make('nokd'), spec=spec)
    return compiled(first, frozen, sources, index(spread, FIRST), position)

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
    np.testing.assert_allclose(after.stats['student']['norm']['mean'], expected, rtol=1e-6)

  def test_images_without_a_label_are_neither_right_nor_counted(self):
    stored = source(40)
    label = np.where(np.arange(40) % 4 == 0, -1, stored.label).astype(np.int32)
    compiled, first, frozen, sources, position, spread = setup(
      methods.make('nokd'), sources=(stored._replace(label=label),)
    )
    _, metrics = compiled(first, frozen, sources, index(spread, FIRST), position)
    right, count = metrics['accuracy']
    assert count == 12 and 0 <= right <= 12

  def test_each_step_draws_its_own_augmentation(self):
    flip = {'weak': pipeline.weak(crop_padding=0, flip=True)}
    still = Optimiser(learning_rate=1e-30, weight_decay=0.0)
    compiled, first, frozen, sources, position, spread = setup(
      methods.make('nokd'), policies=flip, spec=still
    )
    losses = []
    current = first
    for _ in range(3):
      current, metrics = compiled(current, frozen, sources, index(spread, FIRST), position)
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
    first = state.create(weights(), MethodState({}, {}, {}), optax.identity())
    position = (np.arange(BATCH, dtype=np.int32),)

    def loss(teacher):
      frozen = Frozen((teacher,), {}, jax.random.key(3))
      return made(first, frozen, (source(40),), (FIRST,), position)[1]['loss'][0]

    gradient = jax.jit(jax.grad(loss))(weights(10))
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient))
    assert abs(float(jax.jit(loss)(weights(10))) - float(jax.jit(loss)(weights(11)))) > 1e-3

  def test_running_or_batch_statistics(self):
    seen = {}

    def peek(name):
      def loss(params, stats, student, teachers, batch, consts, key, *, axis):
        return {'seen': teachers[0]['weak'].logits.sum() + 0 * student['weak'].logits.sum()}, stats

      method = Method(lambda *_: MethodState({}, {}, {}), loss, teacher_statistics=name)
      compiled, first, frozen, sources, position, spread = setup(method, teachers=1)
      return float(
        compiled(first, frozen, sources, index(spread, FIRST), position)[1]['term/seen'][0]
      )

    image = source(40).image[:BATCH] / np.float32(255)
    for name, train in (('running', False), ('batch', True)):
      outputs = toy().module.apply(
        weights(10), image, train=train, mutable=['batch_stats'] if train else False
      )
      seen[name] = float((outputs[0] if train else outputs).logits.sum())
      assert peek(name) == pytest.approx(seen[name], rel=1e-5)
    assert abs(seen['running'] - seen['batch']) > 1e-2

  def test_a_teacher_sees_the_crop_and_flip_that_the_student_sees(self):
    """Two networks of equal weights, on the statistics of the batch: their logits are equal where
    their images are.
    """

    def loss(params, stats, student, teachers, batch, consts, key, *, axis):
      shown = jnp.stack(
        [jnp.abs(student[view].logits - teachers[0][view].logits).max() for view in student]
      )
      return {
        'apart': shown.max(),
        'views_apart': jnp.abs(student['weak'].logits - student['strong'].logits).max(),
      }, stats

    method = Method(
      lambda *_: MethodState({}, {}, {}),
      loss,
      {'weak': 'weak', 'strong': 'weak'},
      False,
      teacher_statistics='batch',
    )
    crop = pipeline.weak(crop_padding=2, flip=True)
    made = step.train_step(
      toy(), (toy(),), method, optax.identity(), pipeline.preprocess({'weak': crop, 'strong': crop})
    )
    first = state.create(weights(), MethodState({}, {}, {}), optax.identity())
    position = (np.arange(BATCH, dtype=np.int32),)
    _, metrics = jax.jit(made)(
      first, Frozen((weights(),), {}, jax.random.key(3)), (source(40),), (FIRST,), position
    )
    # each view is drawn by itself
    assert metrics['term/apart'][0] < 1e-12 and metrics['term/views_apart'][0] > 0.1

  def test_each_teacher_sees_every_view(self):
    def loss(params, stats, student, teachers, batch, consts, key, *, axis):
      assert (
        len(teachers) == 2
        and all(set(t) == {'weak', 'strong'} for t in teachers)
        and set(student) == {'weak', 'strong'}
      )
      return {
        'difference': jnp.abs(teachers[0]['strong'].logits - teachers[1]['strong'].logits).sum()
        + 0 * student['weak'].logits.sum()
      }, stats

    method = Method(lambda *_: MethodState({}, {}, {}), loss, {'weak': 'weak', 'strong': 'strong'})
    policies = {
      'weak': lambda keys, images: images,
      'strong': lambda keys, images: images[:, :, ::-1],
    }
    compiled, first, frozen, sources, position, spread = setup(
      method, teachers=2, policies=policies
    )
    assert compiled(first, frozen, sources, index(spread, FIRST), position)[1]['loss'][0] > 1


class TestViews:
  def statistics(self, joint: bool):
    """The running mean after one step on images and darker ones."""

    def loss(params, stats, student, teachers, batch, consts, key, *, axis):
      return {'cross_entropy': sum(cross_entropy(o, batch, axis) for o in student.values())}, stats

    method = Method(
      lambda *_: MethodState({}, {}, {}), loss, {'weak': 'weak', 'dark': 'dark'}, joint
    )
    policies = {'weak': lambda keys, images: images, 'dark': lambda keys, images: images // 4}
    compiled, first, frozen, sources, position, spread = setup(method, policies=policies)
    return compiled(first, frozen, sources, index(spread, FIRST), position)[0].stats['student'][
      'norm'
    ]['mean']

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
    method = methods.make('nokd')._replace(trains=lambda path: path[:2] != ('student', 'head'))
    compiled, current, frozen, sources, position, spread = setup(
      method, spec=Optimiser(weight_decay=0.1)
    )
    start = jax.device_get(current.params['student'])
    for number in range(3):
      current, _ = compiled(current, frozen, sources, index(spread, FIRST + 4 * number), position)
    after = jax.device_get(current.params['student'])
    chex.assert_trees_all_equal(after['head'], start['head'])
    assert not np.array_equal(after['norm']['scale'], start['norm']['scale'])


class TestDonation:
  def test_weights_that_a_phase_starts_from_survive_it(self):
    """The loop copies before the first step: the teacher of a later phase is still whole."""
    kept = weights()
    copy = jax.tree.map(np.array, kept)
    compiled, current, frozen, sources, position, spread = setup(methods.make('kd'), teachers=1)
    for number in range(3):
      current, _ = compiled(current, frozen, sources, index(spread, FIRST + number), position)
    chex.assert_trees_all_equal(kept, copy)
    chex.assert_trees_all_equal(jax.device_get(frozen.teachers[0]), weights(10))

  def test_a_state_may_not_be_used_twice(self):
    compiled, first, frozen, sources, position, spread = setup(methods.make('nokd'))
    compiled(first, frozen, sources, index(spread, FIRST), position)
    with pytest.raises(Exception, match='(?i)deleted|donated'):
      compiled(first, frozen, sources, index(spread, FIRST), position)


class TestSources:
  """Half of a batch from one source, half from another: as jit on one device, under pmap on eight,
  and streamed.
  """

  PLACES = (np.arange(8) * 3, np.arange(8) * 2 + 1)

  def trained(self, kind, devices, streamed=False):
    sources = (source(40), source(30, seed=1, labelled=False))
    policies = {'weak': pipeline.weak(crop_padding=1, flip=True)}
    compiled, current, frozen, placed, position, spread = setup(
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
      chosen = [p + number for p in self.PLACES]
      if streamed:
        block = tuple(Source(s.image[c], s.label[c]) for s, c in zip(sources, chosen, strict=True))
        current, metrics = compiled(current, frozen, spread.split(block), (None, None), position)
      else:
        current, metrics = compiled(current, frozen, placed, index(spread, *chosen), position)
    return jax.device_get((current.params, current.stats, metrics))

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
    images, labels = step.gather((one, other), (np.array([3, 1]), np.array([5])), (SIDE, SIDE))
    np.testing.assert_array_equal(images, np.concatenate([one.image[[3, 1]], other.image[[5]]]))
    assert labels.tolist() == [*one.label[[3, 1]], -1]

  def test_no_index_takes_a_source_whole(self):
    one, other = source(4), source(3, seed=1)
    images, labels = step.gather((one, other), (None, None), (SIDE, SIDE))
    np.testing.assert_array_equal(images, np.concatenate([one.image, other.image]))
    assert labels.dtype == np.int32 and len(labels) == 7

  def test_images_of_another_size_are_resized(self):
    large = np.repeat(np.repeat(source(2, seed=1).image, 3, 1), 3, 2)  # each pixel three by three
    images, _ = step.gather(
      (source(2), Source(large, np.zeros(2, np.int32))), (None, None), (SIDE, SIDE)
    )
    assert images.shape == (4, SIDE, SIDE, 2) and images.dtype == np.uint8
    flat, _ = step.gather(
      (source(2), Source(np.full((2, 9, 7, 2), 200, np.uint8), np.zeros(2, np.int32))),
      (None, None),
      (SIDE, SIDE),
    )
    assert (flat[2:] == 200).all()

  def test_resized_images_stay_within_what_u8_holds(self):
    sharp = np.zeros((1, 2, 2, 2), np.uint8)
    sharp[:, 0] = 255
    images, _ = step.gather(
      (source(1), Source(sharp, np.zeros(1, np.int32))), (None, None), (SIDE, SIDE)
    )
    made = np.asarray(images)[1].astype(int)
    assert made.min() == 0 and made.max() == 255 and (np.diff(made[:, 0, 0]) <= 0).all()

  def test_a_step_sees_its_only_source_at_the_networks_size(self):
    small = source(40, labelled=False)
    large = Source(np.repeat(np.repeat(small.image, 2, 1), 2, 2), small.label)
    after = []
    for stored in (large, large, small):
      resized = Source(np.asarray(step.gather((stored,), (None,), (SIDE, SIDE))[0]), stored.label)
      given = stored if not after else resized
      compiled, first, frozen, sources, position, spread = setup(
        methods.make('unsupervised'), teachers=1, sources=(given,)
      )
      after.append(
        jax.device_get(compiled(first, frozen, sources, index(spread, FIRST), position)[0].params)
      )
    chex.assert_trees_all_close(after[0], after[1], rtol=1e-6)
    chex.assert_trees_all_equal_shapes(after[0], after[2])


class TestEvaluation:
  def test_the_mask_leaves_padding_out(self):
    evaluate = jax.jit(step.evaluation_step(toy(), pipeline.to_unit))
    stored, mask = source(8), np.array([1, 1, 1, 1, 1, 0, 0, 0], np.float32)
    metrics = evaluate(weights(), (stored,), (None,), mask)
    logits = np.asarray(
      toy().module.apply(weights(), stored.image / np.float32(255), train=False).logits
    )
    assert metrics['accuracy'] == (int((logits.argmax(-1) == stored.label)[:5].sum()), 5)
    probability = np.asarray(jax.nn.softmax(logits))[np.arange(8), stored.label][:5]
    assert metrics['loss'] == (pytest.approx(-np.log(probability).sum(), rel=1e-5), 5)

  def test_changes_no_statistics_and_draws_nothing(self):
    evaluate = jax.jit(step.evaluation_step(toy(), pipeline.to_unit))
    mask = np.ones(8, np.float32)
    one, again = (evaluate(weights(), (source(8),), (None,), mask) for _ in range(2))
    chex.assert_trees_all_equal(one, again)


def test_a_step_is_traced_once():
  method = methods.make('nokd')
  spec = Optimiser()
  sgd = optim.sgd(spec, optim.learning_rate(spec, 5), method.trains)
  made = chex.assert_max_traces(
    step.train_step(toy(), (), method, sgd, pipeline.preprocess(VIEWS)), n=1
  )
  compiled = jax.jit(made)
  current = state.create(weights(), MethodState({}, {}, {}), sgd)
  frozen = Frozen((), {}, jax.random.key(3))
  position = (np.arange(BATCH, dtype=np.int32),)
  for number in range(3):
    current, _ = compiled(current, frozen, (source(40),), (FIRST + number,), position)
  assert int(current.step) == 3
