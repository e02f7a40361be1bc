"""ReviewKD: knowledge review on CIFAR-10, ResNet26 → ResNet8. Not in the paper.

  python launch.py --config=configs/cifar10_review.py --workdir=runs/cifar10_review

Its weight `review.weight` goes by the pair, and is to be swept. The fusion is as wide as the last
map: the embedding of this ResNet8 has four windows of it, 256 values, and a fusion of as many takes
four times the memory.
Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py) takes 6
h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  config = default(**PAPER, method='review')
  config.review.width = 64
  return config
