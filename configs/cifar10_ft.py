"""Factor transfer, its paraphraser first, on CIFAR-10, ResNet26 → ResNet8. Not in the paper.

  python launch.py --config=configs/cifar10_ft.py --workdir=runs/cifar10_ft

Its weight `ft.weight` is RepDistiller's for CIFAR-100, and is to be swept.
Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6
h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='ft')
