"""Augmentation by a number that is kept: an image's view v is the same wherever it is drawn.

A table of a teacher's embeddings needs nothing of a view but its number, whatever the augmentation
is, and no pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32

from kd_jax.data.augment import Images, Policy
from kd_jax.data.cropping import Cropped


def views(policy: Policy, *, seed: int) -> Callable[[Array, Array, Array], Array]:
  """Return a function (images u8[B, H, W, C], their numbers i32[B], numbers of views i32[B]) → the
  images in these views.

  A view is drawn by the seed, the image's number and its own alone.

  Args:
    policy: the augmentation.
    seed: of all views.
  """
  key = jax.random.key(seed)

  def drawn(images: Images, example: Int32[Array, ' B'], view: Int32[Array, ' B']) -> Cropped:
    def own(example: Array, view: Array) -> Array:
      return jax.random.fold_in(jax.random.fold_in(key, example), view)

    return policy(jax.vmap(own)(jnp.asarray(example), jnp.asarray(view)), images)

  return drawn
