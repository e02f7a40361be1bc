"""The review of ReviewKD: a student's maps fused from the deepest up to those of the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.layers import BatchNorm, dense

_drawn = nn.initializers.lecun_uniform()  # the authors' kaiming_uniform_(a=1)


class Review(nn.Module):
  """What the student's maps become, one for each of the teacher's.

  `widths` are those of the teacher's maps, `middle` is that of the fusion.
  """

  widths: tuple[int, ...]
  middle: int
  dtype: str = 'float32'
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, maps: Sequence[Float[Array, 'B _ _ _']], sizes: Sequence[tuple[int, int]], *, train: bool
  ) -> tuple[Float[Array, 'B _ _ _'], ...]:
    """Return a map for each of `maps`, which go from shallow to deep, in the height and width that
    `sizes` has.
    """
    made: list[Array] = []
    deeper = None
    for number in reversed(range(len(maps))):
      block = Fusion(
        self.widths[number], self.middle, self.dtype, self.axis_name, name=f'map{number + 1}'
      )
      output, deeper = block(maps[number], deeper, sizes[number], train=train)
      made.insert(0, output)
    return tuple(made)


class Fusion(nn.Module):
  """x = BN(1×1 conv(map)); with [a, b] = σ(1×1 conv([x, y])) it becomes a·x + b·y, y what came of
  the deeper maps; then it takes the teacher's size, and the output is BN(3×3 conv(x)).

  Sizes change to the nearest place. Returns the output, and x for the next map.
  """

  width: int
  middle: int
  dtype: str
  axis_name: str | None

  @nn.compact
  def __call__(
    self,
    map_: Float[Array, 'B H W C'],
    deeper: Float[Array, 'B h w M'] | None,
    size: tuple[int, int],
    *,
    train: bool,
  ) -> tuple[Float[Array, 'B {size[0]} {size[1]} {self.width}'], Float[Array, 'B _ _ M']]:
    def convolved(x: Array, width: int, side: int, number: int) -> Array:
      convolution = Convolution(width, side, dtype=self.dtype, drawn=_drawn, name=f'conv{number}')
      norm = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=f'norm{number}')
      return norm(convolution(x), train=train)

    x = convolved(map_, self.middle, 1, 1)
    if deeper is not None:
      y = nearest(deeper, (x.shape[1], x.shape[2]))
      both = jnp.concatenate([x, y], -1)
      attention = dense(2, fan_in=2 * self.middle, dtype=self.dtype, name='attention')
      share = jax.nn.sigmoid(attention(both))
      x = share[..., :1] * x + share[..., 1:] * y
    x = nearest(x, size)
    return convolved(x, self.width, 3, 2), x


def nearest(
  feature: Float[Array, 'B H W C'], size: tuple[int, int]
) -> Float[Array, 'B {size[0]} {size[1]} C']:
  """Return a map in another height and width: place i shows place floor(i · H / size[0]), as
  torch's `interpolate(mode='nearest')`.
  """
  for axis, wanted in enumerate(size, 1):
    length = feature.shape[axis]
    if wanted % length == 0:  # its gradient is a sum, which is quicker than that of `take`
      feature = jnp.repeat(feature, wanted // length, axis)
    else:
      feature = jnp.take(feature, jnp.arange(wanted) * length // wanted, axis)
  return feature
