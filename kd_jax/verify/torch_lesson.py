"""A student in a phase of kd_jax.verify.torch_recipes, with what it trains beside itself.

Needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kd_jax.pytorch.rendering import Outputs
from kd_jax.verify import torch_features as features
from kd_jax.verify.torch_methods import Shown, Views
from kd_jax.verify.torch_modules import MODULES
from kd_jax.verify.torch_recipes import Phase


class Connectors(nn.Module):
  """A 1×1 convolution for each stage, with BatchNorm or without; nothing where a stage passes."""

  def __init__(self, kind: str, inward: Sequence[int], outward: Sequence[int]):
    super().__init__()
    self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
    for before, after in zip(inward, outward):  # noqa: B905 - a teacher may have more stages
      passes = kind == 'other widths' and before == after
      self.convs.append(nn.Identity() if passes else nn.Conv2d(before, after, 1, bias=False))
      self.norms.append(nn.Identity() if passes or kind == 'bare' else nn.BatchNorm2d(after))

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    maps = student.features[: len(self.convs)]
    return [norm(conv(x)) for x, conv, norm in zip(maps, self.convs, self.norms, strict=True)]

  def drawn(self) -> list[nn.Parameter]:
    """Return the parameters whose first values are drawn."""
    return [conv.weight for conv in self.convs if hasattr(conv, 'weight')]


class SecondStage(nn.Module):
  """A 1×1 convolution and BatchNorm from the student's second stage to the teacher's."""

  def __init__(self, inward: int, outward: int):
    super().__init__()
    self.conv = nn.Conv2d(inward, outward, 1, bias=False)
    self.norm = nn.BatchNorm2d(outward)

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    """Pool the map first where it is larger than the teacher's."""
    own = torch.relu(student.features[1])
    size = teacher.features[1].shape[2:]
    smaller = [min(pair) for pair in zip(own.shape[2:], size, strict=True)]
    return [self.norm(self.conv(nn.functional.adaptive_avg_pool2d(own, smaller)))]

  def drawn(self) -> list[nn.Parameter]:
    return [self.conv.weight]


class Dense(nn.Module):
  """A dense layer for the embedding of the student, and one for the teacher's."""

  def __init__(self, inward: int, of_teacher: int):
    super().__init__()
    self.student, self.teacher = nn.Linear(inward, 128), nn.Linear(of_teacher, 128)

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    return [self.student(student.embedding), self.teacher(teacher.embedding)]

  def drawn(self) -> list[nn.Parameter]:
    return [self.student.bias, self.student.weight, self.teacher.bias, self.teacher.weight]


class Temperature(nn.Module):
  """A number that is trained, 1 at first."""

  def __init__(self):
    super().__init__()
    self.theta = nn.Parameter(torch.ones(()))

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    return [self.theta]

  def drawn(self) -> list[nn.Parameter]:
    return []


class Classifier(nn.Module):
  """A second classifier of the student's embedding."""

  def __init__(self, first: nn.Linear):
    super().__init__()
    self.second = nn.Linear(first.in_features, first.out_features)

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    return [self.second(student.embedding)]

  def drawn(self) -> list[nn.Parameter]:
    return [self.second.bias, self.second.weight]


class Lesson(nn.Module):
  """A student in a phase, with the connectors that it adds: (views, teaching, label) → the loss.

  `views` maps a view's name to its images f32[B, C, H, W]; `teaching` has the Outputs of each
  teacher on each of them. Of the teachers given here, connectors take the first's widths and
  overhaul its margins. A companion, where the phase has one, trains, too.
  """

  def __init__(
    self,
    phase: Phase,
    student: nn.Module,
    teachers: Sequence[nn.Module] = (),
    companion: nn.Module | None = None,
  ):
    super().__init__()
    self.phase, self.student, self.companion = phase, student, companion
    self.epoch = self.epochs = 1  # of the phase, as Shown has them
    self.connectors: nn.Module | None = None
    self.margins: tuple[Tensor, ...] = ()
    if phase.connectors:
      self.connectors = _connectors(phase.connectors, student, teachers[0])
      self.margins = tuple(features.margin(norm) for norm in teachers[0].last_norms())

  def forward(
    self, views: Mapping[str, Tensor], teaching: Sequence[Views], label: Tensor
  ) -> Tensor:
    images = list(views.values())
    phase = self.phase
    if phase.joint and len(images) > 1:
      whole = self.student(torch.cat(images))
      student = {view: _part(whole, number, len(images)) for number, view in enumerate(views)}
    else:
      student = {view: self.student(image) for view, image in views.items()}
    shown = Shown(student, teaching, label, margins=self.margins)
    shown = shown._replace(epoch=self.epoch, epochs=self.epochs)
    if self.connectors is not None:
      shown = shown._replace(connected=self.connectors(*shown.pair))
    if self.companion is not None:
      shown = shown._replace(companion=self.companion(images[0]))
    return phase.loss(shown, **phase.weights)


def _connectors(kind: str, student: nn.Module, teacher: nn.Module) -> nn.Module:
  if kind == 'second':
    return SecondStage(student.widths[1], teacher.widths[1])
  if kind == 'temperature':
    return Temperature()
  if kind == 'dense':
    return Dense(student.linear.in_features, teacher.linear.in_features)
  if kind == 'classifier':
    return Classifier(student.linear)
  if kind in MODULES:
    return MODULES[kind](student, teacher)
  return Connectors(kind, student.widths, teacher.widths)


def _part(outputs: Outputs, number: int, parts: int) -> Outputs:
  """Return one view's share of the outputs of several in one batch."""

  def cut(x: Tensor) -> Tensor:
    return x.chunk(parts)[number]

  return Outputs(
    cut(outputs.logits),
    tuple(cut(f) for f in outputs.features),
    {k: cut(v) for k, v in outputs.layers.items()},
    cut(outputs.embedding),
  )
