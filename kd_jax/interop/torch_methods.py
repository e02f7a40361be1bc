"""The methods' losses in PyTorch, written from the mathematics: the other side of the live crosscheck, and of the benchmarks.

Each takes (student {view: Outputs}, teacher {view: Outputs}, label, connected) → the loss, with the paper's weights; `connected`
are the student's features after their connectors, for the methods that have some. Needs torch and no jax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_jax.interop import torch_peer
from kd_jax.interop.torch_peer import Outputs

Views = Mapping[str, Outputs]


class Connectors(nn.Module):
  """A 1×1 convolution with BatchNorm for each stage."""

  def __init__(self, inward: Sequence[int], outward: Sequence[int]):
    super().__init__()
    pairs = list(zip(inward, outward, strict=True))
    self.convs = nn.ModuleList(nn.Conv2d(i, o, 1, bias=False) for i, o in pairs)
    self.norms = nn.ModuleList(nn.BatchNorm2d(o) for _, o in pairs)

  def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
    return [norm(conv(f)) for f, conv, norm in zip(features, self.convs, self.norms, strict=True)]


def nokd(student: Views, teacher: Views, label: Tensor, connected: Sequence[Tensor]) -> Tensor:
  return torch_peer.nokd(student['weak'].logits, label)


def kd(student: Views, teacher: Views, label: Tensor, connected: Sequence[Tensor]) -> Tensor:
  return torch_peer.kd(student['weak'].logits, teacher['weak'].logits, label)


def uda(student: Views, teacher: Views, label: Tensor, connected: Sequence[Tensor]) -> Tensor:
  return sum(torch_peer.kd(student[view].logits, teacher[view].logits, label) for view in student)


def rkd(student: Views, teacher: Views, label: Tensor, connected: Sequence[Tensor]) -> Tensor:
  ours, theirs = student['weak'].embedding, teacher['weak'].embedding
  relations = 25 * F.smooth_l1_loss(_distances(ours), _distances(theirs)) + 50 * F.smooth_l1_loss(_angles(ours), _angles(theirs))
  return kd(student, teacher, label, connected) + relations


def pkd(student: Views, teacher: Views, label: Tensor, connected: Sequence[Tensor]) -> Tensor:
  pairs = list(zip(student['weak'].features, teacher['weak'].features, strict=True))[:-1]
  patient = sum((F.normalize(s.flatten(1)) - F.normalize(t.flatten(1))).square().sum() for s, t in pairs) / len(label)
  return kd(student, teacher, label, connected) + 500 / 768 * patient


def sfd(student: Views, teacher: Views, label: Tensor, connected: Sequence[Tensor]) -> Tensor:
  """For a student of one block a stage: each meets the last block of the teacher's stage."""
  ours, theirs = student['weak'].layers, teacher['weak'].layers
  last = {name.split('_')[0]: name for name in theirs if name.startswith('stage')}  # later blocks overwrite earlier ones
  return nokd(student, teacher, label, connected) + sum(
    F.mse_loss(ours[name], theirs[last.get(name.split('_')[0], name)]) for name in ours)  # fmt: skip


def ab(student: Views, teacher: Views, label: Tensor, connected: Sequence[Tensor]) -> Tensor:
  def boundary(s: Tensor, t: Tensor) -> Tensor:
    return ((s + 1) ** 2 * ((s > -1) & (t <= 0)) + (s - 1) ** 2 * ((s <= 1) & (t > 0))).sum()

  return 3 / 1000 * _staged(boundary, connected, teacher['weak'].features) / len(label)


def oh(margins: Sequence[Tensor]) -> Callable[..., Tensor]:
  """The loss for the margins of the teacher's stages, [C] each."""
  waiting = [margin.reshape(1, -1, 1, 1) for margin in margins]

  def loss(student: Views, teacher: Views, label: Tensor, connected: Sequence[Tensor]) -> Tensor:
    def partial(s: Tensor, t: Tensor) -> Tensor:
      return ((s - t) ** 2 * ((s > t) | (t > 0))).sum()

    targets = [torch.maximum(t, m) for t, m in zip(teacher['weak'].features, waiting, strict=True)]
    return nokd(student, teacher, label, connected) + 1e-3 * _staged(partial, connected, targets) / len(label)

  return loss


def margin(norm: nn.BatchNorm2d) -> Tensor:
  """The mean of what a BatchNorm leaves negative, a value a channel: E[x | x < 0] of a normal distribution."""
  deviation, mean = norm.weight.detach().abs(), norm.bias.detach()
  density = torch.exp(-((mean / deviation) ** 2) / 2) / math.sqrt(2 * math.pi)
  negative = torch.special.ndtr(-mean / deviation)
  return torch.where(negative > 0.001, mean - deviation * density / negative, -3 * deviation)


LOSSES: dict[str, Callable[..., Tensor]] = {'nokd': nokd, 'kd': kd, 'rkd': rkd, 'ab': ab, 'sfd': sfd, 'pkd': pkd, 'uda': uda}
CONNECTED = ('ab', 'oh')
VIEWS = {'uda': ('weak', 'strong')}  # the others see one, 'weak'


class Lesson(nn.Module):
  """A student under a method, with the connectors that the method adds: (views, taught, label) → the loss.

  `views` maps a view's name to its images f32[B, C, H, W], all of which the student sees in one batch; `taught` has the teacher's
  Outputs of each. The teacher given here, None for NOKD, is only looked at: OH takes its margins from it. `widths` are the channels
  of its stages and of the student's.
  """

  def __init__(self, name: str, student: nn.Module, teacher: nn.Module | None, *, widths: Sequence[int] = (16, 32, 64)):
    super().__init__()
    self.student = student
    self.connectors = Connectors(widths, widths) if name in CONNECTED else None
    if name == 'oh':
      self.loss = oh([margin(getattr(teacher, stage)[-1].bn2) for stage in teacher.stages])
    else:
      self.loss = LOSSES[name]

  def forward(self, views: Mapping[str, Tensor], taught: Views, label: Tensor) -> Tensor:
    images = list(views.values())
    seen = self.student(torch.cat(images) if len(images) > 1 else images[0])
    student = {view: _part(seen, number, len(images)) for number, view in enumerate(views)}
    connected = self.connectors(student['weak'].features) if self.connectors is not None else ()
    return self.loss(student, taught, label, connected)


def _part(outputs: Outputs, number: int, parts: int) -> Outputs:
  """One view's share of the outputs of several in one batch."""

  def cut(x: Tensor) -> Tensor:
    return x.chunk(parts)[number]

  return Outputs(cut(outputs.logits), tuple(cut(f) for f in outputs.features), {k: cut(v) for k, v in outputs.layers.items()},
                 cut(outputs.embedding))  # fmt: skip


def _staged(compare: Callable[[Tensor, Tensor], Tensor], ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
  count = len(ours)
  return sum(compare(s, t) / 2 ** (count - 1 - i) for i, (s, t) in enumerate(zip(ours, theirs, strict=True)))


def _distances(e: Tensor) -> Tensor:
  squares = ((e[:, None] - e[None]) ** 2).sum(-1)
  d = squares.clamp(min=1e-12).sqrt() * (1 - torch.eye(len(e), dtype=e.dtype, device=e.device))
  return d / d[d > 0].mean()


def _angles(e: Tensor) -> Tensor:
  sides = F.normalize(e[None] - e[:, None], dim=2)
  return sides @ sides.transpose(1, 2)
