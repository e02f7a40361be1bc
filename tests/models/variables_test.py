"""Shapes of networks are kept by what the network is, and by nothing else."""

from __future__ import annotations

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from kd_jax import models
from kd_jax.types import LogitsOnly, Network, NetworkSpec

SPEC = NetworkSpec('resnet8', 10, (32, 32, 3))


class Counted(nn.Module):
  """A network that counts how often it is traced."""

  calls: Any
  classes: int = 3

  @nn.compact
  def __call__(self, image: jax.Array, *, train: bool) -> LogitsOnly:
    self.calls.count += 1
    return LogitsOnly(nn.Dense(self.classes)(jnp.mean(image.astype(jnp.float32), (1, 2))))


class Calls:
  """A number that can be hashed with the module that holds it."""

  count = 0


class Unhashable(Calls):
  """The same of a field that can change."""

  __hash__ = None


def network(calls: Calls, classes: int = 3, side: int = 8) -> Network:
  return Network(
    NetworkSpec('own', classes, (side, side, 3)), Counted(calls=calls, classes=classes), ()
  )


def test_a_second_network_of_the_same_form_is_not_traced_again():
  calls = Calls()
  first = models.output_shapes(network(calls))
  traced = calls.count
  assert models.output_shapes(network(calls)) == first
  models.shapes(network(calls))
  assert calls.count == traced > 0


@pytest.mark.parametrize('other', [{'classes': 4}, {'side': 9}])
def test_another_network_has_shapes_of_its_own(other):
  calls = Calls()
  models.shapes(network(calls))
  traced = calls.count
  shapes = models.shapes(network(calls, **other))
  assert calls.count > traced
  assert shapes['params']['Dense_0']['kernel'].shape == (3, other.get('classes', 3))


def test_another_batch_and_wider_numbers_have_shapes_of_their_own():
  assert models.output_shapes(models.build(SPEC)).logits.shape == (2, 10)
  assert models.output_shapes(models.build(SPEC), batch=5).logits.shape == (5, 10)
  calls = Calls()
  models.shapes(network(calls))
  traced = calls.count
  with jax.enable_x64(True):
    models.shapes(network(calls))
  assert calls.count > traced


def test_what_a_caller_changes_stays_with_it():
  shapes = models.shapes(models.build(SPEC))
  whole = jax.tree.structure(shapes)
  del shapes['params']
  chex.assert_trees_all_equal_structs(
    jax.tree.unflatten(whole, range(whole.num_leaves)), models.shapes(models.build(SPEC))
  )


def test_a_network_without_a_hash_is_traced_each_time():
  calls = Unhashable()
  with pytest.raises(TypeError):
    hash(network(calls))
  first = models.shapes(network(calls))
  traced = calls.count
  assert models.shapes(network(calls)) == first
  assert calls.count > traced
