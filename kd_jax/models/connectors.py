"""Small trained modules that bring a student's feature maps to a teacher's widths (AB, overhaul,
FitNet) and sizes (SFD).
"""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
from jaxtyping import Array, Float

from kd_jax.models.convolution import Convolution
from kd_jax.models.initial import outward_normal, torch_uniform, wide
from kd_jax.models.layers import BatchNorm

DRAWS = {'uniform': torch_uniform, 'normal': outward_normal}  # how a connector's kernel begins


class Connectors(nn.Module):
  """One 1×1 convolution a feature, without bias, followed by BatchNorm where `normalised`.

  `identity` names the features that pass as they are; `drawn` is one of DRAWS.
  """

  widths: tuple[int, ...]
  normalised: bool = True
  identity: tuple[int, ...] = ()
  drawn: str = 'uniform'
  dtype: str = 'float32'
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, features: tuple[Float[Array, 'B _ _ _'], ...], *, train: bool
  ) -> tuple[Float[Array, 'B _ _ _'], ...]:
    made = []
    for number, (feature, width) in enumerate(zip(features, self.widths, strict=True)):
      if number not in self.identity:
        feature = Convolution(
          width, kernel=1, dtype=self.dtype, drawn=DRAWS[self.drawn], name=f'conv{number + 1}'
        )(feature)
        if self.normalised:
          norm = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=f'norm{number + 1}')
          feature = norm(feature, train=train)
      made.append(feature)
    return tuple(made)


class Enlargers(nn.Module):
  """A transposed convolution, without bias, for each map that is smaller than it should be.

  Its windows lie side by side. `shapes` maps names to (r, C): the map [B, H, W, …] becomes
  [B, H·r, W·r, C].
  """

  shapes: tuple[tuple[str, tuple[int, int]], ...]
  dtype: str = 'float32'

  @nn.compact
  def __call__(
    self, maps: Mapping[str, Float[Array, 'B _ _ _']]
  ) -> dict[str, Float[Array, 'B _ _ _']]:
    return {
      name: nn.ConvTranspose(
        width,
        (factor, factor),
        (factor, factor),
        'VALID',
        use_bias=False,
        dtype=self.dtype,
        param_dtype=wide(self.dtype),
        kernel_init=torch_uniform,
        name=name,
      )(maps[name])
      for name, (factor, width) in self.shapes
    }
