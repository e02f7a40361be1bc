"""Networks whose logits a method computes, as through the classifier of a student's teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from kd_jax.types import Array, MethodVariables, Network, Outputs, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predicting:
  """A network's module whose logits a method computes.

  Its variables have those of the method under 'method'.
  """

  module: Any  # a flax.linen.Module
  predict: Callable[[MethodVariables, Outputs], Array]
  made: str  # how the method is made again

  def apply(self, variables: Mapping[str, PyTree], image: Array, **how: Any) -> Any:
    """Return what the module returns, with the method's logits in place of its own."""
    own = {name: tree for name, tree in variables.items() if name != 'method'}
    outputs = self.module.apply(own, image, **how)
    outputs, *changed = outputs if how.get('mutable') else (outputs,)
    logits = self.predict(MethodVariables(**variables['method']), outputs)
    outputs = outputs._replace(logits=logits)
    return (outputs, *changed) if changed else outputs

  def clone(self, **fields: Any) -> Predicting:
    """Return the same around a module with other fields."""
    return dataclasses.replace(self, module=self.module.clone(**fields))


def through(
  network: Network, predict: Callable[[MethodVariables, Outputs], Array] | None, made: str
) -> Network:
  """Return the network that predicts by `predict`; itself where that is None."""
  if predict is None:
    return network
  return network._replace(module=Predicting(module=network.module, predict=predict, made=made))


def bare(network: Network) -> Network:
  """Return the network without the method that predicts."""
  module = network.module
  return network._replace(module=module.module) if isinstance(module, Predicting) else network


def like(network: Network, other: Network) -> Network:
  """Return a network that predicts as another does."""
  module = other.module
  if not isinstance(module, Predicting):
    return network
  return through(network, module.predict, module.made)
