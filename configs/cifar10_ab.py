"""Activation boundaries on CIFAR-10, ResNet26 → ResNet8: 60 % of the epochs on the boundaries, then
Hinton's loss.

  python launch.py --config=configs/cifar10_ab.py --workdir=runs/cifar10_ab

Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6
h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='ab')
