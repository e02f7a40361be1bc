"""Networks of one's own: 'package.module:factory' where a row of the table would stand, checked
before anything is trained.

The factory takes a NetworkSpec and returns a Network of it, `Network(spec, module, norms)`:
  module   a flax.linen.Module. `module.apply(variables, image, train=…)` takes f32[B, H, W, C] in
           [0, 1], which it normalises by the spec's mean and std, and returns Outputs, in float32
           or wider; or LogitsOnly, for methods that need no more. It has variables in 'params' and
           'batch_stats' alone, and has a field `axis_name: str | None = None` for its BatchNorms:
           the device axis over which they take their statistics
  norms    () or, for each feature, the path in the parameters of the last BatchNorm before it;
           overhaul asks for these
  streams  may be left out: what the module draws from while it trains, such as ('dropout',)

AB leaves the classifier alone while it trains the body: it is the module of the name `head`. SFD
pairs layers by their names, `stage1_block1` and so on. The module is looked for where Python looks,
and in the current folder.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kd_jax import factories
from kd_jax.types import ConfigError, KdJaxError, LogitsOnly, Network, NetworkSpec, Outputs, PyTree

_COLLECTIONS = ('params', 'batch_stats')
_BATCH = 7  # images that are tried, as shapes: hardly one of the network's own numbers


class _Fault(Exception):  # noqa: N818
  """What is wrong with a network, as a sentence goes on that begins with its name."""


@functools.cache
def build(spec: NetworkSpec) -> Network:
  """Return the network that the factory `spec.name` makes of the spec.

  Raises:
    ConfigError: the factory cannot be had, or makes something else than this module asks for.
  """
  try:
    network = _made(spec)
    _check_module(network.module)
    _check_norms(network, *_check_outputs(network))
  except _Fault as fault:
    raise ConfigError(f'the network {spec.name} {fault} (see kd_jax/models/custom.py)') from fault
  return network


def _made(spec: NetworkSpec) -> Network:
  factory = factories.load(spec.name, 'network')
  try:
    inspect.signature(factory).bind(spec)
  except TypeError as error:
    raise _Fault(f'cannot be called with a NetworkSpec alone ({error})') from error
  network = _tried('fails', factory, spec)
  if not isinstance(network, Network):
    raise _Fault(f'returns {_kind(network)} and not a Network: return Network(spec, module, ())')
  if network.spec != spec:
    raise _Fault('returns a Network of another spec: pass on the one that it is given')
  return network


def _check_module(module: Any) -> None:
  if not isinstance(module, nn.Module):
    raise _Fault(f'returns a Network whose module is {_kind(module)} and not a flax.linen.Module')
  name = type(module).__name__
  parameters = inspect.signature(type(module).__call__).parameters
  if 'train' not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
    raise _Fault(f"makes {name}, whose __call__ takes no argument 'train': add *, train")
  if 'axis_name' not in {field.name for field in dataclasses.fields(module)}:
    raise _Fault(f"makes {name}, which has no field 'axis_name': add it, for BatchNorm")


def _check_outputs(network: Network) -> tuple[PyTree, Outputs | LogitsOnly]:
  """Try the module as shapes: fresh variables, then both modes. Return parameters and outputs."""
  spec, module = network.spec, network.module
  key = jax.random.key(0)
  image = jax.ShapeDtypeStruct((_BATCH, *spec.image_shape), jnp.float32)
  first = functools.partial(module.init, train=False)
  variables = _tried('fails when its weights are drawn', jax.eval_shape, first, key, image)
  if others := set(variables) - set(_COLLECTIONS):
    raise _Fault(f"keeps variables in '{min(others)}': there are 'params' and 'batch_stats' alone")
  if not jax.tree.leaves(variables.get('params', {})):
    raise _Fault('makes a network without parameters: there is nothing to train')
  paths = jax.tree_util.tree_leaves_with_path(variables)
  if slashed := [key.key for path, _ in paths for key in path if '/' in str(key.key)]:
    raise _Fault(f"names a variable '{slashed[0]}': names without '/' can be saved")
  for train in (False, True):
    rngs = network.rngs(key) if train else {}
    apply = functools.partial(module.apply, train=train, mutable=['batch_stats'], rngs=rngs)
    outputs, changed = _tried(f'fails at train={train}', jax.eval_shape, apply, variables, image)
    _check_shapes(outputs, spec.classes)
    if _shapes(changed.get('batch_stats', {})) != _shapes(variables.get('batch_stats', {})):
      raise _Fault(f'changes the shapes of its statistics at train={train}: keep them')
  return variables['params'], outputs


def _check_shapes(outputs: Any, classes: int) -> None:
  if not isinstance(outputs, Outputs | LogitsOnly):
    raise _Fault(f'returns {_kind(outputs)} from __call__ and not Outputs or LogitsOnly')
  for path, leaf in jax.tree_util.tree_leaves_with_path(outputs):
    name = jax.tree_util.keystr(path).lstrip('.')
    if not jnp.issubdtype(leaf.dtype, jnp.floating) or leaf.dtype.itemsize < 4:
      raise _Fault(f'returns {name} in {leaf.dtype}: outputs are float32 or wider')
    if not leaf.shape or leaf.shape[0] != _BATCH:
      raise _Fault(f'returns {name} of shape {_letters(leaf)}: the batch comes first, [B, …]')
  if outputs.logits.shape != (_BATCH, classes):
    shape = _letters(outputs.logits)
    raise _Fault(f'returns logits of shape {shape}: for {classes} classes they are [B, {classes}]')
  if isinstance(outputs, LogitsOnly):
    return
  if not isinstance(outputs.features, tuple) or not outputs.features:
    raise _Fault('returns no tuple of features: give a map for each stage, or LogitsOnly(logits)')
  if not isinstance(outputs.layers, dict):
    raise _Fault(f'returns {_kind(outputs.layers)} for layers: they are a dict of maps by name')
  features = {f'features[{number}]': leaf for number, leaf in enumerate(outputs.features)}
  for name, leaf in (features | outputs.layers).items():
    if getattr(leaf, 'ndim', 0) != 4:
      raise _Fault(f'returns {name} of shape {_letters(leaf)}: a map is [B, H, W, C]')
  if getattr(outputs.embedding, 'ndim', 0) != 2:
    raise _Fault(f'returns an embedding of shape {_letters(outputs.embedding)}: it is [B, D]')


def _check_norms(network: Network, params: PyTree, outputs: Outputs | LogitsOnly) -> None:
  norms = network.norms
  if not norms:
    return
  if isinstance(outputs, LogitsOnly) or len(norms) != len(outputs.features):
    raise _Fault(f'names {len(norms)} norms: it is one for each feature, or none')
  for path, feature in zip(norms, outputs.features, strict=True):
    try:
      norm = functools.reduce(lambda node, name: node[name], path, params)
      shapes = {norm['scale'].shape, norm['bias'].shape}
    except (KeyError, TypeError) as error:
      raise _Fault(f'names the norm {path}, and no scale and bias lie there') from error
    if shapes != {feature.shape[-1:]}:
      raise _Fault(f'names the norm {path}, which has other channels than the feature after it')


def _tried(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
  try:
    return function(*arguments)
  except KdJaxError:
    raise
  except Exception as error:  # the user's code may raise anything
    raise _Fault(f'{what}: {factories.located(error)}') from error


def _kind(value: Any) -> str:
  name = type(value).__name__
  return f'{"an" if name[0] in "aeiou" else "a"} {name}'


def _shapes(tree: PyTree) -> PyTree:
  return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def _letters(leaf: Any) -> str:
  shape = getattr(leaf, 'shape', None)
  if shape is None:
    return _kind(leaf)
  return '[' + ', '.join('B' if size == _BATCH else str(size) for size in shape) + ']'
