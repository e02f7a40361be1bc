"""The benchmark of sizes: what it makes, what it writes down, and that it goes on where it stopped."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from benchmarks.sizes import __main__ as sizes
from benchmarks.sizes import drawn, finished, pictures, points, process, reading
from kd_jax.files import study_records
from kd_jax.report import study_tables
from tests import tiny

POINTS = [
  {'part': 'plan', 'size': 100, 'commit': 'a1', 'seconds': 2.0, 'processor_seconds': 1.5}
  | {'peak_megabytes': 600},
  {'part': 'plan', 'size': 500, 'commit': 'a1', 'seconds': 4.0, 'processor_seconds': 3.5}
  | {'peak_megabytes': 610},
  {'part': 'report', 'size': 1000, 'commit': 'a1', 'seconds': 3.0, 'processor_seconds': 2.5}
  | {'peak_megabytes': 300, 'page_megabytes': 1.5, 'writing_processor_seconds': 5.0},
]


def test_the_table_has_a_line_a_point():
  head, rule, first, _, third = drawn.table(POINTS)
  assert head.count('|') == rule.count('|') == first.count('|') == third.count('|')
  assert first == ('| a study planned (`--dry_run`) | 100 students | 2.0 | 1.5 | 600 |  |  | a1 |')
  assert '| 1,000 runs | 3.0 | 2.5 | 300 | 1.5 | writing processor seconds 5.0 | a1 |' in third


def test_the_plot_has_a_column_a_part(tmp_path):
  widths = []
  for some in (POINTS[:2], POINTS):
    drawn.plot(some, tmp_path / 'sizes.png')
    with Image.open(tmp_path / 'sizes.png') as picture:
      widths.append(picture.size[0])
  assert widths[1] == pytest.approx(2 * widths[0], abs=2)


@pytest.fixture
def flags(tmp_path):
  """The flags of the command, which measures next to nothing."""
  out = tmp_path / 'sizes.json'
  given = ['sizes', f'--folder={tmp_path}/made', f'--out={out}', '--parts=plan', '--most=500']
  sizes.FLAGS(given)
  yield out
  sizes.FLAGS.unparse_flags()


def test_a_point_that_is_there_is_not_measured_again(flags, monkeypatch, capsys):
  asked = []

  def measure(size, place):
    asked.append(size)
    if size == 500 and len(asked) == 2:
      raise process.Failed('it was stopped')
    (place / 'large').write_text('x')
    return {'seconds': size / 100, 'processor_seconds': 1.0, 'peak_megabytes': 1}

  part = points.PARTS['plan']._replace(measure=measure)
  monkeypatch.setitem(points.PARTS, 'plan', part)
  with pytest.raises(SystemExit, match='it was stopped'):
    sizes.main(['sizes'])
  sizes.main(['sizes'])
  assert asked == [100, 500, 500]
  record = json.loads(flags.read_text())
  assert [(point['size'], point['seconds']) for point in record['points']] == [(100, 1), (500, 5)]
  assert not [*(flags.parent / 'made').iterdir()]
  assert capsys.readouterr().out.count('| a study planned') == 2


def test_figures_of_another_machine_are_not_mixed(flags):
  flags.write_text(json.dumps({'machine': {'cpu': 'another'}, 'points': []}))
  with pytest.raises(SystemExit, match='holds figures of another machine'):
    sizes.main(['sizes'])


def test_a_command_that_fails_says_why(tmp_path):
  with pytest.raises(process.Failed, match='ended with 3: no such thing'):
    code = 'import sys; print("first"); print("no such thing"); sys.exit(3)'
    process.run(('-c', code), tmp_path / 'out.txt')


def test_a_finished_study_reads_as_one_that_was_trained(tmp_path):
  with tiny.quick_compilation():
    finished.make(tmp_path, 10)
  study = study_records.read(tmp_path)
  assert study.about['complete'] and len(study.about['runs']) == 10
  assert study_tables.results(study).column('n') == ['5', '5']


@pytest.mark.system
def test_a_folder_is_read_after_a_kill(tmp_path):
  figures = points.read(1200, tmp_path)
  assert 0.5 <= figures['killed_at_share'] < 1 and figures['own_megabytes'] > 0


def test_pictures_follow_from_their_numbers(tmp_path):
  for folder in ('one', 'other'):
    pictures.make(tmp_path / folder, 24, 3, 6)
  files = [sorted((tmp_path / folder).rglob('*.*')) for folder in ('one', 'other')]
  assert len(files[0]) == 30 and {file.suffix for file in files[0]} == {'.jpg', '.png'}
  assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
  assert reading.SIDE == 32
