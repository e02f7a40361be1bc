"""CRD on two processes, by the command line: as tests/train/hosts_test.py has RKD."""

from __future__ import annotations

import pytest

from tests.train.hosts_test import Started, assert_equal_to_rounding


@pytest.mark.parametrize(
  'flags',
  [
    pytest.param((), marks=pytest.mark.system),
    pytest.param(
      ('--config.data_placement=host', '--config.parallel=pmap'), marks=pytest.mark.whole
    ),
  ],
)
def test_students_are_the_same_on_two_processes(tmp_path, flags):
  """In the second epoch each image meets the row that the first one left, and rows of the other
  process's images are its negatives.
  """
  chosen = ('--config.epochs=2', '--config.method=crd', '--config.crd.weight=20')
  chosen += ('--config.crd.negatives=8', '--config.crd.width=4', *flags)
  for count in (1, 2):
    first, *_ = Started(tmp_path / str(count), count, *chosen).ended()
    assert first.status == 0, first
  assert_equal_to_rounding(tmp_path / '2', tmp_path / '1')
