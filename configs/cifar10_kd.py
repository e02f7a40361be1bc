"""Hinton KD on CIFAR-10, ResNet26 → ResNet8, as the paper trains it.

  python launch.py --config=configs/cifar10_kd.py --workdir=runs/cifar10_kd
"""

from kd_jax.config import default


def get_config():
  config = default(
    dataset='cifar10', student='resnet8', teacher='resnet26', method='kd', epochs=200, batch_size=128,
    relu_placement='stage', mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010),
  )
  config.kd.alpha = 0.5
  config.kd.temperature = 5.0
  return config
