"""The mean over a global batch: alike on one device and on many, value and gradient."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.losses import reduce
from tests import tiny

VALUES = np.random.default_rng(0).normal(size=8).astype(np.float32)
MASKS = {
  'full': [1, 1, 1, 1, 1, 1, 1, 1],
  'uneven': [1, 1, 0, 1, 0, 0, 0, 1],  # over four devices: 2, 1, 0 and 1
  'on one device': [0, 0, 0, 0, 0, 0, 1, 1],
}


@pytest.fixture(autouse=True, scope='module')
def quick():
  with tiny.quick_compilation():
    yield


class TestOneDevice:
  @pytest.mark.parametrize('name', MASKS)
  def test_is_the_mean_of_what_the_mask_keeps(self, name):
    mask = np.array(MASKS[name], np.float32)
    assert float(reduce.mean(VALUES, mask=mask)) == pytest.approx(VALUES[mask > 0].mean(), rel=1e-6)

  def test_an_empty_mask_gives_zero_and_no_gradient(self):
    value, gradient = jax.value_and_grad(reduce.mean)(VALUES, mask=np.zeros(8, np.float32))
    assert value == 0 and not gradient.any()

  @pytest.mark.parametrize('strange', [np.nan, np.inf])
  def test_a_masked_value_may_be_anything(self, strange):
    values, mask = VALUES.copy(), np.array(MASKS['uneven'], np.float32)
    values[2] = strange
    value, gradient = jax.value_and_grad(reduce.mean)(values, mask=mask)
    assert float(value) == pytest.approx(VALUES[mask > 0].mean(), rel=1e-6)
    chex.assert_tree_all_finite(gradient)

  def test_a_value_that_counts_may_not(self):
    values = VALUES.copy()
    values[0] = np.nan
    assert np.isnan(reduce.mean(values, mask=np.ones(8, np.float32)))

  def test_gradient_is_shared_by_what_counts(self):
    mask = np.array(MASKS['uneven'], np.float32)
    np.testing.assert_allclose(jax.grad(reduce.mean)(VALUES, mask=mask), mask / 4, rtol=1e-6)


@pytest.mark.parametrize('name', MASKS)
@pytest.mark.parametrize('devices', [4, 8])
class TestManyDevices:
  """As the training step does it: the mean over the devices of a term and of its gradient is that
  of the global batch.
  """

  def dealt(self, name, devices):
    mask = np.array(MASKS[name], np.float32)
    return VALUES.reshape(devices, -1), mask.reshape(devices, -1), mask

  def test_value(self, name, devices):
    values, masks, mask = self.dealt(name, devices)
    term = jax.pmap(
      lambda v, m: jax.lax.pmean(reduce.mean(v, mask=m, axis='devices'), 'devices'), 'devices'
    )(values, masks)
    chex.assert_trees_all_close(term, np.full(devices, VALUES[mask > 0].mean()), rtol=1e-6)

  def test_gradient(self, name, devices):
    """With respect to a parameter that every value depends on."""
    values, masks, mask = self.dealt(name, devices)

    def term(weight, values, masks):
      return reduce.mean(jnp.sin(weight * values), mask=masks, axis='devices')

    shared = jax.pmap(
      lambda w, v, m: jax.lax.pmean(jax.grad(term)(w, v, m), 'devices'),
      'devices',
      in_axes=(None, 0, 0),
    )
    whole = jax.grad(lambda w: reduce.mean(jnp.sin(w * VALUES), mask=mask))(0.7)
    chex.assert_trees_all_close(shared(0.7, values, masks), np.full(devices, whole), rtol=1e-5)

  def test_the_mean_of_the_devices_means_would_be_another(self, name, devices):
    """What the axis is for: where the masks are uneven, a device's own mean does not do."""
    values, masks, mask = self.dealt(name, devices)
    naive = np.mean([reduce.mean(v, mask=m) for v, m in zip(values, masks, strict=True)])
    assert (abs(naive - VALUES[mask > 0].mean()) > 1e-4) == (name != 'full')
