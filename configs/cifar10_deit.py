"""DeiT's distillation token on CIFAR-10, ResNet26 → ViT-tiny (patch 4). Not in the paper.

  python launch.py --config=configs/cifar10_deit.py --workdir=runs/cifar10_deit

The student has the recipe of cifar10_vit.py with DeiT's label smoothing, mixup and cutmix. Expected:
not yet measured here. Time: not yet measured. The teacher is trained first, unless
teacher_checkpoint names one.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(
    **PAPER
    | {
      'student': 'vit_tiny_distilled',
      'optimiser': 'adamw',
      'learning_rate': 1e-3,
      'weight_decay': 0.05,
      'decay': 'kernels',
      'clip': 1.0,
      'schedule': 'cosine',
      'warmup': 0.05,
      'label_smoothing': 0.1,
      'mixup': 0.8,
      'cutmix': 1.0,
      'relu_placement': 'block',
    },
    method='deit',
  )
