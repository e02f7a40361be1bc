"""What each recipe of each method trains, in PyTorch, phase by phase, as kd_jax.methods does.

The numbers are those of the papers, of the released code and of the authors' own, and stand here a
second time on purpose: where they part from kd_jax's, the live crosscheck fails. Needs torch and no
jax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kd_jax.pytorch.rendering import Outputs
from kd_jax.verify import torch_features as features
from kd_jax.verify import torch_methods as logits
from kd_jax.verify.torch_methods import Shown, Views

THIRDS = (1 / 3, 2 / 3)


class Phase(NamedTuple):
  """One run of the optimiser."""

  name: str
  loss: Callable[..., Tensor]  # of Shown and the weights
  weights: Mapping[str, float] = {}
  views: tuple[str, ...] = ('weak',)
  joint: bool = True  # the student sees all views in one batch, else one after the other
  teachers: tuple[str, ...] = ('teacher',)
  # 'always', 'other widths': a convolution and BatchNorm a stage; 'bare': the convolution alone
  connectors: str = ''
  statistics: str = 'running'  # of the teachers' BatchNorm: 'running' or 'batch'
  relu_placement: str = ''  # of student and teachers in this phase; '': their own
  drops: tuple[float, ...] = THIRDS  # of the rate, as fractions of the phase's steps
  epochs: Callable[[int], int] = lambda whole: whole  # of those of the run
  trainee: str = 'student'
  companion: str = ''  # the name of a teacher that trains beside the student


HINTON = {'alpha': 0.5, 'temperature': 5.0}
REPDISTILLER = {'alpha': 0.9, 'temperature': 4.0}
RELATIONS = {'distance': 25.0, 'angle': 50.0}
BOUNDARY = {'margin': 1.0, 'weight': 3 / 1000}
PATIENT = {'beta': 500 / 768}
STL = {**HINTON, 'consistency': 1.0, 'sharpening': 0.4, 'confidence': 0.8}
STL_PUBLISHED = {**HINTON, 'unlabelled_temperature': 1.0, 'share': 0.25}
ENSEMBLE = {'rank': 0.1, 'rank_scale': 2.0, 'attention': 50.0, 'hint': 3.0}
TWO = ('weak', 'strong')
THREE_TEACHERS = ('teacher1', 'teacher2', 'teacher3')


def _one(
  loss: Callable[..., Tensor], weights: Mapping[str, float], **more: Any
) -> tuple[Phase, ...]:
  return (Phase('student', loss, weights, **more),)


def _takd(weights: Mapping[str, float]) -> tuple[Phase, ...]:
  return (
    Phase('assistant', logits.kd, weights, trainee='assistant'),
    Phase('student', logits.kd, weights, teachers=('assistant',)),
  )


def _first(share: float) -> Callable[[int], int]:
  return lambda whole: round(share * whole)


def _rest(share: float) -> Callable[[int], int]:
  return lambda whole: whole - round(share * whole)


def _dual(weights: Mapping[str, float]) -> tuple[Phase, ...]:
  beside = 'side_by_side_teacher'
  together = Phase('side_by_side', logits.side_by_side, teachers=(), drops=(), companion=beside)
  return (
    together._replace(epochs=_first(0.5)),
    Phase('student', logits.kd, weights, teachers=(beside,), epochs=_rest(0.5)),
  )


def _boundary(**more: Any) -> Phase:
  return Phase('boundary', features.boundary, BOUNDARY, **more)


def _kd_and_oh(shown: Shown, *, share: float, weight: float, **hinton: Any) -> Tensor:
  return logits.kd(shown, **hinton) + share * features.overhaul(shown, weight=weight)


def _kd_and_ab(
  shown: Shown, *, share: float, margin: float, weight: float, **hinton: Any
) -> Tensor:
  return logits.kd(shown, **hinton) + share * features.boundary(shown, margin=margin, weight=weight)


def _rkd_and_pkd(shown: Shown, *, share: float, beta: float, **weights: float) -> Tensor:
  return features.rkd(shown, **weights) + share * features.patient(shown, beta=beta)


RECIPES: dict[tuple[str, str], tuple[Phase, ...]] = {
  ('nokd', 'written'): _one(logits.nokd, {}, teachers=()),
  ('kd', 'written'): _one(logits.kd, HINTON),
  ('kd', 'official'): _one(logits.kd, REPDISTILLER),
  ('ab', 'written'): (
    _boundary(connectors='always', drops=(), epochs=_first(0.6)),
    Phase('student', logits.kd, HINTON, epochs=_rest(0.6)),
  ),
  ('ab', 'published'): (
    _boundary(connectors='other widths', relu_placement='stem', epochs=lambda whole: 10),
    Phase('student', logits.kd, HINTON),
  ),
  ('ab', 'official'): (
    _boundary(connectors='other widths', statistics='batch', drops=(), epochs=_first(0.6)),
    Phase('student', logits.kl_alone, {'temperature': 3.0}, epochs=_rest(0.6)),
  ),
  ('oh', 'written'): _one(features.oh, {'weight': 1e-3}, connectors='always'),
  ('oh', 'published'): _one(
    features.oh, {'weight': 1e-3}, connectors='always', statistics='batch', relu_placement='pool'
  ),
  ('oh', 'official'): _one(features.oh, {'weight': 1e-3}, connectors='always', statistics='batch'),
  ('rkd', 'written'): _one(features.rkd, {**HINTON, **RELATIONS}),
  ('rkd', 'official'): _one(features.rkd_official, {'temperature': 4.0, **RELATIONS}),
  ('takd', 'written'): _takd(HINTON),
  ('takd', 'official'): _takd(REPDISTILLER),
  ('sfd', 'written'): _one(features.sfd, {'weight': 1.0}),
  ('sfd', 'published'): _one(features.sfd_published, {'weight': 1.0}),
  ('pkd', 'written'): _one(features.pkd, {**HINTON, **PATIENT}),
  ('pkd', 'published'): _one(features.pkd_published, {**HINTON, 'beta': 10.0}),
  ('mkd', 'written'): _one(logits.kd, HINTON, teachers=THREE_TEACHERS),
  ('mkd', 'official'): _one(logits.kd, REPDISTILLER, teachers=THREE_TEACHERS),
  ('uda', 'written'): _one(logits.uda, {**HINTON, 'share': 1.0}, views=TWO),
  ('uda', 'published'): _one(logits.uda, {**HINTON, 'share': 0.5}, views=TWO, joint=False),
  ('uda_nokd', 'written'): _one(logits.uda_nokd, {}, views=TWO, teachers=()),
  ('uda_nokd', 'published'): _one(logits.uda_nokd, {}, views=TWO, joint=False, teachers=()),
  ('stl', 'written'): _one(logits.stl, STL, views=TWO),
  ('stl', 'published'): _one(logits.stl_published, STL_PUBLISHED, views=TWO, joint=False),
  ('unsupervised', 'written'): _one(logits.unsupervised, {'temperature': 5.0}),
  ('dual', 'written'): _dual(HINTON),
  ('dual', 'official'): _dual(REPDISTILLER),
  ('triplet', 'written'): _one(logits.triplet, HINTON),
  ('dkd', 'written'): _one(logits.dkd, {'target': 1.0, 'others': 8.0, 'temperature': 4.0}),
  ('kd+0.5*oh', 'written'): _one(
    _kd_and_oh, {**HINTON, 'share': 0.5, 'weight': 1e-3}, connectors='always'
  ),
  ('kd+0.5*ab', 'written'): _one(
    _kd_and_ab, {**HINTON, 'share': 0.5, **BOUNDARY}, connectors='always'
  ),
  ('rkd+0.3*pkd', 'written'): _one(_rkd_and_pkd, {**HINTON, **RELATIONS, 'share': 0.3, **PATIENT}),
}


# Options that no recipe sets: (method, options of kd_jax's side) → what they make of it.
OPTIONS: dict[tuple[str, tuple[tuple[str, Any], ...]], tuple[Phase, ...]] = {
  ('kd', (('reduction', 'elements'),)): _one(logits.kd_mean_of_elements, HINTON),
  ('kd', (('alpha', 1.0),)): _one(logits.unsupervised, {'temperature': 5.0}),
  ('rkd', tuple(ENSEMBLE.items())): _one(
    features.rkd_ensemble, {**HINTON, **RELATIONS, **ENSEMBLE}, connectors='bare'
  ),
  ('sfd', (('compare', 'cosine'), ('weight', 0.7))): _one(features.sfd_cosine, {'weight': 0.7}),
  ('sfd', (('compare', 'kl'), ('weight', 0.7))): _one(features.sfd_kl, {'weight': 0.7}),
  ('stl', (('unlabelled', 0.6),)): _one(logits.stl, {**STL, 'unlabelled': 0.6}, views=TWO),
}


class Connectors(nn.Module):
  """A 1×1 convolution for each stage, with BatchNorm or without; nothing where a stage passes."""

  def __init__(self, kind: str, inward: Sequence[int], outward: Sequence[int]):
    super().__init__()
    self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
    for before, after in zip(inward, outward):  # noqa: B905 - a teacher may have more stages
      passes = kind == 'other widths' and before == after
      self.convs.append(nn.Identity() if passes else nn.Conv2d(before, after, 1, bias=False))
      self.norms.append(nn.Identity() if passes or kind == 'bare' else nn.BatchNorm2d(after))

  def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
    return [norm(conv(x)) for x, conv, norm in zip(maps, self.convs, self.norms, strict=True)]


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
    self.connectors: Connectors | None = None
    self.margins: tuple[Tensor, ...] = ()
    if phase.connectors:
      self.connectors = Connectors(phase.connectors, student.widths, teachers[0].widths)
      self.margins = tuple(features.margin(norm) for norm in teachers[0].last_norms())

  def forward(
    self, views: Mapping[str, Tensor], teaching: Sequence[Views], label: Tensor
  ) -> Tensor:
    images, phase = list(views.values()), self.phase
    if phase.joint and len(images) > 1:
      whole = self.student(torch.cat(images))
      student = {view: _part(whole, number, len(images)) for number, view in enumerate(views)}
    else:
      student = {view: self.student(image) for view, image in views.items()}
    shown = Shown(student, teaching, label, margins=self.margins)
    if self.connectors is not None:
      maps = student['weak'].features[: len(self.connectors.convs)]
      shown = shown._replace(connected=self.connectors(maps))
    if self.companion is not None:
      shown = shown._replace(companion=self.companion(images[0]))
    return phase.loss(shown, **phase.weights)


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
