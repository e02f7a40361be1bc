"""What the renderings in PyTorch share. Needs torch and no jax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Outputs(NamedTuple):
  """As kd_jax.types.Outputs, with channels before height and width."""

  logits: Tensor  # f32[B, K]
  features: tuple[Tensor, ...]  # f32[B, Ci, Hi, Wi], one a stage, before the stage's ReLU
  layers: dict[str, Tensor]  # under kd_jax's names: stem_conv, stem_norm, stage1_block1, …
  embedding: Tensor  # f32[B, D], what the classifier takes


class Normalised(nn.Module):
  """A network with mean and std that are no buffers: its state dict has published names alone."""

  def __init__(self, mean: Sequence[float], std: Sequence[float]):
    super().__init__()
    self.mean, self.std = tuple(mean), tuple(std)

  def normalise(self, image: Tensor) -> Tensor:
    if not self.mean:
      return image
    mean, std = (image.new_tensor(each).reshape(1, -1, 1, 1) for each in (self.mean, self.std))
    return (image - mean) / std


def conv(inward: int, outward: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
  """Return a square convolution without bias, which pads its input by half of its side."""
  return nn.Conv2d(inward, outward, kernel, stride, kernel // 2, groups=groups, bias=False)
