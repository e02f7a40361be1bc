"""Decoupled knowledge distillation on CIFAR-10, ResNet26 → ResNet8. Not in the paper.

  python launch.py --config=configs/cifar10_dkd.py --workdir=runs/cifar10_dkd

Expected after 200 epochs: not yet measured here.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='dkd')
