"""Three teachers of one architecture on CIFAR-10, ResNet26 ×3 → ResNet8; those that are not given
are trained.

  python launch.py --config=configs/cifar10_mkd.py --workdir=runs/cifar10_mkd

Give teachers as --config.teacher_checkpoint=a.pth,b.pth,c.pth. Expected after 200 epochs: not yet
measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='mkd')
