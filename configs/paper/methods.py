"""The methods at a seventeenth of the paper's budget, which decides: ResNet26 → ResNet8 on all of
CIFAR-10, 12 epochs.

  python launch.py --config=configs/paper/methods.py --workdir=runs/methods --workers=2
  python -m kd_jax.report runs/methods

The published networks are looked for in the folder that KD_JAX_PRETRAINED names (default:
pretrained/). Expected: see results/README.md. Time: a NOKD run takes some 30 minutes of one CPU
core, a KD run 45 (`--dry_run` estimates the rest). At the paper's
budget, on a GPU: --config.scale=16.667.
"""

from kd_jax.config import PAPER, taught_by
from kd_jax.studies.definition import Row, study

DECIDING = 'Deciding'
COMPUTE = 'Augmentation and compute'
TEACHERS = 'Other teachers'
OTHERS = 'Other methods'
CONTROLS = 'Controls'
FIELD = 'Methods of the field'
SEEDS = 5
KD = {'method': 'kd', 'kd.alpha': 0.5, 'kd.temperature': 5.0}
OH_WEIGHTS = (1e-4, 3e-4, 1e-3)
SFD_WEIGHTS = (0.3, 1.0, 3.0)
STANDARDISED = {
  'method': 'kd',
  'kd.alpha': 0.9,
  'kd.temperature': 2.0,
  'kd.weight': 10.0,
  'kd.standardise': True,
}
# its authors' weight of the squared distance, and more
PKD_WEIGHTS = tuple(factor * 500 / 768 for factor in (1, 10, 100))
EPOCHS = 12
# Row → its changes, and what its authors or the field's tables report for ResNet56 → ResNet20 on
# CIFAR-100, %, where KD has 70.66 and the student alone 69.06
OF_THE_FIELD = {
  'KD, standardised': (STANDARDISED, 71.43),
  'DKD': ({'method': 'dkd'}, 71.97),
  'DIST': ({'method': 'dist'}, 71.75),
  'WTTM': ({'method': 'wttm', 'clip': 2.0}, 71.92),
  'TTM': ({'method': 'ttm', 'clip': 2.0}, None),
  'NKD': ({'method': 'nkd', 'learning_rate': 0.02}, None),
  'AT': ({'method': 'attention'}, 70.55),
  'FitNet': ({'method': 'fitnet'}, None),
  'SP': ({'method': 'sp'}, 69.67),
  'PKT': ({'method': 'pkt'}, 70.34),
  'CRD': ({'method': 'crd'}, 71.16),
  'ReviewKD': ({'method': 'review', 'review.width': 64}, 71.89),
  'SimKD': ({'method': 'simkd'}, None),
  'VID': ({'method': 'vid'}, 70.38),
  'SRD': ({'method': 'srd'}, None),
}


