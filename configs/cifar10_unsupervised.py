"""The student sees unlabelled images alone (STL-10's, resized) and learns from ResNet26. The paper:
83 % on CIFAR-10.

  python launch.py --config=configs/cifar10_unsupervised.py --workdir=runs/cifar10_unsupervised

Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6
h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='unsupervised', unlabelled_dataset='stl10')
