"""Decoupled knowledge distillation on CIFAR-10, ResNet26 → ResNet8. Not in the paper.

  python launch.py --config=configs/cifar10_dkd.py --workdir=runs/cifar10_dkd

`dkd.others` is 2, 6 or 8 on CIFAR-100, by the pair of networks, and is to be swept. The term is
warmed up over the first 16 of 200 epochs; `dkd.warmup_epochs` sets another number.
Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6
h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  config = default(**PAPER, method='dkd', learning_rate=0.02)
  config.dkd.others = 2.0
  return config
