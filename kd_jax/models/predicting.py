"""What stands around a network's module: a method that computes its logits, as through the
classifier of a student's teacher, and what a teacher needs of images and classes that are not its
own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from kd_jax.types import Array, ConfigError, MethodVariables, Network, Outputs, PyTree


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adapted:
  """A module that sees images of another size than it is given, or orders classes otherwise."""

  module: Any  # a flax.linen.Module
  size: tuple[int, int] | None  # height and width that it sees; None: those that it is given
  order: tuple[int, ...]  # place i of the logits has its class order[i]; (): as it numbers them

  def init(self, key: Array, image: Array, **how: Any) -> PyTree:
    """Return fresh variables of the module."""
    return self.module.init(key, self._seen(image), **how)

  def apply(self, variables: Mapping[str, PyTree], image: Array, **how: Any) -> Any:
    """Return what the module returns for the image as it sees it, its logits in this order."""
    outputs = self.module.apply(variables, self._seen(image), **how)
    if not self.order:
      return outputs
    outputs, *changed = outputs if how.get('mutable') else (outputs,)
    outputs = outputs._replace(logits=outputs.logits[:, list(self.order)])
    return (outputs, *changed) if changed else outputs

  def clone(self, **fields: Any) -> Adapted:
    """Return the same around a module with other fields."""
    return dataclasses.replace(self, module=self.module.clone(**fields))

  def _seen(self, image: Array) -> Array:
    """Return f32[B, h, w, C], resized bilinearly, smoothed where it becomes smaller."""
    if self.size is None:
      return image
    return jax.image.resize(image, (image.shape[0], *self.size, image.shape[-1]), 'bilinear')


def adapted(
  network: Network, image_shape: tuple[int, int, int], *, order: Sequence[int] = ()
) -> Network:
  """Return a network that takes images of a shape, whatever it was trained on, and gives its logits
  in an order; itself where that is how it is.

  Raises:
    ConfigError: it takes another number of channels or other proportions, or predicts by a method,
      and in another order.
  """
  height, width, channels = network.spec.image_shape
  if channels != image_shape[2]:
    raise ConfigError(
      f'{network.spec.name} takes images of {channels} channels, and these have {image_shape[2]}'
    )
  if height * image_shape[1] != width * image_shape[0]:
    raise ConfigError(
      f'{network.spec.name} takes images of {height}×{width}, and these, of '
      f'{image_shape[0]}×{image_shape[1]}, have other proportions'
    )
  size = None if (height, width) == tuple(image_shape[:2]) else (height, width)
  if size is None and not order:
    return network
  module = network.module
  if isinstance(module, Predicting):
    if order:
      raise ConfigError(
        f'{network.spec.name} predicts by a method, and numbers the classes in another order: '
        'train a teacher on this data'
      )
    module = dataclasses.replace(module, module=Adapted(module=module.module, size=size, order=()))
  else:
    module = Adapted(module=module, size=size, order=tuple(order))
  spec = network.spec._replace(image_shape=image_shape)
  return network._replace(spec=spec, module=module)


def adaptation(network: Network) -> Adapted | None:
  """Return what stands around a network of other images or classes; None where nothing does."""
  module = bare(network).module
  return module if isinstance(module, Adapted) else None


def adapted_by(network: Network) -> tuple[Any, ...]:
  """Return the size and the order of channels that a network is adapted by; () where it is not."""
  around = adaptation(network)
  return (around.size, around.order) if around else ()


def words(network: Network) -> Iterator[str]:
  """Yield in words what is done for a network of other images or classes."""
  around = adaptation(network)
  if around and around.size:
    given, seen = (f'{h}×{w}' for h, w in (network.spec.image_shape[:2], around.size))
    yield f'images of {given} are resized to the {seen} pixels that it takes (bilinear)'
  if around and around.order:
    yield 'its classes have the names of this data set in another order, and are put into this one'


def seen_shape(network: Network) -> tuple[int, int, int]:
  """Return the height, width and channels of the images as the network itself sees them."""
  around = adaptation(network)
  shape = network.spec.image_shape
  return (*around.size, shape[2]) if around and around.size else shape


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
  """Return a network that predicts as another does, and is adapted as it is."""
  module = other.module
  if isinstance(module, Predicting):
    network = through(network, module.predict, module.made)
  around = adaptation(other)
  return adapted(network, other.spec.image_shape, order=around.order if around else ())
