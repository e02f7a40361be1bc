"""CRD in PyTorch: its dense layers, its memory banks and their loss, from the mathematics. Needs
torch.

The banks' first rows and the negatives of each step are given: chance decides them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_jax.pytorch.rendering import Outputs
from kd_jax.verify.torch_methods import Shown, cross_entropy

EPSILON = 1e-7


class Banks(nn.Module):
  """A dense layer and a bank of vectors for student and teacher, and the rows that a step asks for.

  It gives the two vectors, the two banks [D, N], the rows [B, 1 + k] of the step, an example's own
  the first, and the means of the first step, which are 0 until then.
  """

  def __init__(self, student: nn.Module, teacher: nn.Module):
    super().__init__()
    inward = student.linear.in_features, teacher.linear.in_features
    self.layers = nn.ModuleList(nn.Linear(width, 128) for width in inward)
    for name in ('of_student', 'of_teacher'):
      self.register_buffer(name, torch.zeros(128, 0))
    self.register_buffer('rows', torch.zeros(0, 0, 0, dtype=torch.long))  # [steps, B, 1 + k]
    self.register_buffer('means', torch.zeros(2))
    self.steps = 0

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    outputs = (student, teacher)
    vectors = [
      F.normalize(layer(of.embedding)) for layer, of in zip(self.layers, outputs, strict=True)
    ]
    self.steps += 1
    return [
      *vectors,
      self.of_student,
      self.of_teacher,
      self.rows[(self.steps - 1) % len(self.rows)],
      self.means,
    ]

  def drawn(self) -> list[Tensor]:
    """Return what chance decides: the layers, the banks, the rows."""
    layers = [leaf for layer in self.layers for leaf in (layer.bias, layer.weight)]
    return [*layers, self.of_student, self.of_teacher, self.rows]


def crd(shown: Shown, *, weight: float, temperature: float, keep: float) -> Tensor:
  """Return CE + w · the contrasts of both vectors with the other's bank, and renew the banks."""
  own, teacher, of_own, of_teacher, rows, means = shown.connected
  images = of_own.shape[1]
  total = 0  # a copy of a bank is multiplied, since it is renewed below
  for place, (vectors, bank) in enumerate(((own, of_teacher), (teacher, of_own))):
    near = (vectors @ bank.clone()).gather(1, rows).div(temperature).exp()
    if not means[place]:
      means[place] = near.detach().mean()
    share = near / means[place].item() / images
    noise = (rows.shape[1] - 1) / images
    hit = share[:, 0] / (share[:, 0] + noise + EPSILON)
    misses = noise / (share[:, 1:] + noise + EPSILON)
    total = total - (hit.log() + misses.log().sum(1)).mean()
  with torch.no_grad():
    for vectors, bank in ((own, of_own), (teacher, of_teacher)):
      numbers = rows[:, 0]
      bank[:, numbers] = F.normalize(keep * bank[:, numbers] + (1 - keep) * vectors.T, dim=0)
  return cross_entropy(shown) + weight * total
