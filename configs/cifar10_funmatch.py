"""CIFAR-10, ResNet26 → ResNet8 by a long, consistent imitation: "FunMatch", Beyer et al. 2022,
"Knowledge distillation: A good teacher is patient and consistent".

  python launch.py --config=configs/cifar10_funmatch.py --workdir=runs/cifar10_funmatch

The student never sees a label: it takes the teacher's logits on mixtures that both see. λ is uniform
in [0, 1], one a batch. Expected: not measured yet. Time: as cifar10_kd.py, times epochs/200.
"""

from kd_jax.config import PAPER, default


def get_config():
  return default(
    **PAPER | {'epochs': 600},
    method='kd',
    kd={'alpha': 1.0, 'temperature': 1.0},
    mixup=1.0,
    schedule='cosine',
    warmup=0.02,
  )
