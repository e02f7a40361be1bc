"""The protocol on CIFAR-100 that papers on distillation share, and the numbers that they publish.

240 epochs, batches of 64, SGD with momentum 0.9, not Nesterov's, a rate of 0.05, times 0.1 after
epochs 150, 180 and 210, weight decay 5e-4; crops of 4 pixels and flips. Tian et al. 2020,
"Contrastive Representation Distillation", and its code, RepDistiller, began it.

Two things differ. Papers train on all 50,000 images and report the last epoch or the best one on
the test images. Here 5,000 are held out to choose the epoch, and a table has the last epoch, the
chosen one and the best on test side by side. Whether a teacher saw the 5,000 depends on where it is
from: one that is trained here did not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kd_jax.studies.definition import Row, study

NORMALISATION = {'mean': (0.5071, 0.4867, 0.4408), 'std': (0.2675, 0.2565, 0.2761)}
PROTOCOL: Mapping[str, Any] = {
  'dataset': 'cifar100',
  'epochs': 240,
  'teacher_epochs': 240,
  'batch_size': 64,
  'learning_rate': 0.05,
  'nesterov': False,
  'learning_rate_drops': (150 / 240, 180 / 240, 210 / 240),  # so that `scale` keeps them
  'validation_examples': 5000,
  'test_every_epoch': True,
  **NORMALISATION,
}
_PREPARED = 30  # epochs of AB's first phase, before the 240
_LOGITS, _FEATURES = 'On logits', 'On features'


class Pair(NamedTuple):
  """Teacher and student, and what the methods' authors set by the pair."""

  title: str
  teacher: str
  student: str
  dkd: float  # β
  review: float  # the weight
  standardised: tuple[float, float]  # KD: times the KL with T², and T
  standardised_dkd: tuple[float, float]  # DKD: times α and β, and T


PAIRS: Mapping[str, Pair] = {
  'wrn40_2_wrn16_2': Pair('WRN40-2 → WRN16-2', 'wrn40_2', 'wrn16_2', 6, 5, (9, 2), (12, 2)),
  'wrn40_2_wrn40_1': Pair('WRN40-2 → WRN40-1', 'wrn40_2', 'wrn40_1', 6, 5, (9, 2), (12, 2)),
  'resnet56_resnet20': Pair(
    'ResNet56 → ResNet20', 'thin_resnet56', 'thin_resnet20', 2, 0.6, (9, 2), (18, 3)
  ),
  'resnet110_resnet32': Pair(
    'ResNet110 → ResNet32', 'thin_resnet110', 'thin_resnet32', 2, 1, (9, 2), (15, 2)
  ),
  'resnet32x4_resnet8x4': Pair(
    'ResNet32×4 → ResNet8×4', 'resnet32x4', 'resnet8x4', 8, 5, (9, 2), (9, 2)
  ),
  'vgg13_vgg8': Pair('VGG13 → VGG8', 'vgg13', 'vgg8', 6, 5, (9, 3), (15, 2)),
}

# Test accuracies, %, of the pairs in the order of PAIRS: from 'teacher' to CRD of Tian et al. 2020,
# then of each method's own paper.
PUBLISHED: Mapping[str, tuple[float, ...]] = {
  'teacher': (75.61, 75.61, 72.34, 74.31, 79.42, 74.64),
  'NOKD': (73.26, 71.98, 69.06, 71.14, 72.50, 70.36),
  'KD': (74.92, 73.54, 70.66, 73.08, 73.33, 72.98),
  'AT': (74.08, 72.77, 70.55, 72.31, 73.44, 71.43),
  'SP': (73.83, 72.43, 69.67, 72.69, 72.94, 72.68),
  'PKT': (74.54, 73.45, 70.34, 72.61, 73.64, 72.88),
  'VID': (74.11, 73.30, 70.38, 72.61, 73.09, 71.23),
  'RKD': (73.35, 72.22, 69.61, 71.82, 71.90, 71.48),
  'AB': (72.50, 72.38, 69.47, 70.98, 73.17, 70.94),
  'CRD': (75.48, 74.14, 71.16, 73.48, 75.51, 73.94),
  'ReviewKD': (76.12, 75.09, 71.89, 73.89, 75.63, 74.84),
  'DIST': (75.51, 74.73, 71.75, 73.69, 76.31, 73.89),
  'DKD': (76.24, 74.81, 71.97, 74.11, 76.32, 74.68),
  'WTTM': (76.37, 74.58, 71.92, 74.13, 76.06, 74.44),
  'KD, standardised': (76.11, 74.37, 71.43, 74.17, 76.62, 74.36),
  'DKD, standardised': (76.39, 74.89, 72.32, 74.29, 77.01, 74.81),
}


