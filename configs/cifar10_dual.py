"""Dual training on CIFAR-10: ResNet26 and ResNet8 side by side until the teacher leads by 2 points,
then Hinton KD.

  python launch.py --config=configs/cifar10_dual.py --workdir=runs/cifar10_dual

The student stops early where it meets its teacher on the validation images. With
--config.teacher_checkpoint=FILE the teacher is frozen from the start and nothing trains side by
side. Expected after 200 epochs: not yet measured here. Time: not yet measured; KD (cifar10_kd.py)
takes 6 h on 2 CPU cores, and the teacher's own training comes on top.
"""

from kd_jax.config import PAPER, default


def get_config():
  config = default(**PAPER, method='dual')
  config.dual.lead = 0.02
  config.dual.side_by_side_share = 0.5
  return config
