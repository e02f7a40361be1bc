"""CRD + KD as its authors combine them, CE + 0.8 · CRD + KL at T = 4, on CIFAR-10, ResNet26 →
ResNet8. Not in the paper.

  python launch.py --config=configs/cifar10_crd_kd.py --workdir=runs/cifar10_crd_kd

The cross-entropy is that of the part before, `crd`: of `kd` the join adds the KL alone.
`crd.negatives=16384` is what the authors ran. Expected after 200 epochs: not yet measured here.
Time: not yet measured; KD (cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  config = default(**PAPER, method='crd+kd')
  config.kd.alpha = 1.0
  config.kd.temperature = 4.0
  return config
