"""Some of the table of bad input, the same cases each time; and that the table's own checks can
fail.
"""

from __future__ import annotations

import collections
import subprocess
import sys
from pathlib import Path

import pytest

from tests import bad_cases, bad_input, bad_networks
from tests.bad_cases import CASES, Case
from tests.bad_input import Outcome

ROOT = Path(__file__).resolve().parent.parent
GOOD = Outcome(2, '', 'launch.py: epochs is at least 1, not 0\n', [], 0.1)
CASE = Case('ranges', 'launch.py --config.epochs=0', 'at least 1')


@pytest.mark.skipif(
  sys.platform != 'linux', reason='forks are bounded, and give up rights, as Linux has it'
)
@pytest.mark.parametrize(
  ('count', 'chosen'),
  [(40, ['--sample=40']), pytest.param(len(CASES), [], marks=pytest.mark.whole, id='all')],
)
def test_cases(count, chosen):
  done = subprocess.run(
    [sys.executable, '-m', 'tests.bad_input', *chosen], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert (
    f'{count} cases in ' in done.stdout and '; 0 are not refused as they have to be' in done.stdout
  )


def test_there_are_many_of_every_kind():
  counts = collections.Counter(case.kind for case in CASES)
  assert len(CASES) >= 400 and set(bad_cases.LAUNCH) | set(bad_cases.OTHERS) <= set(counts)
  assert len({case.command for case in CASES}) == len(CASES) and all(case.said for case in CASES)


def test_every_file_is_spoken_of():
  assert set(bad_networks.MAKERS) == {
    name for case in CASES for name in bad_input.files(case.command)
  }


@pytest.mark.parametrize(
  ('changed', 'fault'),
  [
    ({'code': 0}, 'exit code 0'),
    ({'code': bad_input.TRAINED}, 'it trains'),
    ({'code': -9}, 'signal 9'),
    ({'err': ''}, '0 lines'),
    ({'err': GOOD.err * 2}, '2 lines'),
    ({'err': 'Traceback (most recent call last):\n'}, 'a traceback'),
    ({'err': GOOD.err.removeprefix('launch.py: ')}, 'no name of the command'),
    ({'err': 'launch.py: no\n'}, 'does not say'),
    ({'err': GOOD.err.replace('not', 'x' * 2000)}, 'characters'),
    ({'err': GOOD.err.replace('not', '\x1b[31m')}, 'steer a terminal'),
    ({'out': 'Results lie in runs'}, 'it prints results'),
    ({'changed': ['runs/quickstart']}, 'it changes runs/quickstart'),
  ],
  ids=str,
)
def test_what_is_wrong_is_named(changed, fault):
  assert not bad_input.fault(CASE, GOOD) and fault in bad_input.fault(
    CASE, GOOD._replace(**changed)
  )


def test_the_table_is_markdown():
  row = bad_input.Judged(CASE._replace(command='launch.py a|b ' + 'x' * 500), GOOD, '')
  *_, line = bad_input.table([row]).splitlines()
  assert line.startswith('| ranges | `launch.py a\\|b xx') and line.endswith(
    '| 2 | launch.py: epochs is at least 1, not 0 |'
  )
  assert '| ranges | 1 |' in bad_input.summary([row]) and '| all | 1 |' in bad_input.summary([row])
