"""Relational knowledge distillation on CIFAR-10, ResNet26 → ResNet8: Hinton's loss, distances and angles.

  python launch.py --config=configs/cifar10_rkd.py --workdir=runs/cifar10_rkd

Expected after 200 epochs: not yet measured here.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='rkd')
