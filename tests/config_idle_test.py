"""Keys that a run does not use; in a record of any version."""

from __future__ import annotations

import pytest

from kd_jax import config
from kd_jax.config.idle import idle


def recorded(**changed):
  return config.resolve(config.default(**changed)).to_share()


@pytest.mark.parametrize(
  ('changed', 'unused', 'used'),
  [
    (
      {'method': 'nokd'},
      ('teacher', 'teacher_epochs', 'unlabelled_dataset'),
      ('epochs', 'momentum'),
    ),
    ({'method': 'kd'}, ('teacher_mean', 'teacher_guess'), ('teacher', 'teacher_epochs')),
    ({'teacher_checkpoint': 'a.pth'}, ('teacher_epochs',), ('teacher_checkpoint', 'teacher_mean')),
    ({'method': 'stl'}, (), ('unlabelled_dataset', 'teacher')),
    ({'method': 'kd+0.5*oh'}, ('unlabelled_dataset',), ('teacher', 'learning_rate_drops')),
    (
      {'optimiser': 'adamw', 'schedule': 'cosine'},
      ('momentum', 'nesterov', 'learning_rate_drops', 'learning_rate_factor'),
      ('weight_decay', 'learning_rate'),
    ),
    ({'selection': 'test'}, ('validation_examples', 'test_every_epoch'), ('selection',)),
  ],
  ids=str,
)
def test_what_a_run_uses(changed, unused, used):
  found = idle(recorded(**changed))
  assert found >= {*unused} and not found & {*used}
  assert found <= {*config.KEYS}


def test_a_method_of_another_version_or_of_one_s_own_may_use_all():
  for method in ('later', 'package.module:factory'):
    assert not idle({'method': method}) & {'teacher', 'unlabelled_dataset', 'epochs'}


def test_the_page_leaves_them_out(tmp_path):
  from kd_jax.report import study_page
  from tests.report.study_page_test import made

  study = made(tmp_path, config={'unlabelled_dataset': 'pictures of none', 'method': 'nokd'})
  assert 'pictures of none' not in study_page.page(study)
  study = made(tmp_path / 'stl', config={'unlabelled_dataset': 'pictures of all', 'method': 'stl'})
  assert 'pictures of all' in study_page.page(study)
