"""Hinton KD on CIFAR-10, ResNet26 → ResNet8, as the paper trains it.

  python launch.py --config=configs/cifar10_kd.py --workdir=runs/cifar10_kd

EXPECTED
"""

from kd_jax.config import PAPER, default


def get_config():
  config = default(**PAPER, method='kd')
  config.kd.alpha = 0.5
  config.kd.temperature = 5.0
  return config
