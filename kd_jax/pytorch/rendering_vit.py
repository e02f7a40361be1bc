"""The vision transformers of kd_jax.models.vit in PyTorch, under timm's names. Needs torch and no
jax.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_jax.pytorch.rendering_base import Normalised, Outputs

WIDTHS_AND_HEADS = {'vit_tiny': (192, 3), 'vit_small': (384, 6), 'vit_base': (768, 12)}
DISTILLED = '_distilled'  # the end of the names of those with a distillation token
_DEPTH, _STAGES, _EPSILON = 12, 4, 1e-6


class Attention(nn.Module):
  """Self-attention of several heads, whose queries, keys and values are one dense layer."""

  def __init__(self, width: int, heads: int):
    super().__init__()
    self.heads = heads
    self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

  def forward(self, x: Tensor) -> Tensor:
    # [3, B, heads, N, d]
    parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
    return self.proj(y.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
  """Two dense layers with the exact GELU between them."""

  def __init__(self, width: int):
    super().__init__()
    self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

  def forward(self, x: Tensor) -> Tensor:
    return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
  """Attention and a perceptron, each added to its input, after a LayerNorm."""

  def __init__(self, width: int, heads: int):
    super().__init__()
    self.norm1 = nn.LayerNorm(width, _EPSILON)
    self.attn = Attention(width, heads)
    self.norm2 = nn.LayerNorm(width, _EPSILON)
    self.mlp = Perceptron(width)

  def forward(self, x: Tensor) -> Tensor:
    x = x + self.attn(self.norm1(x))
    return x + self.mlp(self.norm2(x))


class PatchEmbedding(nn.Module):
  """A convolution whose stride is its side."""

  def __init__(self, channels: int, width: int, side: int):
    super().__init__()
    self.proj = nn.Conv2d(channels, width, side, side)

  def forward(self, image: Tensor) -> Tensor:
    return self.proj(image)


class VisionTransformer(Normalised):
  """A vision transformer with a class token, and a distillation token where it is `distilled`."""

  def __init__(
    self,
    *,
    width: int,
    heads: int,
    classes: int,
    image_shape: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    distilled: bool = False,
  ):
    super().__init__(mean, std)
    self.distilled = distilled
    side = next((side for side in (4, 8) if max(image_shape[:2]) <= 14 * side), 16)
    self.patch_embed = PatchEmbedding(image_shape[2], width, side)
    tokens = 1 + distilled + (image_shape[0] // side) * (image_shape[1] // side)
    self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
    if distilled:
      self.dist_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
    self.pos_embed = nn.Parameter(0.02 * torch.randn(1, tokens, width))
    self.blocks = nn.ModuleList(Block(width, heads) for _ in range(_DEPTH))
    self.norm, self.head = nn.LayerNorm(width, _EPSILON), nn.Linear(width, classes)

  def forward(self, image: Tensor) -> Outputs:
    patches = self.patch_embed(self.normalise(image))
    layers = {'patches': patches}
    features = []
    tokens = patches.flatten(2).transpose(1, 2)
    own = [self.cls_token, *([self.dist_token] if self.distilled else [])]
    before = [token.expand(tokens.shape[0], -1, -1) for token in own]
    x = torch.cat([*before, tokens], 1) + self.pos_embed
    for number, block in enumerate(self.blocks, 1):
      x = block(x)
      layers[f'block{number}'] = x[:, len(own) :].transpose(1, 2).reshape(patches.shape)
      if number % (_DEPTH // _STAGES) == 0:
        features.append(layers[f'block{number}'])
    x = self.norm(x)
    if self.distilled:
      layers['distillation_token'] = x[:, 1, :, None, None]
    embedding = x[:, 0]
    return Outputs(self.head(embedding), tuple(features), layers, embedding)
