"""Multi-level logit distillation on CIFAR-10, ResNet26 → ResNet8. Not in the paper. Twice the
compute of KD.

  python launch.py --config=configs/cifar10_mlld.py --workdir=runs/cifar10_mlld

`recipe=published` trains by the terms of the released code. The rate is its authors', who train for
480 epochs. Gradients are clipped: without it a ResNet8 stayed at chance in two epochs; with it, it
had 24.1 % of the validation images (n = 1). Expected after 200 epochs: not yet measured here. Time:
not yet measured; KD (cifar10_kd.py) takes 6 h on 2 CPU cores.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(**PAPER, method='mlld', learning_rate=0.025, clip=2.0)
