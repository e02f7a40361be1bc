"""Negatives: for an example, images of other classes, drawn by number."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.types import Array, ConfigError

ROUNDS = 8  # of shuffling


class Classes(NamedTuple):
  """The images that are trained on, in the order of their classes."""

  label: Array  # i32[N], by an image's number; −1 where it is not trained on
  order: Array  # i32[T], the numbers of those trained on, class by class
  first: Array  # i32[K], where a class begins in that order
  others: Array  # i32[K], how many images have another class


def by_class(labels: np.ndarray, classes: int) -> Classes:
  """Return the images by class.

  Args:
    labels: i32[N], by an image's number, −1 where it is not trained on.
    classes: K.

  Raises:
    ConfigError: fewer than two classes have images.
  """
  labels = np.asarray(labels, np.int32)
  order = np.argsort(labels, kind='stable')[np.count_nonzero(labels < 0) :].astype(np.int32)
  counts = np.bincount(labels[order], minlength=classes)
  if np.count_nonzero(counts) < 2:
    raise ConfigError(
      'negatives are images of other classes, and those trained on have one class: take more '
      'images, or a method without negatives'
    )
  first = np.cumsum(counts) - counts
  return Classes(
    *(jnp.asarray(array, jnp.int32) for array in (labels, order, first, len(order) - counts))
  )


def draw(key: Array, example: Array, of: Classes, count: int) -> Array:
  """Return i32[B, count], for each example the numbers of images of other classes.

  They are all different where there are as many; else each comes as often as any other, or once
  more. What an example draws depends on the key and its number alone, and not on its place in the
  batch. An example that is not trained on draws those of the first class.

  Args:
    key: of the step.
    example: i32[B], the numbers of the examples.
    of: the images by class.
    count: of negatives.
  """

  def one(number: Array) -> Array:
    label = jnp.maximum(of.label[number], 0)
    others = of.others[label]
    own = len(of.order) - of.others[label]
    rounds = jax.random.bits(jax.random.fold_in(key, number), (ROUNDS,), 'uint32')
    place = _shuffled(jnp.arange(count, dtype=jnp.int32) % others, others, rounds)
    return of.order[jnp.where(place < of.first[label], place, place + own)]

  return jax.vmap(one)(example)


def _shuffled(place: Array, below: Array, rounds: Array) -> Array:
  """Return π(place), π a permutation of the numbers 0 … below − 1 that the rounds' keys determine.

  A place is a pair (left, right) of digits in base s, s² ≥ below. A round makes it (right, left +
  f(right) mod s), which loses nothing, f a hash: a Feistel network. Where it leads out of the
  numbers, it is followed until it leads back. Nothing is sorted: shuffling all numbers of each
  example would take a hundred times longer.

  Args:
    place: i32[k], each less than below.
    below: i32[], at least 1 and less than 2³⁰.
    rounds: u32[R], a key a round.
  """
  base = jnp.ceil(jnp.sqrt(below.astype(jnp.float32))).astype(jnp.int32)
  base = base + (base * base < below).astype(jnp.int32)  # a root may be rounded down

  def once(place: Array) -> Array:
    left, right = place // base, place % base
    for key in rounds:
      moved = left + _digit(right.astype(jnp.uint32) + key, base)
      left = right
      right = jnp.where(moved < base, moved, moved - base)
    return left * base + right

  def follow(place: Array) -> Array:
    return jnp.where(place < below, place, once(place))

  return jax.lax.while_loop(lambda place: (place >= below).any(), follow, once(place))


def _digit(number: Array, base: Array) -> Array:
  """Return a digit less than the base, of a hash of the number: the last step of MurmurHash3."""
  for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
    number = (number ^ (number >> shift)) * jnp.uint32(factor)
  number = number ^ (number >> 16)
  return (((number >> 16) * base.astype(jnp.uint32)) >> 16).astype(jnp.int32)
