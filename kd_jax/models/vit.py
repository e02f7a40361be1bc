"""Vision transformers: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", in the sizes of
Touvron et al. 2021 (DeiT), as timm computes them.

The side of a patch follows from the images, so that there are at most 14 patches a side up to 224
pixels: 4 for sides up to 56, 8 up to 112, and 16 above. All maps are of one size, h×w patches.
A network of the table has no dropout and no stochastic depth. A factory of one's own asks for them:

    def regularised(spec):
      return Network(spec, *vit(spec, width=192, depth=12, heads=3, stochastic_depth=0.1))
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.models.initial import wide
from kd_jax.models.layers import normalise, outputs
from kd_jax.models.norms import LayerNorm
from kd_jax.models.patches import Patches
from kd_jax.types import ConfigError, NetworkSpec, Outputs, Path

POOLINGS = ('token', 'mean')
DISTILLATION_TOKEN = 'distillation_token'
_STAGES = 4  # features, evenly over the depth
_draw = nn.initializers.normal(0.02)


class Block(nn.Module):
  """Attention and a perceptron, each added to its input, after a LayerNorm (pre-norm).

  Stochastic depth leaves either out, for an example by itself: Huang et al. 2016.
  """

  heads: int
  dropout: float
  stochastic_depth: float
  dtype: str

  @nn.compact
  def __call__(self, x: Float[Array, 'B N D'], *, train: bool) -> Float[Array, 'B N D']:
    width = x.shape[-1]

    def drop(y: Array) -> Array:
      return nn.Dropout(self.dropout)(y, deterministic=not train)

    def branch(y: Array) -> Array:
      rare = nn.Dropout(
        self.stochastic_depth, broadcast_dims=(1, 2), rng_collection='stochastic_depth'
      )
      return rare(y, deterministic=not train)

    y = LayerNorm(dtype=self.dtype, name='norm1')(x)
    parts = linear(3 * width, self.dtype, 'qkv')(y).reshape(*y.shape[:2], 3, self.heads, -1)
    y = attention(*(parts[:, :, part] for part in range(3)))
    x = x + branch(drop(linear(width, self.dtype, 'projection')(y.reshape(x.shape))))
    y = linear(4 * width, self.dtype, 'mlp1')(LayerNorm(dtype=self.dtype, name='norm2')(x))
    y = linear(width, self.dtype, 'mlp2')(drop(nn.gelu(y, approximate=False)))
    return x + branch(drop(y))


class VisionTransformer(nn.Module):
  """A vision transformer, of images in [0, 1].

  Features are the patches' tokens after each quarter of the depth. Layers are patches, which are
  before the position is added, and block1, block2 and so on; with a distillation token its output,
  too, f32[B, 1, 1, D]. The embedding is the class token after
  the last LayerNorm, or the mean of all tokens there, where there is no class token.
  """

  spec: NetworkSpec
  patch: int
  width: int
  depth: int
  heads: int
  pooling: str = 'token'
  dropout: float = 0.0
  stochastic_depth: float = 0.0  # of the last block; it rises from 0 at the first
  # whether there is a second token beside the class token, for a classifier of a method's own
  distilled: bool = False
  axis_name: str | None = None  # as every network has it; nothing here crosses devices

  @nn.compact
  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> Outputs:
    dtype = self.spec.compute_dtype
    image = normalise(image, self.spec.mean, self.spec.std, dtype)
    patches = Patches(self.width, self.patch, dtype, name='patches')(image)
    layers = {'patches': patches}
    features = []
    tokens = patches.reshape(patches.shape[0], -1, self.width)
    own = ['class_token'] if self.pooling == 'token' else []
    own += [DISTILLATION_TOKEN] if self.distilled else []
    for name in reversed(own):
      token = self.param(name, _draw, (1, 1, self.width), wide(dtype))
      token = jnp.broadcast_to(token.astype(dtype), (tokens.shape[0], 1, self.width))
      tokens = jnp.concatenate([token, tokens], 1)
    position = self.param('position', _draw, (1, *tokens.shape[1:]), wide(dtype))
    x = tokens + position.astype(dtype)
    x = nn.Dropout(self.dropout)(x, deterministic=not train)
    for number in range(1, self.depth + 1):
      left_out = self.stochastic_depth * (number - 1) / max(self.depth - 1, 1)
      block = Block(self.heads, self.dropout, left_out, dtype, name=f'block{number}')
      x = block(x, train=train)
      layers[f'block{number}'] = x[:, len(own) :].reshape(patches.shape)
      if number in ends(self.depth):
        features.append(layers[f'block{number}'])
    x = LayerNorm(dtype=dtype, name='final_norm')(x)
    embedding = x[:, 0] if own else x.mean(1)
    if self.distilled:
      layers[DISTILLATION_TOKEN] = x[:, 1][:, None, None]
    logits = linear(self.spec.classes, dtype, 'head')(embedding)
    return outputs(logits, features, layers, embedding, dtype)


def vit(
  spec: NetworkSpec,
  *,
  width: int,
  depth: int,
  heads: int,
  patch: int | None = None,
  pooling: str = 'token',
  dropout: float = 0.0,
  stochastic_depth: float = 0.0,
  distilled: bool = False,
) -> tuple[nn.Module, tuple[Path, ...], tuple[str, ...]]:
  """Return the module, no norms (it has no BatchNorm), and the streams that it draws from.

  Args:
    spec: of the network.
    width: D of a token, a multiple of `heads`.
    depth: the number of blocks.
    heads: of each attention.
    patch: side of a patch in pixels; by default what `patch_side` gives.
    pooling: 'token', the class token, or 'mean' of all tokens, without a class token, as Beyer et
      al. 2022 have it.
    dropout: of the position's sum and of every dense layer's output but the queries', keys' and
      values', in [0, 1).
    stochastic_depth: how often the last block's branches are left out, in [0, 1).
    distilled: whether it has a distillation token, as Touvron et al. 2021 have it; beside the class
      token alone. kd_jax.methods.deit learns by it.

  Raises:
    ConfigError: an option is out of its range, or patches do not cover the images.
  """
  patch = patch or patch_side(spec.image_shape)
  height, breadth, _ = spec.image_shape
  if height % patch or breadth % patch:
    raise ConfigError(
      f'{spec.name} cuts images into patches of {patch}×{patch} pixels, and these have '
      f'{height}×{breadth}: take images whose sides are multiples of {patch}'
    )
  if width % heads:
    raise ConfigError(
      f'the width of a vit is a multiple of its heads, and {width} is none of {heads}'
    )
  if pooling not in POOLINGS:
    raise ConfigError(
      f"the pooling of a vit is {' or '.join(map(repr, POOLINGS))}, not '{pooling}'"
    )
  if distilled and pooling != 'token':
    raise ConfigError(
      f"a distillation token stands beside a class token: take pooling='token', not '{pooling}'"
    )
  rates = {'dropout': dropout, 'stochastic_depth': stochastic_depth}
  for name, rate in rates.items():
    if not 0 <= rate < 1:
      raise ConfigError(f'{name} of a vit is a share from 0 to less than 1, not {rate}')
  module = VisionTransformer(
    spec, patch, width, depth, heads, pooling, dropout, stochastic_depth, distilled
  )
  return module, (), tuple(name for name, rate in rates.items() if rate)


def patch_side(image_shape: tuple[int, int, int]) -> int:
  """Return the side of a patch: 4 for images of up to 56 pixels a side, 8 up to 112, else 16."""
  longer = max(image_shape[:2])
  return next((side for side in (4, 8) if longer <= 14 * side), 16)


def ends(depth: int) -> tuple[int, ...]:
  """Return the numbers, from 1, of the blocks whose maps are features: the end of each quarter."""
  return tuple(sorted({-(-depth * stage // _STAGES) for stage in range(1, _STAGES + 1)}))


def attention(
  query: Float[Array, 'B N heads d'],
  key: Float[Array, 'B N heads d'],
  value: Float[Array, 'B N heads d'],
) -> Float[Array, 'B N heads d']:
  """Return softmax(q · k / √d) · v of each head, the softmax in float32 or wider."""
  scores = jnp.einsum('bqhd,bkhd->bhqk', query, key).astype(wide(query.dtype))
  shares = jax.nn.softmax(scores * query.shape[-1] ** -0.5).astype(value.dtype)
  return jnp.einsum('bhqk,bkhd->bqhd', shares, value)


def linear(width: int, dtype: str, name: str) -> nn.Dense:
  """Return a dense layer, drawn from N(0, 0.02²) with a bias of 0, as timm and DeiT do."""
  return nn.Dense(width, dtype=dtype, param_dtype=wide(dtype), kernel_init=_draw, name=name)
