"""The training of Ruffy & Chahal 2019, as keys of a configuration."""

from __future__ import annotations

import os
from pathlib import Path

# ResNet26 → ResNet8 on CIFAR-10 as the paper trains it: where its networks' ReLUs stand, and the
# deviations it normalises by (the mean of per-image ones; those of all pixels are 0.2470, 0.2435,
# 0.2616).
PAPER = {
  'dataset': 'cifar10',
  'student': 'resnet8',
  'teacher': 'resnet26',
  'epochs': 200,
  'batch_size': 128,
  'relu_placement': 'stage',
  'mean': (0.4914, 0.4822, 0.4465),
  'std': (0.2023, 0.1994, 0.2010),
}
PUBLISHED = {
  'resnet8': 'resnet8',
  'resnet20': 'resnet20',
  'resnet26': 'resnet26',
  'wrn10_1': 'WRN10_1',
  'wrn16_1': 'WRN16_1',
}


def taught_by(network: str) -> dict[str, str]:
  """Return the keys that make a network published with the paper the teacher.

  Its file lies in the folder that KD_JAX_PRETRAINED names, by default pretrained/.
  """
  folder = Path(os.environ.get('KD_JAX_PRETRAINED', 'pretrained'))
  return {
    'teacher': network,
    'teacher_checkpoint': str(folder / f'{PUBLISHED[network]}_cifar10.pth'),
  }
