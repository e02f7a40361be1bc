"""What each recipe of each method trains, in PyTorch, phase by phase, as kd_jax.methods does.

The numbers are those of the papers, of the released code and of the authors' own, and stand here a
second time on purpose: where they part from kd_jax's, the live crosscheck fails. Needs torch and no
jax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from kd_jax.verify import torch_bank as bank
from kd_jax.verify import torch_features as features
from kd_jax.verify import torch_methods as logits
from kd_jax.verify import torch_modules as modules
from kd_jax.verify import torch_similarity as similarity
from kd_jax.verify import torch_soft_labels as soft_labels
from kd_jax.verify.torch_methods import Shown

THIRDS = (1 / 3, 2 / 3)


class Phase(NamedTuple):
  """One run of the optimiser."""

  name: str
  loss: Callable[..., Tensor]  # of Shown and the weights
  weights: Mapping[str, float] = {}
  views: tuple[str, ...] = ('weak',)
  joint: bool = True  # the student sees all views in one batch, else one after the other
  teachers: tuple[str, ...] = ('teacher',)
  # 'always', 'other widths': a convolution and BatchNorm a stage; 'bare': the convolution alone;
  # 'second': a convolution and BatchNorm for the second stage; 'dense': a layer of 128 outputs for
  # the embedding of the student and of the teacher; 'classifier': a second one of the student;
  # 'temperature': a number that begins with 1; or one of torch_modules.MODULES
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
DECOUPLED = {'target': 1.0, 'others': 8.0, 'temperature': 4.0}
REFINED = {'confidence': 1.0, 'others': 8.0, 'temperature': 4.0, 'confidence_temperature': 1.0}
LEVELS = {'weight': 0.9, 'hard': 0.1}
CORRELATED = {'weight': 2.0, 'inter': 1.0, 'intra': 1.0}
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


def _two_phases() -> tuple[Phase, ...]:
  """Return FitNet's: the hint alone, then CE + λ · KL with λ from 4 to 1."""
  first = Phase('hint', similarity.hint, {'weight': 100.0}, connectors='second', drops=())
  weights = {'first': 4.0, 'last': 1.0, 'temperature': 3.0}
  return (
    first._replace(epochs=lambda whole: round(0.4 * whole)),
    Phase(
      'student', soft_labels.annealed, weights, epochs=lambda whole: whole - round(0.4 * whole)
    ),
  )


def _flow_first(rest: Callable[[int], int]) -> tuple[Phase, ...]:
  """Return FSP's: the flow for an eighth of the epochs, then CE alone."""
  first = Phase('flow', similarity.flow, {'weight': 1.0}, drops=(), epochs=_eighth)
  return first, Phase('student', logits.nokd, teachers=(), epochs=rest)


def _eighth(whole: int) -> int:
  return max(round(whole / 8), 1)


def _boundary(**more: Any) -> Phase:
  return Phase('boundary', features.boundary, BOUNDARY, **more)


def _kd_and_oh(shown: Shown, *, share: float, weight: float, **hinton: Any) -> Tensor:
  return logits.kd(shown, **hinton) + share * features.overhaul(shown, weight=weight)


def _kd_and_ab(
  shown: Shown, *, share: float, margin: float, weight: float, **hinton: Any
) -> Tensor:
  return logits.kd(shown, **hinton) + share * features.boundary(shown, margin=margin, weight=weight)


