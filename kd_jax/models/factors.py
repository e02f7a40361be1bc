"""The modules of factor transfer: stacks of 3×3 convolutions, and a teacher that has one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Key

from kd_jax.models.convolution import Convolution
from kd_jax.models.layers import BatchNorm
from kd_jax.types import Outputs, PyTree

PARAPHRASER = 'paraphraser'  # the name of its parameters among a teacher's


class Stack(nn.Module):
  """Convolutions of 3×3 with a bias, each followed by BatchNorm where `normalised`, and by
  max(x, x/10).
  """

  widths: tuple[int, ...]  # of each convolution
  normalised: bool = False
  dtype: str = 'float32'
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C'], *, train: bool
  ) -> Float[Array, 'B H W {self.widths[-1]}']:
    for number, width in enumerate(self.widths, 1):
      x = Convolution(width, 3, dtype=self.dtype, bias=True, name=f'conv{number}')(x)
      if self.normalised:
        norm = BatchNorm(dtype=self.dtype, axis_name=self.axis_name, name=f'norm{number}')
        x = norm(x, train=train)
      x = nn.leaky_relu(x, 0.1)
    return x


class Paraphraser(nn.Module):
  """An encoder of a map into `factors` channels, and a decoder back.

  Each has three convolutions, without BatchNorm. A transposed convolution of stride 1, as its
  authors' decoder has, is a convolution.
  """

  factors: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(
    self, x: Float[Array, 'B H W C'], *, train: bool
  ) -> tuple[Float[Array, 'B H W {self.factors}'], Float[Array, 'B H W C']]:
    width, few = x.shape[-1], self.factors
    factor = Stack((width, few, few), dtype=self.dtype, name='encoder')(x, train=train)
    return factor, Stack((few, width, width), dtype=self.dtype, name='decoder')(factor, train=train)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paraphrased:
  """A network's module, among whose parameters are those of a paraphraser of its last map.

  It computes what the module computes, which does not look at them.
  """

  module: Any  # a flax.linen.Module
  share: float  # of the channels, as `factors` takes it

  def init(self, key: Key[Array, ''], image: Array, *, train: bool) -> dict[str, PyTree]:
    """Return fresh variables of both."""
    own = self.module.init(key, image, train=train)
    last = nn.relu(self.module.apply(own, image, train=False).features[-1])
    made = paraphraser(last, self.share).init(jax.random.fold_in(key, 1), last, train=False)
    return {**own, 'params': {**own['params'], PARAPHRASER: made['params']}}

  def apply(self, variables: Mapping[str, PyTree], image: Array, **how: Any) -> Outputs | Any:
    """Return what the module returns."""
    return self.module.apply(variables, image, **how)

  def clone(self, **fields: Any) -> Paraphrased:
    """Return the same around a module with other fields."""
    return dataclasses.replace(self, module=self.module.clone(**fields))


def factors(width: int, share: float) -> int:
  """Return the channels of a factor of a map: a share of the map's, and at least one."""
  return max(int(width * share), 1)


def paraphraser(map_: Float[Array, 'B H W C'], share: float) -> Paraphraser:
  """Return the paraphraser of a map."""
  return Paraphraser(factors(map_.shape[-1], share), str(map_.dtype))
