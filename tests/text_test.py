"""Messages in one line, and lines of progress."""

from __future__ import annotations

import pytest

from kd_jax import text


@pytest.mark.parametrize(
  ('message', 'said'),
  [
    ('one\n  two\tthree ', 'one two three'),
    (ValueError('bad\nvalue'), 'bad value'),
    (ValueError(), 'ValueError'),
    (ValueError(' \n'), 'ValueError'),
    ('x' * 200, 'x' * 200),
    ('x' * 201, 'x' * 199 + '…'),
  ],
)
def test_a_message_in_one_line(message, said):
  assert text.one_line(message) == said


def test_a_message_may_be_shorter():
  assert text.one_line('a longer text', at_most=6) == 'a lon…'


class TestTicker:
  @pytest.fixture
  def clock(self, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(text.time, 'monotonic', lambda: now[0])
    return now

  def said(self, clock, moments):
    lines = []
    ticker = text.Ticker('counting', 1000, say=lines.append)
    for now, done in moments:
      clock[0] = 100.0 + now
      ticker.at(done)
    return lines

  def test_a_short_task_is_silent(self, clock):
    assert self.said(clock, [(1, 10), (4.9, 1000)]) == []

  def test_it_speaks_every_few_seconds(self, clock):
    moments = [(6, 100), (7, 150), (10.9, 200), (12, 500), (30, 1000)]
    assert self.said(clock, moments) == [
      'counting: 100 of 1,000, about 54 s left',
      'counting: 500 of 1,000, about 12 s left',
      'counting: 1,000 of 1,000, about 0.0 s left',
    ]

  def test_nothing_is_foretold_before_anything_is_done(self, clock):
    assert self.said(clock, [(60, 0)]) == []

  def test_it_prints_where_nothing_else_is_asked_for(self, clock, capsys):
    ticker = text.Ticker('counting', 2)
    clock[0] += 10
    ticker.at(1)
    assert capsys.readouterr().out == 'counting: 1 of 2, about 10 s left\n'
