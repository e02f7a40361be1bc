"""Views and order are functions of the key, the step and the position: nothing else enters."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.data import augment, pipeline
from kd_jax.types import ConfigError
from tests import tiny

KEY = jax.random.key(5)
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 6, 6, 3), np.uint8)
POSITION = np.arange(16, dtype=np.int32)


@pytest.fixture(autouse=True, scope='module')
def quick():
  with tiny.quick_compilation():
    yield


def weak_views(*views):
  return pipeline.preprocess({view: pipeline.weak(crop_padding=2, flip=True) for view in views})


class TestPreprocess:
  def test_gives_a_view_a_policy_in_float32_between_0_and_1(self):
    made = pipeline.preprocess(
      {'plain': pipeline.weak(crop_padding=0, flip=False), 'dark': lambda keys, images: images // 2}
    )
    made = made(KEY, IMAGES, POSITION)
    assert list(made) == ['plain', 'dark']
    chex.assert_type(list(made.values()), np.float32)
    np.testing.assert_allclose(made['plain'], IMAGES / 255, rtol=1e-6)
    np.testing.assert_allclose(made['dark'], (IMAGES // 2) / 255, rtol=1e-6)
    assert made['plain'].max() == 1

  def test_draws_depend_on_the_position_alone(self):
    """A batch that is split in two, as over two devices, gives the same images; so does one in
    another order.
    """
    views = jax.jit(weak_views('weak'))
    whole = views(KEY, IMAGES, POSITION)['weak']
    halves = [
      views(KEY, IMAGES[part], POSITION[part])['weak'] for part in (slice(0, 8), slice(8, 16))
    ]
    np.testing.assert_array_equal(whole, np.concatenate(halves))
    order = np.random.default_rng(1).permutation(16)
    np.testing.assert_array_equal(views(KEY, IMAGES[order], POSITION[order])['weak'], whole[order])

  def test_another_position_draws_anew(self):
    views = jax.jit(weak_views('weak'))
    same = np.tile(IMAGES[:1], (16, 1, 1, 1))
    made = np.asarray(views(KEY, same, POSITION)['weak'])
    assert len({image.tobytes() for image in made}) > 8

  def test_views_and_keys_draw_apart(self):
    views = jax.jit(weak_views('one', 'other'))
    made, again = views(KEY, IMAGES, POSITION), views(jax.random.key(6), IMAGES, POSITION)
    assert not np.array_equal(made['one'], made['other'])
    assert not np.array_equal(made['one'], again['one'])

  def test_another_view_changes_none_before_it(self):
    alone, beside = (
      weak_views('one')(KEY, IMAGES, POSITION),
      weak_views('one', 'two')(KEY, IMAGES, POSITION),
    )
    np.testing.assert_array_equal(alone['one'], beside['one'])

  def test_weak_is_a_crop_then_a_flip_of_keys_of_their_own(self):
    image_keys = jax.random.split(KEY, 16)
    crop_keys, flip_keys = jax.vmap(lambda key: jax.random.split(key), out_axes=1)(image_keys)
    expected = augment.random_flip(flip_keys, augment.random_crop(crop_keys, IMAGES, padding=2))
    np.testing.assert_array_equal(
      pipeline.weak(crop_padding=2, flip=True)(image_keys, IMAGES), expected
    )
    np.testing.assert_array_equal(
      pipeline.weak(crop_padding=0, flip=False)(image_keys, IMAGES), IMAGES
    )


class TestPolicy:
  keys = jax.random.split(KEY, 16)

  def test_weak_is_the_runs_crop_and_flip(self):
    made = pipeline.policy('weak', pipeline.Weak(2, True))(self.keys, IMAGES)
    bare = pipeline.policy('weak', pipeline.Weak(0, False))(self.keys, IMAGES)
    assert not np.array_equal(made, IMAGES)
    np.testing.assert_array_equal(bare, IMAGES)
    np.testing.assert_array_equal(
      pipeline.policy('none', pipeline.Weak(2, True))(self.keys, IMAGES), IMAGES
    )

  @pytest.mark.parametrize(
    'text', ['weak+randaugment:2:5', 'autoaugment', 'autoaugment_published', 'none+uda', 'cutout:3']
  )
  def test_every_name_makes_images(self, text):
    made = jax.eval_shape(
      pipeline.policy(text, pipeline.Weak(2, True)), self.keys, jnp.asarray(IMAGES)
    )
    chex.assert_shape(made, IMAGES.shape)
    chex.assert_type(made, np.uint8)

  def test_numbers_reach_the_operation(self):
    made = pipeline.policy('none+cutout:2', pipeline.Weak(0, False))(
      self.keys, np.full_like(IMAGES, 7)
    )
    # a square of 2×2, cut off at the border
    assert set((np.asarray(made) == 0).sum((1, 2, 3)).tolist()) <= {12, 6, 3}

  @pytest.mark.parametrize(
    'text',
    [
      '',
      'week',
      'weak+',
      'randaugment',
      'randaugment:2',
      'randaugment:2:5:1',
      'cutout:x',
      'cutout:-3',
      'weak:2',
      'weak,flip',
      'uda:1',
    ],
  )
  def test_anything_else_is_refused_in_one_line(self, text):
    with pytest.raises(ConfigError, match='in the augmentation') as caught:
      pipeline.policy(text, pipeline.Weak(2, True))
    assert len(str(caught.value).splitlines()) == 1

  @pytest.mark.parametrize('text', ['randaugment:0:5', 'randaugment:2:10', 'cutout:0'])
  def test_numbers_out_of_range(self, text):
    with pytest.raises(ConfigError):
      pipeline.policy(text, pipeline.Weak(2, True))


class TestRunsOwn:
  """What belongs to a run's augmentation beside its crop and flip."""

  keys = jax.random.split(KEY, 16)

  def made(self, *run, text: str = 'weak', images=IMAGES, **more):
    return np.asarray(pipeline.policy(text, pipeline.Weak(*run, **more))(self.keys, images))

  def test_more_comes_after_crop_and_flip_in_every_weak_view(self):
    plain, more = self.made(0, False), self.made(0, False, more='cutout:4')
    assert (more == 0).sum() > (plain == 0).sum()
    np.testing.assert_array_equal(self.made(0, False, text='none', more='cutout:4'), IMAGES)

  def test_a_resized_crop_takes_the_place_of_the_crop(self):
    made = self.made(2, False, more='resized_crop:100')
    assert made.shape == IMAGES.shape
    black = np.zeros_like(IMAGES) + 200  # without padding no pixel gets darker
    assert self.made(2, False, more='resized_crop:50', images=black).min() >= 199
    assert self.made(2, False, images=black).min() == 0

  def test_alternating_flips_are_not_at_random(self):
    np.testing.assert_array_equal(self.made(0, True, alternating=True), IMAGES)
    assert not np.array_equal(self.made(0, True), IMAGES)

  @pytest.mark.parametrize('text', ['weak', 'none', 'cutout:2', 'weak+autoaugment'])
  def test_every_view_has_the_size_that_a_network_sees(self, text):
    assert self.made(0, True, text=text, size=(5, 4)).shape == (16, 5, 4, 3)

  def test_without_a_crop_it_is_the_middle(self):
    made = self.made(0, False, text='none', size=(4, 2))
    np.testing.assert_array_equal(made, IMAGES[:, 1:5, 2:4])

  @pytest.mark.parametrize(
    'more', ['weak', 'cutout', 'resized_crop:0', 'resized_crop:101', 'none+x']
  )
  def test_what_cannot_belong_to_it_is_refused(self, more):
    with pytest.raises(ConfigError, match='augment'):
      pipeline.policy('weak', pipeline.Weak(2, True, more))


