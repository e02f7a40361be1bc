"""A network's variables and outputs: drawn, counted, and as shapes alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from kd_jax.models import predicting
from kd_jax.types import LogitsOnly, Network, NetworkInfo, Outputs, PyTree


def initialise(key: Key[Array, ''], network: Network) -> PyTree:
  """Return fresh weights {'params', 'batch_stats'}, drawn as PyTorch draws them by default.

  An own network draws its own way.
  """
  height, width, channels = network.spec.image_shape
  image = jnp.zeros((1, height, width, channels))
  return {'batch_stats': {}, **jax.jit(partial(network.module.init, train=False))(key, image)}


def shapes(network: Network) -> PyTree:
  """Return the shapes of what `initialise` returns, jax.ShapeDtypeStruct; compute nothing."""
  return _kept(_shapes, network)


def output_shapes(network: Network, *, batch: int = 2) -> Outputs | LogitsOnly:
  """Return the shapes of the outputs of a batch, jax.ShapeDtypeStruct; compute nothing."""
  return _kept(_output_shapes, network, batch)


def _shapes(network: Network) -> PyTree:
  return jax.eval_shape(partial(initialise, network=network), jax.random.key(0))


def _output_shapes(network: Network, batch: int) -> Outputs | LogitsOnly:
  image = jax.ShapeDtypeStruct((batch, *network.spec.image_shape), jnp.float32)
  return jax.eval_shape(partial(network.module.apply, train=False), shapes(network), image)


def _kept(compute: Callable[..., PyTree], network: Network, *rest: int) -> PyTree:
  """Return what is computed of a network's module, from memory where it was: a run asks for the
  same shapes dozens of times, and each trace takes a moment.
  """
  bare = predicting.bare(network)
  try:
    hash(bare)
  except TypeError:  # of fields that can change
    return compute(bare, *rest)
  found = _computed(compute, bare, rest, jnp.result_type(float))
  return jax.tree.map(lambda leaf: leaf, found)  # the dicts are the caller's own


@lru_cache(maxsize=256)
def _computed(
  compute: Callable[..., PyTree], network: Network, rest: tuple[int, ...], width: Any
) -> PyTree:
  """Compute shapes; `width`, of numbers as jax makes them, tells apart what 64 bits change."""
  return compute(network, *rest)


def info(network: Network, *, variables: PyTree = None) -> NetworkInfo:
  """Return what a method may use of a network; of one without variables, their shapes."""
  variables = shapes(network) if variables is None else variables
  return NetworkInfo(network, variables, output_shapes(network))


def count_parameters(params: PyTree) -> int:
  """Return the number of trained values, as the literature counts them.

  BatchNorm's scale and bias count, its statistics do not.
  """
  return sum(leaf.size for leaf in jax.tree.leaves(params))
