"""SimKD, by the teacher's classifier, on CIFAR-10, ResNet26 → ResNet8. Not in the paper.

  python launch.py --config=configs/cifar10_simkd.py --workdir=runs/cifar10_simkd

The row's parameters are those of the student's body, the projector and the teacher's classifier.
Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6
h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='simkd')