class TestTurned:
  number = jnp.arange(400, dtype=jnp.int32)
  images = jnp.broadcast_to(jnp.arange(2, dtype=jnp.uint8)[None, None, :, None], (400, 1, 2, 1))

  def flipped(self, epoch: int):
    made = pipeline.turned(self.images, self.number, jnp.float32(epoch))
    return np.asarray(made[:, 0, 0, 0] == 1)

  def test_each_image_is_mirrored_in_every_second_epoch(self):
    first = self.flipped(1)
    np.testing.assert_array_equal(first, ~self.flipped(2))
    np.testing.assert_array_equal(first, self.flipped(3))

  def test_half_of_them_in_the_first(self):
    assert 0.4 < self.flipped(1).mean() < 0.6


class TestOrder:
  def test_every_image_once_a_pass_in_full_batches(self):
    batch = pipeline.order(KEY, (20,), (5,))
    for number in range(3):
      seen = [batch(number * 4 + slot)[0] for slot in range(4)]
      assert all(b.shape == (5,) and b.dtype == np.int32 for b in seen)
      assert sorted(np.concatenate(seen)) == list(range(20))

  def test_the_few_left_over_are_others_in_each_pass(self):
    batch = pipeline.order(KEY, (22,), (5,))
    left = []
    for number in range(4):
      seen = np.concatenate([batch(number * 4 + slot)[0] for slot in range(4)])
      assert len(set(seen.tolist())) == 20
      left.append(frozenset(range(22)) - set(seen.tolist()))
    assert len(set(left)) > 1

  def test_passes_and_keys_differ(self):
    batch, other = (
      pipeline.order(KEY, (20,), (20,)),
      pipeline.order(jax.random.key(6), (20,), (20,)),
    )
    orders = {tuple(b(step)[0].tolist()) for b in (batch, other) for step in range(3)}
    assert len(orders) == 6 and tuple(range(20)) not in orders

  def test_is_a_function_of_the_step(self):
    """A resumed run asks for a step in the middle, first."""
    straight, resumed = pipeline.order(KEY, (22, 9), (5, 2)), pipeline.order(KEY, (22, 9), (5, 2))
    expected = [straight(step) for step in range(20)]
    for step in (13, 2, 19, 13):
      chex.assert_trees_all_equal(resumed(step), expected[step])

  def test_several_sources_each_with_passes_of_its_own(self):
    batch = pipeline.order(KEY, (12, 7), (4, 3))
    first = [
      np.concatenate([batch(3 * number + slot)[0] for slot in range(3)]) for number in range(2)
    ]
    second = [
      np.concatenate([batch(2 * number + slot)[1] for slot in range(2)]) for number in range(3)
    ]
    assert all(sorted(seen) == list(range(12)) for seen in first)
    assert all(len(set(seen.tolist())) == 6 and seen.max() < 7 for seen in second)
    assert not np.array_equal(*first)

  def test_sources_of_one_size_are_in_orders_of_their_own(self):
    one, other = pipeline.order(KEY, (12, 12), (12, 12))(0)
    assert not np.array_equal(one, other)

  def test_a_source_changes_no_order_of_those_before_it(self):
    np.testing.assert_array_equal(
      pipeline.order(KEY, (12,), (4,))(5)[0], pipeline.order(KEY, (12, 9), (4, 3))(5)[0]
    )


@pytest.mark.parametrize(
  ('examples', 'batch', 'steps'), [(10, 5, 2), (11, 5, 2), (5, 5, 1), (14, 5, 2)]
)
def test_steps_per_epoch(examples, batch, steps):
  assert pipeline.steps_per_epoch(examples, batch) == steps


def test_a_batch_larger_than_the_data_is_refused():
  with pytest.raises(
    ConfigError, match='a batch of 6 needs at least as many images, and there are 5'
  ):
    pipeline.steps_per_epoch(5, 6)


@pytest.mark.parametrize(
  ('shares', 'expected'),
  [((4,), [[0, 1, 2, 3]]), ((2, 3), [[0, 1], [2, 3, 4]]), ((1, 2, 1), [[0], [1, 2], [3]])],
)
def test_positions_number_the_global_batch(shares, expected):
  made = pipeline.positions(shares)
  assert [place.tolist() for place in made] == expected and all(
    place.dtype == np.int32 for place in made
  )
