"""Overhaul of feature distillation on CIFAR-10, ResNet26 → ResNet8.

  python launch.py --config=configs/cifar10_oh.py --workdir=runs/cifar10_oh

Its weight `oh.weight` is to be swept: 1e-3 here, 1e-4 is its authors' advice for small students.
`method=kd+oh` adds
Hinton's term. Expected after 200 epochs: not yet measured here. Time: not yet measured; KD
(cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='oh')
