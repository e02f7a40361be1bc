"""Networks that people have, on CIFAR-10: renamed, they are still right, or a line says what to
set.
"""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from kd_jax import config as configuration
from kd_jax import models
from kd_jax.pytorch import reader as torch_reader
from kd_jax.pytorch import specs as torch_specs
from kd_jax.runs import preparation, run, teachers
from kd_jax.runs.imported import row as row_of
from kd_jax.runs.teacher_fit import USUAL
from kd_jax.types import NetworkSpec
from tests import pickles

PAPERS = USUAL[3][0]
# Of each, its file, where its ReLUs stand, and its accuracy on the test images.
RELEASED = {
  'resnet8': ('resnet8_cifar10_distilled', 'block', 0.91),
  'resnet20': ('resnet20_cifar10', 'stage', 0.9301),
  'wrn16_1': ('WRN16_1_cifar10', 'block', 0.9173),
}


def renamed(path: Path, to: Path, **beside: float) -> Path:
  """Writes a published network under the names of other code."""
  state, _ = torch_specs.canonical(torch_reader.read(path))
  for ours, others in (
    ('linear.', 'fc.'),
    ('.shortcut.', '.downsample.'),
    (r'^layer(?=\d+\.layer)', 'block'),
  ):
    state = {re.sub(ours, others, name): array for name, array in state.items()}
  to.write_bytes(pickles.saved({'net': state} | beside))
  return to


def imported(tmp_path, data_dir, **changed) -> tuple[float, NetworkSpec, list[str]]:
  """Its accuracy on 1,000 test images, what it is taken for, and what is said."""
  config = configuration.resolve(
    configuration.default(
      dataset='cifar10',
      data_dir=data_dir,
      download=False,
      eval_examples=1000,
      selection='test',
      **changed,
    )
  )
  prepared, said = preparation.prepare(config), []
  context = run.context(prepared, tmp_path / 'run', stop=lambda: False, say=said.append)
  trained = prepared.imported['teacher']
  row = row_of(context, 'teacher', trained, prepared.origins['teacher'])
  return row['test_accuracy'], trained.network.spec, said


@pytest.mark.system
@pytest.mark.parametrize('beside', [{}, {'acc': 92.0}], ids=['alone', 'acc'])
@pytest.mark.parametrize('name', RELEASED)
def test_renamed_a_line_has_what_to_set_and_it_is_right(
  name, beside, tmp_path, data_dir, pretrained_dir
):
  file, placement, accuracy = RELEASED[name]
  path = renamed(Path(pretrained_dir) / f'{file}.pth', tmp_path / 'renamed.pth', **beside)
  measured, spec, said = imported(tmp_path, data_dir, teacher=name, teacher_checkpoint=str(path))
  assert (
    measured < 0.6
    and spec.mean == ()
    and ('states an accuracy of 92.0%' in said[1]) == bool(beside)
  )
  (warning,) = (line for line in said if line.startswith('Warning: '))
  assert ('its file states 92.0%' in warning) == bool(beside)
  flags = dict(
    flag.removeprefix('--config.').split('=')
    for flag in shlex.split(warning)
    if flag.startswith('--config.')
  )
  assert flags.pop('teacher_guess') == 'fit'
  values = {key: ast.literal_eval(text) if '(' in text else text for key, text in flags.items()}
  assert values.get('teacher_relu_placement', 'block') == placement
  if not beside:
    measured, spec, said = imported(
      tmp_path / 'again', data_dir, teacher=name, teacher_checkpoint=str(path), **values
    )
    assert (spec.mean, spec.std, spec.relu_placement) == (*PAPERS, placement)
    assert measured == pytest.approx(accuracy, abs=0.03) and not [
      line for line in said if line.startswith('Warning: ')
    ]


def test_a_file_of_another_author_is_fitted(tmp_path, data_dir, teachers_dir):
  path = Path(teachers_dir) / 'pretrained_forms' / 'real_renamed_WRN16_1_cifar10.pth'
  given = {'teacher': 'wrn16_1', 'teacher_checkpoint': str(path)}
  measured, spec, said = imported(tmp_path, data_dir, teacher_guess='fit', **given)
  assert (spec.mean, spec.std) == PAPERS and measured == pytest.approx(0.9173, abs=0.03)
  assert (
    'fitted to training images' in said[1]
    and 'it states an accuracy of 90.0%' in said[1]
    and len(said) == 2
  )


def test_raw_and_averaged_weights_are_told_apart(teachers_dir):
  for file in ('timm_noargs.pth.tar', 'model_ema.pth', 'ema_only.pth', 'swa_averaged.pth'):
    path = Path(teachers_dir) / 'pretrained_forms' / file
    wanted = NetworkSpec('thin_resnet8', 10, (32, 32, 3))
    config = configuration.default(
      dataset='cifar10', teacher='thin_resnet8', teacher_checkpoint=str(path)
    )
    (trained,) = teachers.load(configuration.resolve(config), wanted).values()
    facts = teachers.facts(path)
    assert models.is_known(trained.network.spec.name)
    assert facts.copies == {'ema_only.pth': ('ema',), 'swa_averaged.pth': ('raw',)}.get(
      file, ('raw', 'ema')
    )
