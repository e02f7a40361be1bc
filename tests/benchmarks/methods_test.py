"""The table of what methods cost: its lines, its figures, and the page of them. No figure of speed
is checked here.
"""

from __future__ import annotations

import json

import pytest

from benchmarks import kd_jax_side, methods
from benchmarks.rows import Row
from benchmarks.workers import REPOSITORY
from kd_jax.methods import METHODS
from tests import forks
from tests.tiny import quick_compilation


class Answers:
  """A worker that answers as it was told to."""

  def __init__(self, seconds):
    self.seconds, self.asked = iter(seconds), []

  def answer(self):
    return {}

  def ask(self, *, measure, **given):
    self.asked.append((measure, given.get('count')))
    if measure in ('settle', 'peak'):
      return {'bytes': 2e9}
    return {'seconds': next(self.seconds)}


def test_every_method_has_a_line_or_a_reason():
  named = {method for method, *_ in methods.rows()}
  assert named | set(methods.LEFT_OUT) == set(METHODS) and not named & set(methods.LEFT_OUT)
  assert len({methods.titled(*row) for row in methods.rows()}) == len(methods.rows())
  titles = [methods.titled(*row) for row in methods.rows()]
  assert {'crd, official', 'ft, student', 'review', 'review, review.width=64'} <= set(titles)


def test_blocks_take_turns_and_their_first_step_does_not_count():
  one, beside = Answers([9, 1.0, 9, 3.0]), Answers([9, 0.5, 9, 1.0])
  found = methods.measure(one, beside, blocks=2, steps=4)
  assert (found['seconds'], found['beside'], found['peak_bytes']) == ([1.0, 3.0], [0.5, 1.0], 2e9)
  assert beside.asked == [('whole', 1), ('whole', 4)] * 2
  assert one.asked == [('settle', None), *beside.asked, ('peak', None)]


def test_the_page_has_ratios_of_blocks_and_the_machine():
  line = {'seconds': [1.0, 3.0, 2.0], 'beside': [0.5, 1.0, 1.0], 'load': [7.0, 8.0, 6.5]}
  figures = {
    'machine': {'cpu': 'ABC', 'cores': 2, 'jax': '0.12', 'python': '3.13'},
    'steps': 2,
    'beside': {'peak_bytes': 1.5e9},
    'rows': {'dkd': line | {'peak_bytes': 2e9}},
  }
  page = methods.page(figures)
  assert '| `kd` | 1 | – | 1.50 | – |' in page
  assert '| `dkd` | 2.00 | 2.00, 3.00 | 2.00 | +0.50 |' in page
  assert 'Not timed yet: `nokd`, ' in page and '`dkd`' not in page.split('Not timed yet')[1]
  assert 'ABC, 2 cores, jax 0.12' in page and 'The load average was 6.5 to 8.0' in page
  assert all(f'`{name}` has no line' in page for name in methods.LEFT_OUT if name != methods.BESIDE)


def test_what_is_asked_for_wrongly_is_one_line():
  for flags, words in (
    ((), 'needs --out'),
    (('--out=x.json', '--methods=magic'), 'magic: no line'),
  ):
    ended = forks.python('-m', 'benchmarks.methods', *flags, cwd=REPOSITORY)
    assert ended.returncode == 2 and words in ended.stderr and ended.stderr.count('\n') == 1


@pytest.mark.system
def test_a_phase_of_a_plan_is_prepared():
  """FT's student needs the companion of the phase before it."""
  row = Row(
    'methods',
    method='ft',
    phase='student',
    student='thin_resnet8',
    teacher='thin_resnet8',
    batch=4,
    classes=3,
    image_shape=(8, 8, 3),
    examples=10,
    evaluated=6,
  )
  with quick_compilation():
    _, measurements = kd_jax_side.prepare(json.loads(json.dumps(row)), threads=1)
    assert measurements['whole'](count=1)['seconds'] > 0
