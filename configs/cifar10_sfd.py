"""Simple feature distillation on CIFAR-10, ResNet26 → ResNet8: every layer against one of the
teacher's.

  python launch.py --config=configs/cifar10_sfd.py --workdir=runs/cifar10_sfd

Its weight `sfd.weight` is to be swept. `recipe=published` is the released code's loss. Expected
after 200 epochs: not yet
measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='sfd')
