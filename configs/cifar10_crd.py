"""Contrastive representation distillation on CIFAR-10, ResNet26 → ResNet8. Not in the paper.

  python launch.py --config=configs/cifar10_crd.py --workdir=runs/cifar10_crd

`recipe=official` has four times the negatives. Expected after 200 epochs: not yet measured here.
Time: not yet measured; KD (cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='crd')
