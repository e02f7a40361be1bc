"""The flow of the solution procedure (FSP), in its two phases, on CIFAR-10, ResNet26 → ResNet8. Not in
the paper.

  python launch.py --config=configs/cifar10_fsp.py --workdir=runs/cifar10_fsp

`recipe=official` adds the first phase to the 200 epochs, as the tables of the field do.
Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6
h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='fsp')
