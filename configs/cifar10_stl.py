"""Half of each batch CIFAR-10, half unlabelled images (STL-10's, resized), ResNet26 → ResNet8.

  python launch.py --config=configs/cifar10_stl.py --workdir=runs/cifar10_stl

Twice the steps of KD in an epoch, and two views of each image. Expected after 200 epochs: not yet
measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='stl', unlabelled_dataset='stl10')
