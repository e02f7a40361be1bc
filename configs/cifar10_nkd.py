"""Normalised knowledge distillation on CIFAR-10, ResNet26 → ResNet8. Not in the paper.

  python launch.py --config=configs/cifar10_nkd.py --workdir=runs/cifar10_nkd

The rate is a fifth of the paper's: in two epochs a ResNet8 had 40.9 % of the validation images by
it, and 36.8 % at 0.05 (n = 1). Expected after 200 epochs: not yet measured here. Time: not yet
measured; KD (cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='nkd', learning_rate=0.02)
