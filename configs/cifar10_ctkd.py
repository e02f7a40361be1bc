"""KD at a temperature that is learnt, against the student, on CIFAR-10, ResNet26 → ResNet8. Not in
the paper.

  python launch.py --config=configs/cifar10_ctkd.py --workdir=runs/cifar10_ctkd

Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6
h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='ctkd')
