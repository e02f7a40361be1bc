"""After the paper's Table 4: does the order of the methods hold for other pairs, and for CIFAR-100?

  python launch.py --config=configs/paper/table4.py --workdir=runs/table4
  python -m kd_jax.report runs/table4

Every teacher here is trained first, at the same budget and seed. WRN28-4 → WRN16-2 is a pair on
which overhaul is known to help (Heo et al. 2019: 93.26 without, 94.21 with it). Expected: not run
yet. Time: 60 runs of 200 epochs, some with teachers of 100 times a
ResNet8's operations: days on one GPU. These rows are configurations, and no result here stands
behind them.
"""

from kd_jax.config import PAPER
from kd_jax.studies.definition import Row, study

METHODS = {
  'NOKD': {'method': 'nokd'},
  'KD': {'method': 'kd'},
  'OH': {'method': 'oh'},
  'UDA': {'method': 'uda'},
}
CIFAR100 = {
  'dataset': 'cifar100',
  'mean': (0.5071, 0.4865, 0.4409),
  'std': (0.2673, 0.2564, 0.2762),
}
PAIRS = {
  'ResNet18 → ResNet8': {'teacher': 'resnet18', 'student': 'resnet8'},
  'ResNet18 → ResNet8, standard ReLUs': {
    'teacher': 'resnet18',
    'student': 'resnet8',
    'relu_placement': 'block',
  },
  'WRN16-4 → WRN10-1': {'teacher': 'wrn16_4', 'student': 'wrn10_1'},
  'WRN28-4 → WRN16-2': {'teacher': 'wrn28_4', 'student': 'wrn16_2'},
  'ResNet26 → ResNet8, CIFAR-100': {'teacher': 'resnet26', 'student': 'resnet8', **CIFAR100},
}


def get_config():
  rows = [
    Row(f'{method}, {pair}', {**networks, **changes}, pair)
    for pair, networks in PAIRS.items()
    for method, changes in METHODS.items()
  ]
  return study(
    'Table 4: other pairs',
    question='Does what holds for ResNet26 → ResNet8 on CIFAR-10 hold elsewhere?',
    protocol='45,000 training images; the epoch is chosen on 5,000 validation images, held out once; tested on 10,000. Teachers are '
    'trained on the same 45,000 images. No weight is swept. UDA takes twice the compute of KD.',
    rows=rows,
    comparisons=[
      (f'{method}, {pair}', f'NOKD, {pair}')
      for pair in PAIRS
      for method in METHODS
      if method != 'NOKD'
    ],
    **PAPER,
  )