def published(row: str, pair: str) -> float:
  """Return the published test accuracy, %, of a row or of the 'teacher'."""
  return PUBLISHED[row][list(PAIRS).index(pair)]


def rows(pair: str) -> list[Row]:
  """Return the rows of a pair, a method as its authors set it, each with its published number."""
  of = PAIRS[pair]
  factor, temperature = of.standardised
  dkd_factor, dkd_temperature = of.standardised_dkd

  def row(name: str, changes: Mapping[str, Any], group: str, note: str = '') -> Row:
    return Row(name, changes, group, paper=published(name, pair), note=note)

  return [
    row('NOKD', {'method': 'nokd'}, _LOGITS),
    row('KD', {'method': 'kd', 'recipe': 'official'}, _LOGITS),
    row('DIST', {'method': 'dist'}, _LOGITS),
    row('DKD', {'method': 'dkd', 'dkd.others': float(of.dkd)}, _LOGITS),
    row('WTTM', {'method': 'wttm'}, _LOGITS, 'γ and weight are not set by the pair'),
    row(
      'KD, standardised',
      {
        'method': 'kd',
        'kd.standardise': True,
        'kd.alpha': 0.9,
        'kd.weight': factor / 0.9,
        'kd.temperature': float(temperature),
      },
      _LOGITS,
    ),
    row(
      'DKD, standardised',
      {
        'method': 'dkd',
        'dkd.standardise': True,
        'dkd.target': float(dkd_factor),
        'dkd.others': float(dkd_factor * of.dkd),
        'dkd.temperature': float(dkd_temperature),
      },
      _LOGITS,
    ),
    row('AT', {'method': 'attention'}, _FEATURES),
    row('SP', {'method': 'sp'}, _FEATURES),
    row('PKT', {'method': 'pkt'}, _FEATURES),
    row('VID', {'method': 'vid'}, _FEATURES),
    row(
      'RKD',
      {'method': 'rkd', 'rkd.cross_entropy_weight': 1.0, 'rkd.distillation_weight': 0.0},
      _FEATURES,
      'without KD’s term, as RepDistiller',
    ),
    row(
      'AB',
      {
        'method': 'ab',
        'epochs': PROTOCOL['epochs'] + _PREPARED,
        'ab.boundary_share': _PREPARED / (PROTOCOL['epochs'] + _PREPARED),
        'ab.alpha': 0.0,
      },
      _FEATURES,
      f'{_PREPARED} epochs of boundaries first, then labels alone, as RepDistiller',
    ),
    row('CRD', {'method': 'crd', 'recipe': 'official'}, _FEATURES),
    row(
      'ReviewKD',
      {'method': 'review', 'review.weight': float(of.review)},
      _FEATURES,
      'its authors name no weight for this pair' if pair == 'vgg13_vgg8' else '',
    ),
  ]


def of_pair(pair: str) -> Any:
  """Return the configuration of a pair's study, for a file under configs/cifar100/."""
  of = PAIRS[pair]
  made = rows(pair)
  return study(
    f'CIFAR-100: {of.title}',
    question=f'What does each method add to plain KD for {of.title} on CIFAR-100, by the protocol '
    'that the papers share?',
    protocol='CIFAR-100, 45,000 training images; 5,000 are held out and choose the epoch; tested '
    'on 10,000, after each epoch, too, so that last, chosen and best epoch stand side by side: '
    'the best on test is what many papers report. 240 epochs, batch 64, SGD without Nesterov, '
    'rate 0.05, times 0.1 after 150, 180 and 210, weight decay 0.0005, crop and flip. The teacher '
    'is trained first by the same protocol at the same seed, unless teacher_checkpoint names one; '
    f'the published one has {published("teacher", pair)} %. Published numbers are of students of '
    'all 50,000 images.',
    limits='Published and measured numbers differ in 5,000 training images, in the teacher and in '
    'how the epoch is chosen; rows of one table here do not.',
    rows=made,
    comparisons=[('KD', 'NOKD'), *((row.name, 'KD') for row in made[2:])],
    together=4,
    teacher=of.teacher,
    student=of.student,
    **PROTOCOL,
  )
