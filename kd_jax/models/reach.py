"""Which of a network's variables a part of its outputs depends on, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from kd_jax import models
from kd_jax.models import predicting
from kd_jax.types import Array, Network, Outputs, Path, PyTree, Trained


def reached(network: Network, part: Callable[[Outputs], PyTree]) -> frozenset[Path]:
  """Return the paths of the parameters that `part` of the outputs depends on; compute nothing.

  What the network computes in one inner program, such as a scan, counts as a whole.
  """
  used = _used(network, models.shapes(network), part)
  return frozenset(path[1:] for path in used if path[0] == 'params')


def count_deployed(trained: Trained) -> int:
  """Return how many trained values a network predicts by; BatchNorm's statistics are none.

  They are its parameters. Of a network that predicts by a method they are those of its own and of
  the method's which the predictions depend on, among them a classifier that the method took from
  the teacher.
  """
  network, variables = trained
  if predicting.bare(network) is network:
    return models.count_parameters(variables['params'])
  shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), leaf.dtype), variables)
  used = _used(network, shapes, lambda outputs: outputs.logits)
  leaves = jax.tree_util.tree_leaves_with_path(shapes)
  counted = (('params',), ('method', 'params'), ('method', 'constants'))
  return sum(
    leaf.size
    for path, leaf in ((_names(path), leaf) for path, leaf in leaves)
    if path in used and any(path[: len(start)] == start for start in counted)
  )


def embedding_of(network: Network) -> Callable[[Array], Array] | None:
  """Return the function by which the embedding follows from the last feature, for a batch of one;
  None where the embedding depends on anything else.
  """

  def both(outputs: Outputs) -> tuple[Array, Array]:
    return outputs.features[-1], outputs.embedding

  whole = _program(network, models.shapes(network), both)
  program = whole.jaxpr
  feature, embedding = program.outvars
  makers = {value: step for step in program.eqns for value in step.outvars}
  # A network that computes in bfloat16 shows its feature in float32, and goes on without that.
  while feature in makers and makers[feature].primitive.name == 'convert_element_type':
    (feature,) = makers[feature].invars
  known = {feature, *program.constvars}
  steps = []
  for step in program.eqns:
    taken = {value for value in step.invars if not isinstance(value, Literal)}
    if taken and taken <= known:
      steps.append(step)
      known |= {*step.outvars}
  if embedding not in known:
    return None
  rest = program.replace(invars=[feature], outvars=[embedding], eqns=steps)
  compute = jaxpr_as_fun(ClosedJaxpr(rest, whole.consts))
  shown: Any = feature.aval
  return lambda feature: compute(jnp.asarray(feature, shown.dtype))[0]


def _used(
  network: Network, variables: PyTree, part: Callable[[Outputs], PyTree]
) -> frozenset[Path]:
  """Return the paths of the variables, shapes, that `part` of the outputs depends on."""
  program = _program(network, variables, part).jaxpr
  needed = {value for value in program.outvars if not isinstance(value, Literal)}
  for step in reversed(program.eqns):
    if needed & {*step.outvars}:
      needed |= {value for value in step.invars if not isinstance(value, Literal)}
  paths = (_names(path) for path, _ in jax.tree_util.tree_leaves_with_path(variables))
  # the image comes last
  pairs = zip(paths, program.invars, strict=False)
  return frozenset(path for path, value in pairs if value in needed)


def _program(network: Network, variables: PyTree, part: Callable[[Outputs], PyTree]) -> ClosedJaxpr:
  """Return how `part` of the outputs follows from variables, shapes, and one image."""

  def compute(variables: PyTree, image: jax.Array) -> PyTree:
    return part(network.module.apply(variables, image, train=False))

  image = jax.ShapeDtypeStruct((1, *network.spec.image_shape), jnp.float32)
  return jax.make_jaxpr(compute)(variables, image)


def _names(path: tuple[Any, ...]) -> Path:
  return tuple(part.key for part in path)
