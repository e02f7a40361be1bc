"""Patient knowledge distillation on CIFAR-10, ResNet26 → ResNet8.

  python launch.py --config=configs/cifar10_pkd.py --workdir=runs/cifar10_pkd

Its weight `pkd.beta`, which is its authors' for a squared distance, is to be swept.
`recipe=published` is the released code's loss.
Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6
h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='pkd')
