from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from benchmarks import pillow_peer
from kd_jax.data import policies, sources
from kd_jax.data.levels import LINEAR, OPS, UDA
from kd_jax.data.policies import Steps
from kd_jax.types import ConfigError

# From the paper, and 'Invert0,3' is its Invert with probability 0: op, probability, level.
SUB_POLICIES = """
Invert.1,7/Contrast.2,6 Rotate.7,2/TranslateX.3,9 Sharpness.8,1/Sharpness.9,3 ShearY.5,8/TranslateY.7,9
AutoContrast.5,8/Equalize.9,2 ShearY.2,7/Posterize.3,7 Color.4,3/Brightness.6,7 Sharpness.3,9/Brightness.7,9
Equalize.6,5/Equalize.5,1 Contrast.6,7/Sharpness.6,5 Color.7,7/TranslateX.5,8 Equalize.3,7/AutoContrast.4,8
TranslateY.4,3/Sharpness.2,6 Brightness.9,6/Color.2,8 Solarize.5,2/Invert0,3 Equalize.2,0/AutoContrast.6,0
Equalize.2,8/Equalize.6,4 Color.9,9/Equalize.6,6 AutoContrast.8,4/Solarize.2,8 Brightness.1,3/Color.7,0
Solarize.4,5/AutoContrast.9,3 TranslateY.9,9/TranslateY.7,9 AutoContrast.9,2/Solarize.8,3 Equalize.8,8/Invert.1,3
TranslateY.7,9/AutoContrast.9,1
"""
NAMES = {
  'Color': 'colour',
  'Equalize': 'equalise',
  'Posterize': 'posterise',
  'Solarize': 'solarise',
  'ShearY': 'shear_y',
  'TranslateX': 'translate_x',
  'TranslateY': 'translate_y',
}
DRAWS = 30_000  # keys whose draws are counted
UNLIKELY = 1e-3  # counts that chance alone makes so seldom are refused; the keys are fixed
SCALES = {'linear': LINEAR, 'uda': UDA}
APPLY = {
  name: jax.jit(functools.partial(policies.apply, scale=scale)) for name, scale in SCALES.items()
}
POLICIES = {
  'randaugment': policies.randaugment(),
  'autoaugment': policies.autoaugment(),
  'uda': policies.uda(),
  'autoaugment published': policies.autoaugment(published=True),
  'cutout': policies.cutout(5),
  'randaugment of three': policies.randaugment(number=3, level=9),
}
COMPILED = {name: jax.jit(policy) for name, policy in POLICIES.items()}
randaugment_steps = jax.jit(functools.partial(policies.randaugment_steps, number=2, level=5))
autoaugment_steps = jax.jit(policies.autoaugment_steps, static_argnames='published')
uda_steps = jax.jit(policies.uda_steps, static_argnames=('height', 'width'))
SHAPE = (100, 24, 28, 3)  # the same everywhere, so that a policy is compiled once


