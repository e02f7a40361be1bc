"""Hinton's loss on two views, plain and RandAugment, on CIFAR-10, ResNet26 → ResNet8. Twice the
compute of KD.

  python launch.py --config=configs/cifar10_uda.py --workdir=runs/cifar10_uda

Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6
h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='uda')
