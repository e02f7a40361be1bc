"""CIFAR-10, ResNet26 → ViT-tiny (patch 4) as people train ViTs today.

  python launch.py --config=configs/cifar10_vit.py --workdir=runs/cifar10_vit

Not measured at 200 epochs; docs/guides/training.md has a walk of 4. The teacher is trained first,
unless teacher_checkpoint names one.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(
    **PAPER
    | {
      'student': 'vit_tiny',
      'optimiser': 'adamw',
      'learning_rate': 1e-3,
      'weight_decay': 0.05,
      'decay': 'kernels',
      'clip': 1.0,
      'schedule': 'cosine',
      'warmup': 0.05,
      'ema': 0.999,
      'mixup': 0.8,
      'relu_placement': 'block',
    },
    method='kd',
    kd={'alpha': 0.9, 'temperature': 4.0},
  )
