"""From one value an example to the scalar that is trained on, alike on one device and on many.

Under a named device axis a term is scaled so that its *mean over the devices* is its value on the
global batch. Gradients are averaged over the devices, too, so that the rule holds for both. Every
method keeps it by ending in `mean`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def whole(array: Array, axis: str | None) -> Array:
  """Return the rows of all devices, [B, …] of the global batch: what is compared over the batch,
  what a memory bank takes in, and what is mixed.
  """
  return array if axis is None else jax.lax.all_gather(array, axis, tiled=True)


def mean(
  values: Float[Array, ' B'], *, mask: Float[Array, ' B'] | None = None, axis: str | None = None
) -> Float[Array, '']:
  """Return the mean over the examples that `mask` keeps, or over all, in the global batch.

  Args:
    values: one loss an example; may be anything, NaN included, where the mask is 0.
    mask: 1 for an example that counts and 0 for one that does not; None: all count. An empty mask
      gives 0.
    axis: the name of the device axis, if there is one.
  """
  mask = jnp.ones_like(values) if mask is None else mask.astype(values.dtype)
  count = mask.sum()
  if axis is not None:
    count = jax.lax.pmean(count, axis)
  return jnp.where(mask > 0, values * mask, 0).sum() / jnp.where(count > 0, count, 1)
