"""What a dry run says, and that it trains nothing."""

from __future__ import annotations

import re

import pytest

from kd_jax import models
from kd_jax.files import records
from kd_jax.runs import workdir
from kd_jax.studies import definition as studies
from kd_jax.studies import estimate, tasks
from kd_jax.studies.definition import Row
from kd_jax.types import KdJaxError
from tests import own_code, tiny
from tests.studies.workers_test import ROWS, SMALL, study


@pytest.fixture(scope='module', autouse=True)
def networks(tmp_path_factory):
  with own_code.importable(tmp_path_factory.mktemp('networks'), 'study_nets'):
    yield


def dry(folder, of) -> list[str]:
  said = []
  with tiny.quick_compilation():
    estimate.dry_run(of, folder, say=said.append)
  return said


def test_a_line_a_row_and_what_is_left(tmp_path):
  said = dry(tmp_path / 'study', study())
  assert said[0].startswith('NOKD: 2 runs, 2 phases left, ')
  # Teachers at the sweep's seed and at the row's own; two values, and a final run at a value that
  # is assumed.
  assert said[1].startswith('KD: 3 runs (2 of them to choose a value), 5 phases left, ')
  assert re.fullmatch(
    r'0 of 7 phases are finished\. Left: [\d.]+ GFLOP, about [\d.]+ s for one worker at \d+ GFLOP/s\. .*',
    said[-1],
  )
  assert not (tmp_path / 'study').exists()


def test_operations_are_of_three_forward_passes_and_the_teacher_s_share():
  of = study(Row('KD', {'method': 'kd'}, seeds=1))
  _, student = tasks.Plan(of).tasks(of.finals(of.definition.rows[0], {})[0])
  # the teacher is of the same architecture
  once = estimate.forward(models.build(student.phase.student))
  steps = 2 * (64 // 32) * 32
  assert estimate.flops(student) == pytest.approx((3 + 1) * once * steps)
  assert estimate.flops(student, sharing=4) == pytest.approx((3 + 1 / 4) * once * steps)


def test_a_row_that_cannot_run_is_told_before_anything_is_counted(tmp_path):
  of = studies.resolve(
    studies.study(
      '', question='', protocol='', rows=[*ROWS, Row('odd', {'batch_size': 65})], **SMALL
    )
  )
  with pytest.raises(KdJaxError, match="row 'odd'"):
    dry(tmp_path, of)


@pytest.mark.parametrize(
  ('versions', 'counts'),
  [
    (workdir.versions(), True),
    ({}, True),
    ({**workdir.versions(), 'devices': ['NVIDIA H200']}, False),
    ({**workdir.versions(), 'processor': 'another'}, False),
  ],
  ids=['here', 'not noted', 'another device', 'another processor'],
)
def test_only_phases_of_a_machine_like_this_one_say_how_fast_it_is(tmp_path, versions, counts):
  of = study(Row('NOKD', {'method': 'nokd'}, seeds=1))
  (task,) = tasks.Plan(of).tasks(of.finals(of.definition.rows[0], {})[0])
  records.write_sealed(
    task.result(tmp_path), {'rows': [{'seconds': 2.0}], 'history': [], 'versions': versions}
  )
  expected = estimate.flops(task) / 2.0 if counts else None
  assert estimate.measured_rate([task], tmp_path, {task.identity: 1}) == expected
