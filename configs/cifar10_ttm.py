"""Transformed teacher matching on CIFAR-10, ResNet26 → ResNet8. Not in the paper.

  python launch.py --config=configs/cifar10_ttm.py --workdir=runs/cifar10_ttm

Its weight `ttm.weight` is its authors' for 100 classes, and is to be swept. Gradients are clipped:
with the authors' weight, 45, this ResNet8's outputs became constant in the first steps, at rates of
0.02 to 0.1. Expected after 200 epochs: not yet measured here. Time: not yet measured; KD
(cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='ttm', clip=2.0)
