"""A ResNet8 of 78,042 parameters on CIFAR-10 in 30 epochs, without a teacher.

    kd-jax --config=cifar10_fast --workdir=runs/cifar10_fast

placeholder
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(
    **PAPER
    | {
      'method': 'nokd',
      'student': 'thin_resnet8',
      'epochs': 30,
      'learning_rate': 0.2,
      'schedule': 'cosine',
      'warmup': 0.1,
      'alternating_flip': True,
    }
  )
