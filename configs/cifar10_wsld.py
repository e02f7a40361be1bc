"""Weighted soft labels on CIFAR-10, ResNet26 → ResNet8. Not in the paper.

  python launch.py --config=configs/cifar10_wsld.py --workdir=runs/cifar10_wsld

The rate is half the paper's, at which a ResNet8 stayed at chance in two epochs. Expected after 200
epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='wsld', learning_rate=0.05)
