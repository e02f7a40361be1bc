"""Teacher assistant on CIFAR-10: ResNet26 → ResNet20 → ResNet8, Hinton's loss twice.

  python launch.py --config=configs/cifar10_takd.py --workdir=runs/cifar10_takd

A longer chain: --config.takd.assistants=resnet20,resnet14. Expected after 200 epochs: not yet
measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='takd')
