"""Modules of Flax's NNX as networks: `to_linen` gives what a factory of one's own returns.

    def small(spec):
      def make(*, axis_name, rngs):
        return Small(spec, axis_name=axis_name, rngs=rngs)  # a flax.nnx.Module
      return Network(spec, to_linen(make), norms=())

flax.nnx.bridge.ToLinen is not taken: it hands on no device axis, and it keeps what a module draws
with among the variables, which kd_jax neither trains nor saves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from kd_jax.types import ConfigError, LogitsOnly, Outputs, Path, PyTree

STREAM = 'dropout'  # all that a module draws in training comes from it
_KINDS = {'params': nnx.Param, 'batch_stats': nnx.BatchStat}


def to_linen(make: Callable[..., nnx.Module]) -> nn.Module:
  """Return a flax.linen.Module that computes what an NNX module does.

  Args:
    make: a function of the keywords axis_name and rngs, which returns the module. Called with
      images f32[B, H, W, C] in [0, 1], the module returns Outputs or LogitsOnly. `train()` and
      `eval()` tell its Dropout and BatchNorm which is meant; `axis_name` is for the latter. Its
      variables are of nnx.Param and nnx.BatchStat, and bear the names of its attributes. A module
      that draws in training is of a Network with `streams=('dropout',)`.

  Raises:
    ConfigError: as it is first applied, where the module has variables of another kind.
  """
  return FromNNX(make)


class FromNNX(nn.Module):
  """The module of `to_linen`."""

  make: Callable[..., nnx.Module]
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs | LogitsOnly:
    if self.is_initializing():
      drawn = self.make(axis_name=self.axis_name, rngs=nnx.Rngs(self.make_rng('params')))
      for name, value in _variables(drawn, nnx.Param).items():
        self.param(name, lambda _, value=value: value)
      for name, value in _variables(drawn, nnx.BatchStat).items():
        self.variable('batch_stats', name, lambda value=value: value)
    module = self._module(train)
    outputs = module(image)
    if train and self.is_mutable_collection('batch_stats'):
      for name, value in _variables(module, nnx.BatchStat).items():
        self.put_variable('batch_stats', name, value)
    return outputs

  def _module(self, train: bool) -> nnx.Module:
    """Return the NNX module with the variables of this one."""

    def fresh() -> nnx.Module:
      return self.make(axis_name=self.axis_name, rngs=nnx.Rngs(0))

    graph, state = nnx.split(nnx.eval_shape(fresh))  # nothing is drawn
    own = {kind: flatten_dict(self.variables.get(kind, {})) for kind in _KINDS}
    values = {}
    for number, (path, variable) in enumerate(nnx.to_flat_state(state)):
      if isinstance(variable, nnx.RngState):
        values[path] = self._drawn_with(variable, number, train)
      else:
        # NNX writes into a variable in place, and would into an array of numpy's, too.
        values[path] = jnp.asarray(own[_kind(path, variable)][_named(path)])
    nnx.replace_by_pure_dict(state, unflatten_dict(values))
    module = nnx.merge(graph, state)
    (module.train if train else module.eval)()
    return module

  def _drawn_with(self, variable: nnx.RngState, number: int, train: bool) -> Any:
    """Return a key of the variable's own, or the count of draws that begins at 0."""
    if not isinstance(variable, nnx.RngKey):
      return jnp.zeros((), jnp.uint32)
    key = self.make_rng(STREAM) if train else jax.random.key(0)
    return jax.random.fold_in(key, number)


def _variables(module: nnx.Module, kind: type[nnx.Variable]) -> PyTree:
  """Return the variables of a kind as nested dicts."""
  flat = nnx.to_flat_state(nnx.state(module, kind))
  return unflatten_dict({_named(path): variable.get_value() for path, variable in flat})


def _named(path: tuple[Any, ...]) -> Path:
  """Return a path as it can be saved: places in a list become texts."""
  return tuple(map(str, path))


def _kind(path: tuple[Any, ...], variable: nnx.Variable) -> str:
  for name, kind in _KINDS.items():
    if isinstance(variable, kind):
      return name
  raise ConfigError(
    f"the NNX module's {'.'.join(map(str, path))} is a variable of {type(variable).__name__}: "
    'kd_jax trains nnx.Param, keeps nnx.BatchStat, and has no others'
  )
