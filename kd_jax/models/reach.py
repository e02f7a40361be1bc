"""Which of a network's parameters a part of its outputs depends on."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from kd_jax import models
from kd_jax.types import Network, Outputs, Path, PyTree


def reached(network: Network, part: Callable[[Outputs], PyTree]) -> frozenset[Path]:
  """Return the paths of the parameters that `part` of the outputs depends on; compute nothing.

  What the network computes in one inner program, such as a scan, counts as a whole.
  """

  def compute(variables: PyTree, image: jax.Array) -> PyTree:
    return part(network.module.apply(variables, image, train=False))

  variables = models.shapes(network)
  image = jax.ShapeDtypeStruct((1, *network.spec.image_shape), jnp.float32)
  program = jax.make_jaxpr(compute)(variables, image).jaxpr
  needed = {value for value in program.outvars if not isinstance(value, Literal)}
  for step in reversed(program.eqns):
    if needed & {*step.outvars}:
      needed |= {value for value in step.invars if not isinstance(value, Literal)}
  leaves = jax.tree_util.tree_leaves_with_path(variables)
  paths = (tuple(part.key for part in path) for path, _ in leaves)
  return frozenset(
    path[1:]
    for path, value in zip(paths, program.invars, strict=False)  # the image comes last
    if path[0] == 'params' and value in needed
  )
