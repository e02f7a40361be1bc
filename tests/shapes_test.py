"""Every test checks the shapes of annotations: tests/conftest.py installs what does it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from kd_jax.data import augment
from kd_jax.losses import logits, reduce
from kd_jax.models import layers
from kd_jax.types import Outputs

B, K = 3, 5
Z = jnp.zeros((B, K))


@pytest.mark.parametrize(
  'call',
  [
    lambda: logits.kl_divergence(Z, jnp.zeros((B, K + 1))),
    lambda: logits.cross_entropy(Z, jnp.zeros(B + 1, jnp.int32)),
    lambda: logits.cross_entropy(Z, jnp.zeros(B)),
    lambda: reduce.mean(Z, mask=jnp.ones(B)),
    lambda: augment.flip(jnp.zeros((B, 4, 4, 1)), jnp.ones(B, bool)),
    lambda: layers.normalise(jnp.zeros((4, 4, 1)), (), (), 'float32'),
    lambda: layers.outputs(Z, (), {}, Z[0], 'float32'),
    lambda: jax.jit(logits.kl_divergence)(Z, Z[:2]),
  ],
)
def test_another_shape_or_type_is_noticed(call):
  with pytest.raises(jaxtyping.TypeCheckError):
    call()


def test_a_result_of_another_shape_is_noticed(monkeypatch):
  monkeypatch.setattr(logits.divergence, 'terms', lambda target, prediction: target[None])
  with pytest.raises(jaxtyping.TypeCheckError, match='return value'):
    logits.kl_divergence(Z, Z)


def test_numpys_arrays_and_numbers_of_any_kind_pass():
  assert logits.cross_entropy(np.zeros((B, K)), np.zeros(B, np.int32)).shape == (B,)
  assert isinstance(layers.outputs(Z, (), {}, Z, 'float32'), Outputs)
  jax.jit(lambda t: logits.kl_divergence(Z, Z, temperature=t))(4)