def get_config():
  deciding = [
    Row('NOKD', {'method': 'nokd'}, DECIDING, SEEDS),
    Row('KD', KD, DECIDING, SEEDS),
    Row('OH, written', {'method': 'oh'}, DECIDING, SEEDS, sweep={'oh.weight': OH_WEIGHTS}),
    Row(
      'OH, written, with KD',
      KD | {'method': 'kd+oh'},
      DECIDING,
      SEEDS,
      sweep={'oh.weight': OH_WEIGHTS},
    ),
    Row('SFD, written', {'method': 'sfd'}, DECIDING, SEEDS, sweep={'sfd.weight': SFD_WEIGHTS}),
    Row(
      'SFD, written, with KD',
      KD | {'method': 'kd+sfd'},
      DECIDING,
      SEEDS,
      sweep={'sfd.weight': SFD_WEIGHTS},
    ),
  ]
  compute = [
    Row('KD, twice the epochs', KD | {'epochs': 2 * EPOCHS}, COMPUTE, note="UDA's compute"),
    Row('UDA', {'method': 'uda'}, COMPUTE, note='RandAugment on a second view'),
    Row('KD, RandAugment', KD | {'augment': 'randaugment:2:9'}, COMPUTE, note='on its one view'),
  ]
  teachers = [
    Row(f'KD from {name}', KD | taught_by(network), TEACHERS)
    for name, network in (
      ('ResNet20', 'resnet20'),
      ('ResNet8', 'resnet8'),
      ('WRN16-1', 'wrn16_1'),
      ('WRN10-1', 'wrn10_1'),
    )
  ]
  others = [
    Row('OH, published', {'method': 'oh', 'recipe': 'published'}, OTHERS, paper=87.09),
    Row('SFD, published', {'method': 'sfd', 'recipe': 'published'}, OTHERS, paper=87.47),
    Row('AB', {'method': 'ab'}, OTHERS),
    Row('RKD, written', {'method': 'rkd'}, OTHERS),
    Row('PKD', {'method': 'pkd'}, OTHERS, sweep={'pkd.beta': PKD_WEIGHTS}),
    Row(
      'KD, three times the epochs',
      KD | {'epochs': 3 * EPOCHS},
      OTHERS,
      note="TAKD's compute and more",
    ),
    Row('TAKD', {'method': 'takd'}, OTHERS, note='assistant ResNet20, trained at the same budget'),
  ]
  controls = [
    Row('KD, T = 1', KD | {'kd.temperature': 1.0}, CONTROLS),
    Row('KD, T = 20', KD | {'kd.temperature': 20.0}, CONTROLS),
    Row(
      'KD, mean over classes',
      KD | {'kd.reduction': 'elements'},
      CONTROLS,
      note='the wrong reduction of the KL',
    ),
    Row('Label smoothing', {'method': 'nokd', 'label_smoothing': 0.1}, CONTROLS, note='no teacher'),
    Row(
      'MKD',
      {'method': 'mkd'},
      CONTROLS,
      note='the published ResNet26 and two that are trained at the same budget',
    ),
  ]
  field = [
    Row(
      name,
      changes,
      FIELD,
      note=f'published, ResNet56 → ResNet20 on CIFAR-100: {published:.2f}' if published else '',
    )
    for name, (changes, published) in OF_THE_FIELD.items()
  ]
  against = {'UDA': 'KD, twice the epochs', 'TAKD': 'KD, three times the epochs'}
  return study(
    'The methods, decided',
    question='Which of the methods trains a better ResNet8 than the labels alone, and which a better one than plain KD?',
    protocol='CIFAR-10, 45,000 training images; the epoch and every swept weight are chosen on 5,000 validation images, held out once; '
    'tested on 10,000, once. Teacher, but where a row says otherwise: the published ResNet26, '
    'which has seen all 50,000. 12 '
    'epochs, drops of the rate after 4 and 8, batch 128, crop and flip. A weight is swept over '
    'three values at a seed of its '
    'own. One seed is one draw of weights, order and augmentation, which all rows share, but that '
    "AB's first phase draws its "
    'own: differences are paired by seed. The numbers of seeds were fixed before the first run '
    'that is reported, five for the '
    'deciding rows and three for the others, and no row gets more of them for what it shows. The rows '
    'of the last group, of RandAugment and of label smoothing were written down later, before any '
    'run of theirs.',
    rows=[*deciding, *compute, *teachers, *others, *controls, *field],
    comparisons=[
      ('KD', 'NOKD'),
      ('OH, written', 'NOKD'),
      ('SFD, written', 'NOKD'),
      ('OH, written', 'KD'),
      ('SFD, written', 'KD'),
      ('OH, written, with KD', 'KD'),
      ('SFD, written, with KD', 'KD'),
      ('KD, twice the epochs', 'KD'),
      *(
        (row.name, against.get(row.name, 'KD'))
        for row in [*compute[1:], *teachers, *others, *controls, *field]
      ),
    ],
    together=6,
    **{**PAPER, **taught_by('resnet26'), 'epochs': EPOCHS, 'validation_examples': 5000},
  )
