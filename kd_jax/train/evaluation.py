"""The evaluation step, and how stored images come to it and to the training step."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.losses.logits import cross_entropy
from kd_jax.types import AnyArray, Array, Network, PyTree, Source

Metrics = dict[str, tuple[Array, Array]]  # name → (sum, count)
_ALL = np.float32(1)  # a mask that keeps every example


def evaluation_step(
  network: Network,
  to_unit: Callable[[Array], Array],
  *,
  stored: tuple[int, int] | None = None,
  axis: str | None = None,
) -> Callable[..., Metrics]:
  """Return a function (variables, sources, index, mask f32[B]) → metrics over the examples that the
  mask keeps, to be compiled.

  Args:
    network: to be evaluated.
    to_unit: u8 images to what the network takes.
    stored: height and width of what `to_unit` gets; None: the network's.
    axis: of the devices, where each has its part of the batch.
  """

  def step(
    variables: PyTree, sources: tuple[Source, ...], index: tuple[Array, ...], mask: Array
  ) -> Metrics:
    pixels, labels = gather(sources, index, stored or network.spec.image_shape[:2])
    logits = network.module.apply(variables, to_unit(pixels), train=False).logits
    correct, count = count_correct(logits, labels, mask=mask)
    sums = {
      'accuracy': (correct, count),
      'loss': (jnp.where(mask > 0, cross_entropy(logits, labels), 0).sum(), count),
    }
    return sums if axis is None else jax.lax.psum(sums, axis)

  return step


def gather(
  sources: tuple[Source, ...], index: tuple[AnyArray | None, ...], size: tuple[int, int]
) -> tuple[Array, Array]:
  """Return the chosen images and labels of all sources, one after the other: u8[B, H, W, C],
  i32[B]. None takes a source whole.

  Images of another size than `size`, height and width, are resized to it: unlabelled photographs
  for a network of CIFAR's.
  """

  def take(array: AnyArray, chosen: AnyArray | None) -> AnyArray:
    return array if chosen is None else array[chosen]

  def resized(images: AnyArray) -> AnyArray:
    if images.shape[1:3] == tuple(size):
      return images
    shape = (images.shape[0], *size, images.shape[3])
    scaled = jax.image.resize(images.astype(jnp.float32), shape, 'linear')
    return jnp.clip(jnp.round(scaled), 0, 255).astype(jnp.uint8)

  chosen = list(zip(sources, index, strict=True))
  images = [resized(take(source.image, some)) for source, some in chosen]
  labels = [take(source.label, some) for source, some in chosen]
  return jnp.concatenate(images), jnp.concatenate(labels)


def count_correct(
  logits: Array, labels: Array, *, mask: Array | np.float32 = _ALL
) -> tuple[Array, Array]:
  """Return how many of the labelled examples that a mask keeps are classified right, and how many
  it keeps.
  """
  counted = jnp.where(labels >= 0, mask, 0)
  right = logits.argmax(-1).astype(labels.dtype) == labels
  return jnp.where(right, counted, 0).sum(), counted.sum()