def _kd_and_dist(
  shown: Shown, *, share: float, alpha: float, temperature: float, of_dist: float, **weights: float
) -> Tensor:
  both = soft_labels.dist(shown, temperature=of_dist, **weights)
  return logits.kd(shown, alpha=alpha, temperature=temperature) + share * (
    both - logits.cross_entropy(shown)
  )


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
  ('dkd', 'written'): _one(soft_labels.dkd_warmed, DECOUPLED),
  ('dkd', 'official'): _one(soft_labels.dkd_warmed, {**DECOUPLED, 'warmup': 20.0}),
  ('dist', 'written'): _one(
    soft_labels.dist, {'weight': 2.0, 'inter': 1.0, 'intra': 1.0, 'temperature': 4.0}
  ),
  ('ttm', 'written'): _one(soft_labels.ttm, {'weight': 45.0, 'exponent': 0.1}),
  ('wttm', 'written'): _one(soft_labels.wttm, {'weight': 4.0, 'exponent': 0.2}),
  ('nkd', 'written'): _one(soft_labels.nkd, {'others': 3.5, 'temperature': 3.0}),
  ('rld', 'written'): _one(soft_labels.rld, REFINED),
  ('rld', 'official'): _one(soft_labels.rld, {**REFINED, 'warmup': 20.0}),
  ('wsld', 'written'): _one(soft_labels.wsld, {'weight': 2.25, 'temperature': 4.0}),
  ('mlld', 'written'): _one(soft_labels.mlld, LEVELS, views=TWO),
  ('mlld', 'published'): _one(soft_labels.mlld_released, LEVELS, views=TWO, joint=False),
  ('mlld', 'official'): _one(soft_labels.mlld_released, LEVELS, views=TWO, joint=False),
  ('ctkd', 'written'): _one(
    soft_labels.ctkd, {'alpha': 0.9, 'lowest': 1.0, 'span': 20.0}, connectors='temperature'
  ),
  ('attention', 'written'): _one(similarity.attention, {'weight': 1000.0}),
  ('fitnet', 'written'): _two_phases(),
  ('fitnet', 'published'): _one(similarity.fitnet, {'weight': 100.0}, connectors='second'),
  ('fitnet', 'official'): _one(similarity.fitnet, {'weight': 100.0}, connectors='second'),
  ('fsp', 'written'): _flow_first(lambda whole: whole - _eighth(whole)),
  ('fsp', 'official'): _flow_first(lambda whole: whole),
  ('nst', 'written'): _one(similarity.nst, {'weight': 50.0}),
  ('sp', 'written'): _one(similarity.sp, {'weight': 3000.0}),
  ('pkt', 'written'): _one(similarity.pkt, {'weight': 30_000.0}),
  ('cc', 'written'): _one(similarity.cc, {'weight': 0.02}, connectors='dense'),
  ('simkd', 'written'): _one(modules.simkd, {'weight': 1.0}, connectors='projector'),
  ('review', 'written'): _one(modules.review, {'weight': 1.0}, connectors='review'),
  ('review', 'official'): _one(
    modules.review, {'weight': 1.0, 'warmup': 20.0}, connectors='review'
  ),
  ('vid', 'written'): _one(modules.vid, {'weight': 1.0}, connectors='variational'),
  ('srd', 'written'): _one(
    modules.srd,
    {'weight': 1.0, 'distillation': 1.0, 'temperature': 1.0, 'power': 4.0},
    connectors='projection',
  ),
  ('srrl', 'written'): _one(
    modules.srrl,
    {'weight': 1.0, 'distillation': 1.0, 'temperature': 4.0},
    connectors='representation',
  ),
  **{
    ('crd', recipe): _one(
      bank.crd, {'weight': 0.8, 'temperature': 0.07, 'keep': 0.5}, connectors='banks'
    )
    for recipe in ('written', 'official')
  },
  **{
    ('deit', recipe): _one(logits.deit, {'weight': 0.5}, connectors='classifier')
    for recipe in ('written', 'official')
  },
  ('kd+0.8*dist', 'written'): _one(
    _kd_and_dist,
    {**HINTON, 'share': 0.8, 'weight': 2.0, 'inter': 1.0, 'intra': 1.0, 'of_dist': 4.0},
  ),
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
  ('kd', (('standardise', True), ('alpha', 0.9), ('temperature', 2.0), ('weight', 10.0))): _one(
    soft_labels.kd_standardised, {'alpha': 0.9, 'temperature': 2.0, 'weight': 10.0}
  ),
  ('dkd', (('standardise', True), ('others', 2.0))): _one(
    soft_labels.dkd_standardised, {**DECOUPLED, 'others': 2.0}
  ),
  ('rld', (('standardise', True),)): _one(soft_labels.rld_standardised, REFINED),
  ('attention', (('squared', False),)): _one(similarity.attention_lengths, {'weight': 1000.0}),
  ('fsp', (('flow_share', 0.0), ('weight', 2.0))): _one(similarity.fsp, {'weight': 2.0}),
  ('ft', (('paraphraser_share', 0.0),)): _one(
    modules.ft, {'weight': 200.0, 'power': 1.0}, connectors='factors'
  ),
  ('kd', (('alpha', 1.0),)): _one(logits.unsupervised, {'temperature': 5.0}),
  ('rkd', tuple(ENSEMBLE.items())): _one(
    features.rkd_ensemble, {**HINTON, **RELATIONS, **ENSEMBLE}, connectors='bare'
  ),
  ('sfd', (('compare', 'cosine'), ('weight', 0.7))): _one(features.sfd_cosine, {'weight': 0.7}),
  ('sfd', (('compare', 'kl'), ('weight', 0.7))): _one(features.sfd_kl, {'weight': 0.7}),
  ('stl', (('unlabelled', 0.6),)): _one(logits.stl, {**STL, 'unlabelled': 0.6}, views=TWO),
}
