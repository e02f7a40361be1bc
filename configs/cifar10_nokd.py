"""CIFAR-10, ResNet8 by cross-entropy alone: the baseline.

  python launch.py --config=configs/cifar10_nokd.py --workdir=runs/cifar10_nokd

Expected: 89.2–89.5 % on test after 200 epochs (from the literature on this pair, not yet measured
here). Time: not yet measured; KD (cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='nokd')
