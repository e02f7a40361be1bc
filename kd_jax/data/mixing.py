"""Soft labels: label smoothing, mixup and cutmix of a batch, for every view alike.

Teachers and students see the same mixture ("consistent teaching", Beyer et al. 2022, "Knowledge
distillation: A good teacher is patient and consistent"). An image's partner is chosen in the global
batch, among the images of its own source, so that the draws do not depend on the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, Key

from kd_jax.losses import reduce
from kd_jax.types import ConfigError

Views = dict[str, Array]  # f32[B, H, W, C]


class Mixed(NamedTuple):
  """What a batch becomes."""

  views: Views
  label: Int32[Array, ' B']  # of the picture that has the greater part
  target: Float32[Array, 'B K']  # 0 throughout where there is no label


# (key, views, labels, positions in the global batch, device axis) → Mixed
Mix = Callable[[Array, Views, Array, Array, str | None], Mixed]


@dataclass(frozen=True, kw_only=True)
class Mixing:
  """How labels are softened and images mixed; the defaults leave both alone."""

  label_smoothing: float = 0.0  # ε, in [0, 1)
  mixup: float = 0.0  # α of the Beta distribution of λ; 0: none
  cutmix: float = 0.0  # likewise

  def __bool__(self) -> bool:
    return self != Mixing()


def mix(mixing: Mixing, *, classes: int, shares: Mapping[str, int]) -> Mix:
  """Return a function of a batch, to be compiled.

  Mixup (Zhang et al. 2018): λ x + (1 − λ) x', one λ ~ Beta(α, α) a batch. Cutmix (Yun et al. 2019):
  x' within one box a batch, whose sides are √(1 − λ) of the image's and whose centre is uniform; λ
  is what is left of x. With both, each batch has one of them with probability ½ (as timm). Label
  smoothing (Szegedy et al. 2016): (1 − ε) onehot + ε/K, before they are mixed.

  Args:
    mixing: what to do.
    classes: K.
    shares: images of each source in the global batch, in order; partners mirror each other there.
  """
  mixes = bool(mixing.mixup or mixing.cutmix)
  partner = _partners(tuple(shares.values()))

  def apply(
    key: Key[Array, ''],
    views: Views,
    label: Int32[Array, ' B'],
    position: Int32[Array, ' B'],
    axis: str | None,
  ) -> Mixed:
    target = smoothed(label, classes, mixing.label_smoothing)
    if not mixes:
      return Mixed(views, label, target)
    rows = _rows(jnp.asarray(partner), position, axis)
    box_key, share_key, kind_key = jax.random.split(key, 3)
    height, width = next(iter(views.values())).shape[1:3]
    own, share = _kept(mixing, share_key, box_key, kind_key, height, width)

    def mixed(image: Array) -> Array:
      other = _taken(image, rows, axis)
      part = own[None, :, :, None].astype(image.dtype)
      return part * image + (1 - part) * other

    return Mixed(
      {name: mixed(image) for name, image in views.items()},
      jnp.where(share >= 0.5, label, _taken(label, rows, axis)),
      share * target + (1 - share) * _taken(target, rows, axis),
    )

  return apply


def smoothed(label: Int32[Array, ' B'], classes: int, smoothing: float) -> Float32[Array, 'B K']:
  """Return (1 − ε) onehot + ε/K; 0 throughout where the label is −1."""
  soft = (1 - smoothing) * jax.nn.one_hot(label, classes) + smoothing / classes
  return jnp.where(label[:, None] >= 0, soft, 0)


def check(name: str, value: float) -> None:
  """Raise ConfigError where a value of `Mixing` is out of range."""
  if name == 'label_smoothing' and not 0 <= value < 1:
    raise ConfigError(f'label_smoothing lies in [0, 1), not {value}')
  if name in ('mixup', 'cutmix') and not 0 <= value < float('inf'):
    raise ConfigError(f'{name} is α of a Beta distribution, at least 0 (0: none), not {value}')


def _kept(
  mixing: Mixing, share_key: Array, box_key: Array, kind_key: Array, height: int, width: int
) -> tuple[Array, Array]:
  """Return how much of each pixel stays, f32[H, W], and of the label, f32[]."""

  def drawn(alpha: float) -> Array:
    return jax.random.beta(share_key, alpha, alpha, dtype=jnp.float32)

  faded = boxed = jnp.ones((height, width), jnp.float32)
  if mixing.mixup:
    faded = faded * drawn(mixing.mixup)
  if mixing.cutmix:
    boxed = outside(box_key, drawn(mixing.cutmix), height, width)
  if not (mixing.mixup and mixing.cutmix):
    kept = faded if mixing.mixup else boxed
  else:
    kept = jnp.where(jax.random.bernoulli(kind_key), boxed, faded)
  return kept, kept.mean()


def outside(key: Key[Array, ''], share: Array, height: int, width: int) -> Float32[Array, 'H W']:
  """Return 0 within a box of the share 1 − λ of the pixels, less what lies beyond the edge, and 1
  outside of it.
  """
  side = jnp.sqrt(1 - share)
  centre = jax.random.uniform(key, (2,))

  def inside(number: int, length: int) -> Array:
    half = side * length / 2
    at = jnp.arange(length, dtype=jnp.float32)
    middle = jnp.floor(centre[number] * length)
    return (at >= middle - jnp.floor(half)) & (at < middle + jnp.floor(half))

  box = inside(0, height)[:, None] & inside(1, width)[None, :]
  return 1 - box.astype(jnp.float32)


def _partners(shares: tuple[int, ...]) -> np.ndarray:
  """Return i32[B], the position of each position's partner: the first of a source with its last."""
  ends = np.cumsum(shares)
  return np.concatenate(
    [np.arange(end - 1, end - share - 1, -1) for end, share in zip(ends, shares, strict=True)]
  ).astype(np.int32)


def _rows(partner: Array, position: Array, axis: str | None) -> Array:
  """Return i32[b], the rows of the whole batch in which the partners of a device's images lie."""
  everywhere = reduce.whole(position, axis)
  row_of = (
    jnp.zeros_like(everywhere)
    .at[everywhere]
    .set(jnp.arange(len(everywhere), dtype=everywhere.dtype))
  )
  return row_of[partner[position]]


def _taken(array: Array, rows: Array, axis: str | None) -> Array:
  return reduce.whole(array, axis)[rows]
