"""Label smoothing, mixup and cutmix: by their formulas, and the same on any number of devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.data import mixing
from kd_jax.data.mixing import Mixing
from kd_jax.losses import logits
from kd_jax.types import ConfigError

K, B, SIDE = 5, 16, 8
SHARES = {'train': 12, 'unlabelled': 4}
POSITION = jnp.arange(B, dtype=jnp.int32)
LABEL = jnp.asarray([*(np.arange(12) % K), -1, -1, -1, -1], jnp.int32)
IMAGE = jnp.asarray(np.random.default_rng(0).uniform(size=(B, SIDE, SIDE, 3)), jnp.float32)
PARTNER = np.array([*range(11, -1, -1), 15, 14, 13, 12])


def mixed(key=0, views=None, **chosen):
  apply = mixing.mix(Mixing(**chosen), classes=K, shares=SHARES)
  return apply(jax.random.key(key), views or {'weak': IMAGE}, LABEL, POSITION, None)


def share_of(made) -> float:
  """λ, from the target of the first image, whose partner's class differs."""
  return float(made.target[0, LABEL[0]])


class TestSmoothing:
  def test_is_that_of_torch(self):
    """torch.nn.CrossEntropyLoss(label_smoothing=0.1): (1 − ε) CE(y) + ε/K Σ_c CE(c)."""
    scores = jnp.asarray(np.random.default_rng(1).normal(size=(B, K)), jnp.float32)
    found = logits.soft_cross_entropy(scores, mixing.smoothed(LABEL, K, 0.1))
    every = -jax.nn.log_softmax(scores)
    hard = logits.cross_entropy(scores, LABEL)
    expected = jnp.where(LABEL >= 0, 0.9 * hard + 0.1 * every.mean(1), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

  def test_without_it_the_loss_is_cross_entropy(self):
    scores = jnp.asarray(np.random.default_rng(1).normal(size=(B, K)), jnp.float32)
    found = logits.soft_cross_entropy(scores, mixing.smoothed(LABEL, K, 0.0))
    np.testing.assert_allclose(found, logits.cross_entropy(scores, LABEL), rtol=1e-6, atol=1e-6)

  def test_leaves_images_and_labels(self):
    made = mixed(label_smoothing=0.2)
    assert made.views['weak'] is IMAGE and made.label is LABEL
    np.testing.assert_allclose(made.target.sum(1), LABEL >= 0, rtol=1e-6)


class TestMixup:
  def test_mixes_each_with_its_partner(self):
    made = mixed(mixup=1.0)
    share = share_of(made)
    assert 0 < share < 1
    np.testing.assert_allclose(
      made.views['weak'], share * IMAGE + (1 - share) * IMAGE[PARTNER], rtol=1e-4, atol=1e-5
    )
    hot = np.where(LABEL[:, None] >= 0, np.eye(K)[LABEL], 0)
    np.testing.assert_allclose(
      made.target, share * hot + (1 - share) * hot[PARTNER], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(made.label, LABEL if share >= 0.5 else LABEL[PARTNER])

  def test_every_view_alike(self):
    made = mixed(mixup=1.0, views={'weak': IMAGE, 'strong': 1 - IMAGE})
    np.testing.assert_allclose(made.views['weak'], 1 - made.views['strong'], atol=1e-5)

  def test_each_batch_has_its_own_share(self):
    assert len({share_of(mixed(key, mixup=1.0)) for key in range(8)}) == 8

  @pytest.mark.parametrize('alpha', [0.2, 1.0])
  def test_shares_have_the_spread_of_a_beta_distribution(self, alpha):
    """The variance of Beta(α, α) is 1/(4 (2α + 1))."""
    shares = [share_of(mixed(key, mixup=alpha)) for key in range(300)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.08)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.25)


class TestCutmix:
  def test_a_box_is_the_partners_and_the_share_is_what_is_left(self):
    made = mixed(3, cutmix=1.0)
    own = np.isclose(made.views['weak'], IMAGE).all((0, 3))
    other = np.isclose(made.views['weak'], IMAGE[PARTNER]).all((0, 3))
    assert (own ^ other).all() and 0 < other.sum() < SIDE * SIDE
    rows, columns = np.nonzero(other)
    assert other.sum() == len(set(rows)) * len(set(columns))
    assert share_of(made) == pytest.approx(own.mean(), abs=1e-5)

  def test_boxes_reach_every_corner(self):
    seen = np.zeros((SIDE, SIDE), bool)
    for key in range(60):
      seen |= np.asarray(mixing.outside(jax.random.key(key), jnp.float32(0.6), SIDE, SIDE)) == 0
    assert seen.all()


def test_both_take_turns():
  kinds = set()
  for key in range(24):
    made = mixed(key, mixup=1.0, cutmix=1.0)
    own = np.isclose(made.views['weak'], IMAGE).all((0, 3))
    kinds.add('cutmix' if 0 < own.sum() < SIDE * SIDE else 'mixup')
  assert kinds == {'mixup', 'cutmix'}


@pytest.mark.parametrize('chosen', [{'mixup': 0.8}, {'cutmix': 1.0}], ids=str)
def test_devices_agree(chosen):
  """Each device has its part of every source, as blocks have; partners are on other devices."""
  apply = mixing.mix(Mixing(**chosen), classes=K, shares=SHARES)
  whole = mixed(5, **chosen)
  rows = np.array([[3 * d, 3 * d + 1, 3 * d + 2, 12 + d] for d in range(4)])
  parts = jax.pmap(
    lambda image, label, position: apply(jax.random.key(5), {'weak': image}, label, position, 'd'),
    axis_name='d',
    devices=jax.devices()[:4],
  )(IMAGE[rows], LABEL[rows], POSITION[rows])
  np.testing.assert_array_equal(parts.label, whole.label[rows])
  np.testing.assert_allclose(parts.target, whole.target[rows], rtol=1e-6)
  np.testing.assert_allclose(parts.views['weak'], whole.views['weak'][rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ('name', 'value'), [('label_smoothing', 1.0), ('mixup', -0.1), ('cutmix', float('inf'))]
)
def test_what_is_out_of_range_is_refused(name, value):
  with pytest.raises(ConfigError, match=name):
    mixing.check(name, value)
