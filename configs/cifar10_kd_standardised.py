"""Hinton KD of standardised logits (Sun et al. 2024) on CIFAR-10, ResNet26 → ResNet8. Not in the paper.

  python launch.py --config=configs/cifar10_kd_standardised.py --workdir=runs/cifar10_kd_standardised

0.1 · CE + 9 · T² · KL at T = 2, its authors' numbers for most pairs of CIFAR-100.
Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6
h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  config = default(**PAPER, method='kd')
  config.kd.alpha = 0.9
  config.kd.temperature = 2.0
  config.kd.weight = 10.0
  config.kd.standardise = True
  return config
