"""Every recipe of configs/ for two epochs of 10,000 images of CIFAR-10, ResNet26 → ResNet8 and
WRN16-1 → WRN10-1, as a study: does each train with real teachers on real images?

  python launch.py --config=configs/field/every_recipe.py --workdir=runs/every_recipe --workers=2
  python -m kd_jax.report runs/every_recipe

A row is a file cifar10_*.py, with what that file changes. The published networks are looked for in
the folder that KD_JAX_PRETRAINED names (default: pretrained/), the unlabelled images where tfds has
them. Two epochs rank nothing. Expected: see docs/measurements/every_recipe.md. Time: some 2 h of
one CPU core.
"""

import runpy
from pathlib import Path

from kd_jax.config import PAPER, default, names, taught_by
from kd_jax.studies.definition import Row, study

RESNETS = 'ResNet26 → ResNet8'
WIDE = 'WRN16-1 → WRN10-1'
# what two epochs set for all, and the folder that unlabelled images come from
OWN = ('epochs', 'unlabelled_dataset')


def get_config():
  recipes = {
    path.stem.removeprefix('cifar10_'): _changes(path)
    for path in sorted(Path(__file__).parents[1].glob('cifar10_*.py'))
  }
  wide = taught_by('wrn16_1') | {'student': 'wrn10_1'}
  rows = [Row(name, changes, RESNETS, seeds=1) for name, changes in recipes.items()]
  # a recipe for a student of its own has no second pair
  rows += [
    Row(f'{name}, wide', changes | wide, WIDE, seeds=1)
    for name, changes in recipes.items()
    if 'student' not in changes
  ]
  return study(
    'Every recipe, two epochs',
    question='Does every recipe train, from published teachers on real images?',
    protocol='CIFAR-10, 10,000 training images of its 45,000, two epochs (156 steps of 128; twice '
    'the images where half are unlabelled), epoch chosen on 5,000 validation images, tested on '
    '10,000. One seed. What a method trains beside the student, or before it, takes two epochs, too.',
    limits='One seed of two epochs shows that a recipe runs and learns, and ranks nothing.',
    rows=rows,
    **PAPER
    | taught_by('resnet26')
    | {
      'epochs': 2,
      'train_examples': 10000,
      'validation_examples': 5000,
      'unlabelled_dataset': 'tiny_imagenet32',
    },
  )


def _changes(path):
  """Return what a recipe changes of the paper's training: key → value."""
  recipe = runpy.run_path(str(path))['get_config']()
  paper = default(**PAPER)
  changed = {}
  for key in names():
    section, _, option = key.rpartition('.')
    value, usual = ((c[section] if section else c)[option] for c in (recipe, paper))
    if value != usual and key not in OWN:
      changed[key] = value
  return changed