def keys(count=DRAWS, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def scenes(count, height, width, channels):
  """Pictures smooth with edges and a little noise, as photographs are: u8[count, H, W, C]."""
  random = np.random.default_rng(count + height + channels)
  y, x, channel = np.meshgrid(
    np.arange(height), np.arange(width), np.arange(channels), indexing='ij'
  )
  phase = random.uniform(0, 6, (count, 1, 1, 1))
  waves = (
    128
    + 60 * np.sin(x / 5 + phase + channel)
    + 40 * np.sin(y / 4 - phase)
    + 30 * ((x + y) % 16 > 8)
  )
  return (waves + random.normal(0, 5, waves.shape)).clip(0, 255).astype(np.uint8)


def by_pillow(image, steps, scale, fill=0):
  """What Pillow makes of an image, u8[H, W, C], by steps (op, level, sign, centre)."""
  for op, level, sign, centre in zip(*steps, strict=True):
    amount = scale[OPS[op]](int(level), int(sign), *image.shape[:2])
    if OPS[op] == 'cutout':
      image = by_hand_cut(image, centre, amount, fill)
    else:
      image = pillow_peer.perform(OPS[op], amount, image, fill=fill)
  return image


def by_hand_cut(image, centre, size, fill):
  image, (top, left) = image.copy(), np.maximum(centre - size // 2, 0)
  image[top : max(centre[0] + size // 2, 0), left : max(centre[1] + size // 2, 0)] = fill
  return image


def check_every_op(images, name):
  ops = [OPS.index(op) for op in SCALES[name] if op != 'cutout']
  fields = np.meshgrid(np.int32(ops), np.int32(range(10)), np.int32([-1, 1]), indexing='ij')
  op, level, sign = (field.reshape(-1, 1) for field in fields)
  steps = Steps(op, level, sign, np.zeros((len(op), 1, 2), np.int32))
  images = np.resize(images, (len(op), *images.shape[1:]))
  done = np.asarray(APPLY[name](images, steps))
  assert done.dtype == np.uint8
  for before, after, *step in zip(images, done, *steps, strict=True):
    case = (OPS[step[0][0]], *step[1:3])
    allowed = 1 if case[0] == 'autocontrast' else 0  # see colour.py
    assert np.abs(after - by_pillow(before, step, SCALES[name]).astype(int)).max() <= allowed, case


@pytest.mark.parametrize(
  ('name', 'shape'), [('linear', (32, 32, 3)), ('linear', (20, 27, 1)), ('uda', (32, 32, 3))]
)
def test_every_operation_at_every_level_is_pillows(name, shape):
  check_every_op(scenes(40, *shape), name)


def test_every_operation_at_every_level_is_pillows_on_cifar10(data_dir):
  check_every_op(
    np.asarray(sources.load('cifar10', data_dir=data_dir, download=False).test.image[:300]),
    'linear',
  )


def check_sequence(name, draws, images, scale, fill=0, last=lambda number, image: image):
  """The policy against Pillow, step by step, where no autocontrast may bring in a level that a
  later step blows up.
  """
  after = np.asarray(COMPILED[name](keys(len(images)), images))
  known = (np.asarray(draws.op) != OPS.index('autocontrast')).all(1)
  assert known.sum() > 0.6 * len(images)
  for number in np.flatnonzero(known):
    step = [np.asarray(field[number]) for field in draws]
    expected = last(number, by_pillow(images[number], step, scale, fill))
    np.testing.assert_array_equal(after[number], expected, err_msg=str(step))


def test_policies_do_one_step_after_the_other_as_pillow():
  images = scenes(*SHAPE)
  own = keys(len(images))
  check_sequence('randaugment', randaugment_steps(own), images, LINEAR)
  check_sequence('autoaugment', autoaugment_steps(own), images, LINEAR)
  check_sequence(
    'autoaugment published', autoaugment_steps(own, published=True), images, LINEAR, 128
  )


def test_uda_ends_with_cutout_and_fills_with_the_mean():
  images, mean = scenes(*SHAPE), (125, 123, 114)
  draws, centres = uda_steps(keys(len(images)), height=24, width=28)
  assert (np.asarray(draws.op) == OPS.index('cutout')).any()
  centres = np.asarray(centres)
  check_sequence(
    'uda',
    draws,
    images,
    UDA,
    mean,
    lambda number, image: by_hand_cut(image, centres[number], 16, mean),
  )


def test_scales():
  line = dict.fromkeys(
    ('brightness', 'contrast', 'colour', 'sharpness'), 1 + np.linspace(0, 0.9, 10)
  ) | {
    'shear_x': np.linspace(0, 0.3, 10),
    'shear_y': np.linspace(0, 0.3, 10),
    'rotate': np.linspace(0, 30, 10),
    'translate_x': np.linspace(0, 150 / 331, 10) * 40,
    'translate_y': np.linspace(0, 150 / 331, 10) * 30,
    'posterise': np.round(np.linspace(8, 4, 10)),
    'solarise': np.linspace(256, 0, 10),
  }
  for op, amounts in line.items():
    np.testing.assert_allclose(
      [LINEAR[op](level, 1, 30, 40) for level in range(10)], amounts, err_msg=op
    )
  for op in ('brightness', 'sharpness'):
    assert LINEAR[op](9, -1, 30, 40) == pytest.approx(0.1)
  assert LINEAR['rotate'](9, -1, 30, 40) == -30 and LINEAR['translate_y'](9, -1, 331, 40) == -150
  for level in range(1, 10):  # the rules of UDA's code, where they cut off to whole numbers
    assert UDA['posterise'](level, 1, 32, 32) == 4 - int(level * 4 / 10)
    assert UDA['solarise'](level, 1, 32, 32) == 256 - int(level * 256 / 10)
    assert UDA['translate_x'](level, -1, 32, 32) == -int(level * 10 / 10)
    assert UDA['rotate'](level, 1, 32, 32) == int(level * 30 / 10)
    assert UDA['cutout'](level, 1, 32, 32) == int(level * 20 / 10)
    assert UDA['colour'](level, -1, 32, 32) == pytest.approx(level * 1.8 / 10 + 0.1)
    assert UDA['shear_y'](level, -1, 32, 32) == pytest.approx(-level * 0.3 / 10)


def test_the_sub_policies_are_the_papers():
  assert len(SUB_POLICIES.split()) == len(policies.AUTOAUGMENT_CIFAR10) == 25
  for text, listed in zip(SUB_POLICIES.split(), policies.AUTOAUGMENT_CIFAR10, strict=True):
    published = [
      re.fullmatch(r'([A-Za-z]+)(\.?\d),(\d)', part).groups() for part in text.split('/')
    ]
    assert listed == tuple(
      (NAMES.get(op, op.lower()), float(chance), int(level)) for op, chance, level in published
    )


def chance_of(values, expected):
  """How likely counts so far from `expected`, {value: probability}, are by chance.

  0: a value that cannot be.
  """
  seen, counts = np.unique(values, axis=0, return_counts=True)
  counts = {
    tuple(np.atleast_1d(value).tolist()): count for value, count in zip(seen, counts, strict=True)
  }
  if not counts.keys() <= expected.keys():
    return 0.0
  wanted = [probability * len(values) for probability in expected.values()]
  return stats.chisquare([counts.get(value, 0) for value in expected], wanted).pvalue


def chance_of_independent(one, other):
  """How likely numbers that hang together so much are by chance."""
  return stats.chi2_contingency(
    stats.contingency.crosstab(np.asarray(one), np.asarray(other)).count
  ).pvalue


def uniform(*values):
  return {(value,): 1 / len(values) for value in values}


def test_randaugment_draws_uniformly_and_independently():
  draws = randaugment_steps(keys())
  op, level, sign = (np.asarray(field) for field in draws[:3])
  assert op.shape == sign.shape == (DRAWS, 2) and (level == 5).all()
  ops = [OPS.index(name) for name in policies.RANDAUGMENT_OPS]
  assert len(set(ops)) == 14 and 'invert' not in policies.RANDAUGMENT_OPS
  assert chance_of(op, {(one, other): 1 / 14**2 for one in ops for other in ops}) > UNLIKELY
  assert chance_of(sign, {(one, other): 1 / 4 for one in (-1, 1) for other in (-1, 1)}) > UNLIKELY
  assert chance_of_independent(op[:, 0], sign[:, 0]) > UNLIKELY
  # the count can fail
  assert chance_of(op, {(one, other): 1 / 13**2 for one in ops[1:] for other in ops[1:]}) == 0


def expected_of(table):
  """{(op, level, op, level): probability}; an operation that is not applied is the identity at its
  level.
  """
  expected, none = {}, OPS.index('identity')
  for pair in table:
    first, second = (
      ((OPS.index(op), level, chance), (none, level, 1 - chance)) for op, chance, level in pair
    )
    for one, level, chance in first:
      for other, other_level, other_chance in second:
        if chance * other_chance:
          value = (one, level, other, other_level)
          expected[value] = expected.get(value, 0) + chance * other_chance / 25
  return expected


def test_autoaugment_applies_each_operation_with_its_probability():
  plain, published = (autoaugment_steps(keys(), published=flag) for flag in (False, True))
  as_written = policies.AUTOAUGMENT_CIFAR10
  as_published = [*as_written[:16], (('equalise', 0.2, 8), ('equalise', 0.8, 4)), *as_written[17:]]
  values, other = (
    np.stack([d.op[:, 0], d.level[:, 0], d.op[:, 1], d.level[:, 1]], 1) for d in (plain, published)
  )
  assert chance_of(values, expected_of(as_written)) > UNLIKELY
  assert chance_of(other, expected_of(as_published)) > UNLIKELY
  assert (
    chance_of(values, expected_of(as_published)) < 1e-6 > chance_of(other, expected_of(as_written))
  )
  assert (
    chance_of(np.asarray(plain.sign), {(one, other): 1 / 4 for one in (-1, 1) for other in (-1, 1)})
    > UNLIKELY
  )
  turned = np.asarray(published.op) == OPS.index('rotate')
  assert turned.sum() > 200 and (np.asarray(published.sign)[turned] == 1).all()
  assert (np.asarray(plain.sign)[turned] == -1).any() and (
    np.asarray(published.sign)[~turned] == -1
  ).any()


def test_uda_draws_as_its_code():
  draws, last = uda_steps(keys(), height=7, width=5)
  ops = [OPS.index(name) for name in policies.UDA_OPS]
  assert len(set(ops)) == 15
  for place in range(2):
    op = np.asarray(draws.op[:, place])
    assert (
      chance_of(op, {(OPS.index('identity'),): 0.5} | {(one,): 0.5 / 15 for one in ops}) > UNLIKELY
    )
    assert chance_of(np.asarray(draws.level[:, place]), uniform(*range(1, 10))) > UNLIKELY
    assert chance_of(np.asarray(draws.sign[:, place]), uniform(-1, 1)) > UNLIKELY
    assert chance_of_independent(op, draws.level[:, place]) > UNLIKELY
  assert chance_of_independent(draws.op[:, 0], draws.op[:, 1]) > UNLIKELY
  for centres in (draws.centre[:, 0], draws.centre[:, 1], last):
    assert (
      chance_of(np.asarray(centres), {(y, x): 1 / 35 for y in range(7) for x in range(5)})
      > UNLIKELY
    )


def test_cutout_draws_its_middle_uniformly():
  images = np.ones((DRAWS, 4, 6, 1), np.uint8)
  cut = np.asarray(jax.jit(policies.cutout(1))(keys(), images))[..., 0] == 0
  assert (cut.sum((1, 2)) == 1).all()
  assert (
    chance_of(np.argwhere(cut)[:, 1:], {(y, x): 1 / 24 for y in range(4) for x in range(6)})
    > UNLIKELY
  )


@pytest.mark.parametrize('name', POLICIES)
def test_an_image_is_augmented_by_its_own_key_alone(name):
  images, own = scenes(*SHAPE), keys(len(scenes(*SHAPE)))
  whole = np.asarray(COMPILED[name](own, images))
  assert whole.shape == images.shape and whole.dtype == np.uint8
  assert (whole != images).any((1, 2, 3)).mean() > 0.6
  order = np.random.default_rng(0).permutation(len(images))
  np.testing.assert_array_equal(COMPILED[name](own[order], images[order]), whole[order])
  assert (np.asarray(COMPILED[name](keys(len(images), seed=2), images)) != whole).any()


def test_splitting_the_batch_changes_nothing():
  images, own = scenes(*SHAPE), keys(len(scenes(*SHAPE)))
  parts = [COMPILED['randaugment'](own[n : n + 4], images[n : n + 4]) for n in range(0, 100, 4)]
  np.testing.assert_array_equal(np.concatenate(parts), COMPILED['randaugment'](own, images))


def test_a_chain_applies_its_policies_in_order_each_with_its_own_keys():
  def add(keys, images):
    return (
      images + jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint8))(keys)[:, None, None, None]
    )

  def double(keys, images):
    return 2 * images

  images, own = jnp.zeros((50, 1, 1, 1), jnp.uint8), keys(50)
  assert policies.chain(add) is add
  once = policies.chain(add, double)(own, images)
  np.testing.assert_array_equal(
    once, 2 * policies.chain(add, lambda keys, images: images)(own, images)
  )
  assert (policies.chain(add, add)(own, images) != once).any()


def test_uda_fills_one_channel_with_one_value(monkeypatch):
  monkeypatch.setattr(policies, 'apply', lambda images, steps, *, scale, fill: images)
  cut = policies.uda()(keys(1), jnp.zeros((1, 8, 8, 1), jnp.uint8))
  assert set(np.asarray(cut).ravel().tolist()) <= {0, 123} and (np.asarray(cut) == 123).any()


def test_float64_changes_nothing():
  images, own = scenes(*SHAPE), keys(len(scenes(*SHAPE)))
  expected, draws = np.asarray(COMPILED['uda'](own, images)), autoaugment_steps(own)
  with jax.enable_x64(True):
    np.testing.assert_array_equal(jax.jit(POLICIES['uda'])(own, images), expected)
    again = jax.jit(policies.autoaugment_steps)(own)
  for before, after in zip(draws, again, strict=True):
    assert after.dtype == before.dtype == jnp.int32
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (
      lambda: policies.randaugment(number=0),
      'randaugment.number of operations is from 1 to 100, not 0',
    ),
    (
      lambda: policies.randaugment(level=10),
      'randaugment.level is a whole number from 0 to 9, not 10',
    ),
    (
      lambda: policies.randaugment(level=-1),
      'randaugment.level is a whole number from 0 to 9, not -1',
    ),
    (
      lambda: policies.randaugment(level=5.5),
      'randaugment.level is a whole number from 0 to 9, not 5.5',
    ),
    (lambda: policies.cutout(0), 'cutout.size is the side of a square in pixels, 1 or more, not 0'),
  ],
)
def test_refuses_options_that_mean_nothing(make, message):
  with pytest.raises(ConfigError, match=re.escape(message)) as caught:
    make()
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'images',
  [
    np.zeros((2, 8, 8, 3), np.float32),
    np.zeros((2, 8, 8, 4), np.uint8),
    np.zeros((8, 8, 3), np.uint8),
  ],
)
def test_refuses_images_that_it_cannot_augment(images):
  with pytest.raises(
    ConfigError, match=r'takes images uint8\[B, H, W, 1 or 3\], not (float32|uint8)\['
  ):
    jax.eval_shape(policies.randaugment(), keys(2), images)
