"""The terms of methods beside numbers of their official or reference code, and what the check of
them notices.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kd_jax.types import KdJaxError
from kd_jax.verify.method_losses import GRADIENT, check_method_losses
from kd_jax.verify.method_terms import TERMS
from kd_jax.verify.numbers import Check

FOLDER = os.environ.get('KD_JAX_REFERENCE_MORE', '')


def read(file: Path) -> dict[str, np.ndarray]:
  with np.load(file, allow_pickle=False) as data:
    return {name: data[name] for name in data.files}


@pytest.fixture(scope='module')
def numbers(goldens):
  """Of logits and embeddings, which every checkout has."""
  return read(goldens / 'method_losses.npz')


def failed(lines) -> list[str]:
  return [line.what for line in lines if isinstance(line, Check) and not line.passed]


def part(numbers, *names: str) -> dict[str, np.ndarray]:
  """The inputs, and the terms of these names alone."""
  terms = {name.split(GRADIENT)[0] for name in numbers if GRADIENT in name}
  return {
    name: array
    for name, array in numbers.items()
    if name.split(GRADIENT)[0] not in terms or name.split(GRADIENT)[0] in names
  }


@pytest.mark.parametrize(('dtype', 'tolerance'), [(np.float64, 1e-6), (np.float32, 1e-4)])
def test_every_term_agrees(numbers, dtype, tolerance):
  lines = list(check_method_losses(numbers, dtype=dtype, tolerance=tolerance))
  assert failed(lines) == []
  checks = [line.what for line in lines if isinstance(line, Check)]
  assert len(checks) == len(set(checks)) == 61
  assert 'dkd_alpha1_beta8_T4, value' in checks
  assert 'dkd_alpha1_beta8_T4__grad/student_logits, gradient' in checks


@pytest.mark.skipif(not FOLDER, reason='KD_JAX_REFERENCE_MORE is not set')
def test_every_term_of_maps_agrees():
  for file in sorted(Path(FOLDER).glob('method_losses*.npz')):
    lines = list(check_method_losses(read(file)))
    assert failed(lines) == []
    found = ' '.join(line.what for line in lines)
    assert 'nst_sum_over_stages__grad/student_feature1, gradient' in found
    for term in ('simkd_train_mode', 'review_train_mode', 'vid_sum_over_stages'):
      assert f'{term}__grad/student_feature3, gradient' in found
    assert 'simkd_logits, value' in found and 'review_output1, value' in found
    assert 'fsp_sum_over_pairs__grad/wide_student_feature1, gradient' in found
    assert 'factor_transfer_last_stage__grad/student_feature3, gradient' in found
    single = check_method_losses(read(file), dtype=np.float32, tolerance=1e-4)
    assert failed(single) == []


TERM = 'nkd_T3_gamma3.5'


def wrong(numbers) -> list[str]:
  """What is off, but for the forms that are missing."""
  return [what for what in failed(check_method_losses(numbers)) if 'form' not in what]


def test_a_changed_value_and_a_changed_gradient_are_noticed(numbers):
  few = part(numbers, TERM)
  assert wrong(few) == []
  gradient = f'{TERM}{GRADIENT}student_logits'
  assert wrong({**few, TERM: few[TERM] * (1 + 1e-5)}) == [f'{TERM}, value']
  assert wrong({**few, gradient: few[gradient] * (1 + 1e-5)}) == [f'{gradient}, gradient']
  assert wrong({**few, gradient: few[gradient][:-1]}) == [f'{gradient}, gradient']
  assert wrong({**few, TERM: few[TERM] * np.nan}) == [f'{TERM}, value']


def test_a_wrong_number_in_a_name_is_noticed(numbers):
  few = {name.replace('gamma3.5', 'gamma3.6'): a for name, a in part(numbers, TERM).items()}
  assert wrong(few) == [
    'nkd_T3_gamma3.6, value',
    f'nkd_T3_gamma3.6{GRADIENT}student_logits, gradient',
  ]


def test_what_a_file_lacks_is_named(numbers):
  few = part(numbers, TERM)
  for name in (TERM, f'{TERM}{GRADIENT}student_logits'):
    lost = {k: a for k, a in few.items() if k != name}
    assert wrong(lost) == [f'{name} is missing in the file']
  forms = [what for what in failed(check_method_losses(few)) if 'form' in what]
  # all but that of the term that is there and those of maps, of which the file has no inputs
  assert len(forms) == len(TERMS) - 10


def test_a_term_without_its_inputs_and_one_of_an_unknown_name_are_errors(numbers):
  few = part(numbers, TERM)
  for lost in ('labels', 'teacher_logits'):
    with pytest.raises(KdJaxError, match=f'lacks .*{lost}'):
      list(check_method_losses({k: a for k, a in few.items() if k != lost}))
  with pytest.raises(KdJaxError, match="'magic' of the reference is none that kd_jax knows"):
    list(check_method_losses({**few, 'magic': np.float64(1)}))


def test_shapes_classes_and_sizes_are_those_of_the_file():
  """Maps of other sizes and more stages are read from the names; the values are numpy's."""
  draw = np.random.default_rng(0)
  shapes = {1: ((4, 16, 16, 3), (4, 8, 8, 5)), 2: ((4, 4, 4, 6), (4, 4, 4, 2))}
  given = {
    f'{role}_feature{stage}': np.abs(draw.normal(size=shape))
    for stage, pair in shapes.items()
    for role, shape in zip(('student', 'teacher'), pair, strict=True)
  }

  def places(x):
    energy = (x**2).mean(-1).reshape(len(x), -1)
    return energy / np.linalg.norm(energy, axis=-1, keepdims=True)

  pooled = given['student_feature1'].reshape(4, 8, 2, 8, 2, 3).mean((2, 4))
  pairs = (
    (pooled, given['teacher_feature1']),
    (given['student_feature2'], given['teacher_feature2']),
  )
  value = sum(((places(s) - places(t)) ** 2).mean() for s, t in pairs)
  lines = failed(check_method_losses({**given, 'attention_transfer_sum_over_stages': value}))
  assert [what for what in lines if 'form' not in what] == [
    f'attention_transfer_sum_over_stages{GRADIENT}student_feature{stage} is missing in the file'
    for stage in (1, 2)
  ]
