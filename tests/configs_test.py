"""Every file under configs/ says how it is run, and resolves."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from kd_jax import config
from kd_jax.methods import METHODS, plans
from kd_jax.models import MODELS, relu_placement
from kd_jax.studies import definition
from kd_jax.types import NetworkSpec

ROOT = Path(__file__).resolve().parents[1]
QUICK_START = ROOT / 'configs' / 'quickstart.py'
FILES = sorted({*(ROOT / 'configs').glob('*.py')} - {QUICK_START})
STUDIES = [QUICK_START, *sorted((ROOT / 'configs').glob('*/*.py'))]


def read(path: Path):
  spec = importlib.util.spec_from_file_location(f'configs_{path.stem}', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


def command_is_there(path: Path, text: str) -> bool:
  """The command that runs the file; the quick start is what runs without flags."""
  if path == QUICK_START:
    return 'python launch.py' in text
  if path.stem == 'embedding':  # of another command
    return 'kd-jax embed --table=FILE' in text
  return f'python launch.py --config={path.relative_to(ROOT)}' in text


def test_there_are_some():
  assert 'digits_kd.py' in [path.name for path in FILES] and QUICK_START.is_file()


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
class TestFile:
  def test_opens_with_its_command(self, path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text and command_is_there(path, text)

  def test_resolves(self, path):
    made = config.resolve(read(path))
    assert made.student in MODELS and made.teacher in MODELS

  def test_trains_the_method_of_its_name(self, path):
    _, _, name = path.stem.partition('_')
    if name in METHODS:
      assert read(path).method == name

  def test_has_phases(self, path):
    made = config.resolve(read(path))
    student, teacher = (
      NetworkSpec(name, 10, (32, 32, 3), relu_placement(name, made.relu_placement))
      for name in (made.student, made.teacher)
    )
    phases = plans.make(
      plans.PlanInputs(
        method=made.method,
        recipe=made.recipe,
        options=made.options,
        student=student,
        teacher=teacher,
        relu_placement=made.relu_placement,
        imported=(),
        baseline=made.baseline,
        epochs=made.epochs,
        teacher_epochs=made.teacher_epochs,
        batch_size=made.batch_size,
        optimiser=made.optimiser_spec(),
      )
    )
    assert phases[-1].role == 'student' and all(phase.epochs >= 1 for phase in phases)
    own = [phase for phase in phases if phase.role in ('stage', 'student')]
    # FT's paraphraser is the teacher's
    assert sum(phase.epochs for phase in own if phase.name != 'paraphraser') == made.epochs

  def test_names_no_path_of_a_machine(self, path):
    assert not any(part in path.read_text() for part in ('/home/', '/root/', '/tmp/'))


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
class TestStudy:
  def test_opens_with_its_command_and_the_report_s(self, path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert command_is_there(path, text) and f'python -m kd_jax.report runs/{path.stem}' in text
    assert 'Expected' in text and 'Time' in text

  def test_every_row_resolves(self, path):
    made = definition.resolve(read(path))
    assert made.definition.question and made.definition.protocol
    # what runs once compares nothing
    once = all(row.seeds == 1 for row in made.definition.rows)
    assert made.definition.comparisons or (once and made.definition.limits)

  def test_names_no_path_of_a_machine(self, path):
    assert not any(part in path.read_text() for part in ('/home/', '/root/', '/tmp/'))


def test_the_quick_start_gives_both_students_as_many_steps():
  made = definition.resolve(read(QUICK_START))
  (alone,), (distilled,) = (
    [run.config for run in made.finals(row, {})[:1]] for row in made.definition.rows
  )
  kept = 1_437 - distilled.validation_examples  # training digits
  assert alone.train_examples == alone.batch_size == 20 and kept == 1_150
  assert (
    alone.epochs == distilled.epochs * (kept // distilled.batch_size) == 102
    and '102 steps' in made.definition.protocol
  )


def test_the_paper_s_tables_are_there():
  assert {path.stem for path in STUDIES} >= {
    'table1',
    'table2',
    'table3',
    'table4',
    'feature_distillation',
    'digits',
  }


def test_every_method_has_a_file():
  assert {read(path).method for path in FILES} >= set(METHODS)


def test_a_missing_command_is_noticed():
  assert not command_is_there(ROOT / 'configs' / 'other.py', 'Runs something.')
