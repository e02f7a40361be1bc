"""After the paper's Table 2: the networks by themselves, and each as the teacher of ResNet8, on
CIFAR-10.

  python launch.py --config=configs/paper/table2.py --workdir=runs/table2
  python -m kd_jax.report runs/table2

Published networks are looked for in the folder that KD_JAX_PRETRAINED names (default: pretrained/);
ResNet18 is trained, since no checkpoint of it was published with the others. Expected: not run yet;
the published networks themselves have, on the test images, 89.58 % (ResNet8), 93.01 % (ResNet20),
93.41 % (ResNet26), 88.08 % (WRN10-1), 91.73 % (WRN16-1). Time: 36 runs of 200 epochs are work for a
GPU (`--dry_run` says what they take here).
"""

from kd_jax.config import PAPER, taught_by
from kd_jax.studies.definition import Row, study

ALONE, TAUGHT = 'Alone, by cross-entropy', 'ResNet8 by KD, taught by'
NAMES = {
  'resnet8': 'ResNet8',
  'resnet20': 'ResNet20',
  'resnet26': 'ResNet26',
  'wrn10_1': 'WRN10-1',
  'wrn16_1': 'WRN16-1',
}


def get_config():
  alone = {**NAMES, 'resnet18': 'ResNet18'}
  return study(
    'Table 2: networks and teachers',
    question='How good is each network, and is a better one a better teacher?',
    protocol='CIFAR-10, 45,000 training images; the epoch is chosen on 5,000 validation images, held out once; tested on 10,000. '
    'The published teachers have seen all 50,000; ResNet18 is trained by the same protocol as the '
    'students.',
    rows=[
      *(
        Row(name, {'method': 'nokd', 'student': network}, ALONE) for network, name in alone.items()
      ),
      *(
        Row(f'KD from {name}', {'method': 'kd', **taught_by(network)}, TAUGHT)
        for network, name in NAMES.items()
      ),
      Row(
        'KD from ResNet18',
        {'method': 'kd', 'teacher': 'resnet18', 'teacher_checkpoint': ''},
        TAUGHT,
      ),
    ],
    comparisons=[(f'KD from {name}', 'ResNet8') for name in alone.values()]
    + [(f'KD from {name}', 'KD from ResNet26') for name in alone.values() if name != 'ResNet26'],
    **PAPER,
  )
