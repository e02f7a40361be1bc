"""What a picture shows is asked of the figure; what it looks like was looked at by a person."""

from __future__ import annotations

import contextlib
import math

import pytest

from kd_jax.files import results
from kd_jax.measures import statistics
from kd_jax.report import colours, plots
from kd_jax.report import figures as drawing
from kd_jax.report.plots import plot_history
from kd_jax.types import KdJaxError


def plot_comparison(path, rows):
  plots.plot_comparison(path, results.from_json(rows))


def _history(epochs, *, terms=('cross_entropy',), validation=True):
  rows = []
  for epoch in range(1, epochs + 1):
    row = {
      'epoch': epoch,
      'train_loss': 2 / epoch,
      'train_accuracy': 1 - 0.5 / epoch,
      'terms': dict.fromkeys(terms, 1 / epoch),
    }
    if validation:
      row |= {'validation_loss': 2.1 / epoch, 'validation_accuracy': 0.9 - 0.5 / epoch}
    rows.append(row)
  return rows


@pytest.fixture
def figures(monkeypatch):
  """Keeps the figures that are drawn, so that a test can look into them."""
  kept = []
  original = drawing.png

  @contextlib.contextmanager
  def keeping(*args):
    with original(*args) as figure:
      kept.append(figure)
      yield figure

  monkeypatch.setattr(drawing, 'png', keeping)
  return kept


def _lines(axis):
  return [list(map(tuple, line.get_xydata())) for line in axis.get_lines()]


def _labels(figure):
  return [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]


def _is_png(path):
  return path.read_bytes()[:8] == b'\x89PNG\r\n\x1a\n' and path.stat().st_size > 5000


@pytest.mark.parametrize('epochs', [1, 6, 200])
def test_one_phase(tmp_path, figures, epochs):
  path = tmp_path / 'deep' / 'curves.png'
  plot_history(path, {'student': _history(epochs)}, title='A student')
  assert _is_png(path)
  accuracy, loss = figures[0].axes
  assert [len(line) for line in _lines(accuracy)] == [epochs, epochs, 1]
  assert _lines(accuracy)[2] == [(epochs, pytest.approx(0.9 - 0.5 / epochs))]
  assert _lines(loss)[2] == [(epochs, pytest.approx(2.1 / epochs))]
  assert bool(accuracy.get_lines()[0].get_marker() == 'o') == (epochs <= 15)
  best = f'best validation accuracy: {90 - 50 / epochs:.2f} %, epoch {epochs}'
  assert _labels(figures[0]) == [['validation', 'training', best]]
  assert accuracy.yaxis.get_major_formatter()(0.915, 0) == '91.5 %'


def test_the_first_of_equal_epochs_is_marked(tmp_path, figures):
  history = _history(6)
  history[2]['validation_accuracy'] = history[4]['validation_accuracy'] = 0.95
  plot_history(tmp_path / 'curves.png', {'student': history}, title='A student')
  assert _lines(figures[0].axes[0])[2] == [(3, 0.95)]


def test_several_terms_get_a_panel(tmp_path, figures):
  plot_history(
    tmp_path / 'curves.png',
    {'student': _history(6, terms=('cross_entropy', 'distillation'))},
    title='A student',
  )
  assert len(figures[0].axes) == 3
  assert [len(line) for line in _lines(figures[0].axes[2])] == [6, 6]
  assert _labels(figures[0])[1] == ['cross entropy', 'distillation']


def test_several_phases(tmp_path, figures):
  histories = {
    'teacher': _history(200),
    '_hidden $x$': _history(3, terms=('stage1', 'stage2'), validation=False),
    'distilled': _history(30, terms=('cross_entropy', 'distillation')),
    'not begun': [],
  }
  plot_history(tmp_path / 'curves.png', histories, title='Many $ ' * 30)
  names = [text.strip() for text in _labels(figures[0])[0]]
  assert names == [
    'teacher',
    '_hidden $x$',
    'distilled',
    'validation',
    'training',
    'best validation accuracy',
  ]
  assert _labels(figures[0])[1] == ['stage1', 'stage2', 'cross entropy', 'distillation']
  looks = {
    (line.get_color(), line.get_linestyle(), line._dash_pattern[1] and tuple(line._dash_pattern[1]))
    for line in figures[0].axes[2].get_lines()
  }
  assert len(looks) == 4


def test_legends_cover_no_line(tmp_path, figures):
  plot_history(
    tmp_path / 'curves.png', {'a': _history(6, terms=('x', 'y')), 'b': _history(6)}, title='Two'
  )
  figure = figures[0]
  figure.draw_without_rendering()
  for legend in figure.legends:
    for axis in figure.axes:
      assert not legend.get_window_extent().overlaps(axis.get_tightbbox())
  assert not figure.legends[0].get_window_extent().overlaps(figure.legends[1].get_window_extent())


def test_gaps_and_divergence_are_left_out(tmp_path, figures):
  history = _history(6)
  del history[1]['validation_accuracy']
  history[2]['validation_accuracy'] = None
  history[3]['train_loss'] = math.nan
  history[4]['train_loss'] = math.inf
  plot_history(tmp_path / 'curves.png', {'student': history}, title='A student')
  assert [epoch for epoch, _ in _lines(figures[0].axes[0])[1]] == [1, 4, 5, 6]
  assert [epoch for epoch, _ in _lines(figures[0].axes[1])[0]] == [1, 2, 3, 6]


def test_without_validation_nothing_is_marked(tmp_path, figures):
  plot_history(
    tmp_path / 'curves.png', {'student': _history(6, validation=False)}, title='A student'
  )
  assert [len(line) for line in _lines(figures[0].axes[0])] == [6]
  assert _labels(figures[0]) == [['training']]


def test_losses_that_differ_much_are_logarithmic(tmp_path, figures):
  plot_history(tmp_path / 'a.png', {'student': _history(6)}, title='A student')
  plot_history(tmp_path / 'b.png', {'student': _history(200)}, title='A student')
  near, far = (figure.axes[1] for figure in figures)
  assert (near.get_yscale(), near.get_ylabel()) == ('linear', 'loss')
  assert (far.get_yscale(), far.get_ylabel()) == ('log', 'loss (logarithmic)')


def test_nothing_to_draw_is_one_line(tmp_path):
  with pytest.raises(KdJaxError, match='no phase has finished an epoch'):
    plot_history(tmp_path / 'curves.png', {'student': []}, title='A student')
  with pytest.raises(KdJaxError, match='no row has a test accuracy'):
    plot_comparison(tmp_path / 'bars.png', [{'name': 'a', 'test_accuracy': None}])
  assert not list(tmp_path.iterdir())


def test_a_failed_drawing_leaves_no_file_and_the_users_settings(tmp_path):
  import matplotlib

  before = dict(matplotlib.rcParams)
  with pytest.raises(KeyError):
    plot_history(tmp_path / 'curves.png', {'student': [{'train_loss': 1.0}]}, title='no epoch')
  assert dict(matplotlib.rcParams) == before
  assert not list(tmp_path.iterdir())


ROWS = [
  {
    'name': 'teacher',
    'role': 'teacher',
    'student': 'resnet26',
    'method': 'plain',
    'teachers': [],
    'seed': 0,
    'test_accuracy': 0.9331,
  },
  {
    'name': 'student',
    'student': 'resnet8',
    'method': 'plain',
    'teachers': [],
    'seed': 0,
    'test_accuracy': 0.8958,
  },
  {
    'name': 'assistant',
    'role': 'teacher',
    'student': 'resnet20',
    'method': 'kd',
    'teachers': ['teacher'],
    'seed': 0,
    'test_accuracy': 0.92,
  },
  {
    'name': 'distilled',
    'student': 'resnet8',
    'method': 'kd',
    'teachers': ['assistant'],
    'seed': 0,
    'test_accuracy': 0.91,
  },
  {
    'name': 'distilled',
    'student': 'resnet8',
    'method': 'kd',
    'teachers': ['assistant'],
    'seed': 1,
    'test_accuracy': 0.914,
  },
  {'name': 'unfinished', 'student': 'resnet8', 'method': 'kd', 'teachers': ['teacher'], 'seed': 0},
]


def test_comparison(tmp_path, figures):
  path = tmp_path / 'bars.png'
  plot_comparison(path, ROWS)
  assert _is_png(path)
  (axis,) = figures[0].axes
  ends = [bar.get_x() + bar.get_width() for bar in axis.patches]
  assert ends == pytest.approx([0.9331, 0.8958, 0.92, 0.912])
  assert [text.get_text() for text in axis.texts] == ['93.31 %', '89.58 %', '92.00 %', '91.20 %']
  assert axis.get_yticklabels()[3].get_text() == 'distilled\nresnet8, kd, mean of 2 seeds'
  assert _labels(figures[0]) == [
    ['teacher', 'student alone', 'teacher assistant', 'distilled student']
  ]


def test_comparison_says_where_the_axis_starts(tmp_path, figures):
  plot_comparison(tmp_path / 'zoomed.png', ROWS)
  plot_comparison(
    tmp_path / 'whole.png',
    [{'name': 'a', 'test_accuracy': 0.12}, {'name': 'b', 'test_accuracy': 1.0}],
  )
  plot_comparison(tmp_path / 'one.png', [{'name': 'a', 'test_accuracy': 0.91}])
  zoomed, whole, one = (figure.axes[0] for figure in figures)
  assert zoomed.get_xlim()[0] == pytest.approx(0.84)
  assert zoomed.get_xlabel() == 'test accuracy (the axis starts at 84 %, not at 0)'
  assert zoomed.get_xticklabels()[0].get_text() == '84 %'
  assert whole.get_xlim()[0] == one.get_xlim()[0] == 0
  assert whole.get_xlabel() == one.get_xlabel() == 'test accuracy'


def test_seeds_have_the_interval_of_their_mean(tmp_path, figures):
  rows = [
    {'name': 'three', 'seed': seed, 'test_accuracy': value, 'test_examples': 360}
    for seed, value in enumerate((0.6, 0.7, 0.8))
  ]
  rows += [
    {'name': 'two', 'seed': seed, 'test_accuracy': value, 'test_examples': 360}
    for seed, value in enumerate((0.8, 0.9))
  ]
  plot_comparison(tmp_path / 'bars.png', rows)
  (axis,) = figures[0].axes
  (interval,) = [bar for bar in axis.containers if type(bar).__name__ == 'ErrorbarContainer']
  ((left, _), (right, _)) = interval.lines[2][0].get_segments()[0]
  half = 4.302653 * 0.1 / 3**0.5  # the quantile of Student's t for three values
  assert (left, right) == pytest.approx((0.7 - half, 0.7 + half))
  assert 'n = 360 test images; lines: 95 % intervals over seeds (Student)' in axis.get_xlabel()


def test_rows_of_a_study_differ_in_colour_by_whether_a_teacher_taught_them(tmp_path, figures):
  rows = [
    {'name': name, 'role': 'student', 'teachers': teachers, 'test_accuracy': value}
    for name, teachers, value in (('alone', [], 0.6), ('distilled', ['teacher'], 0.9))
  ]
  plot_comparison(tmp_path / 'bars.png', rows)
  assert _bars_colours(figures[0].axes[0]) == [colours.BASELINE, colours.STUDENT]
  assert _labels(figures[0]) == [['student alone', 'distilled student']]
  plot_comparison(tmp_path / 'one.png', rows[:1])
  # the student of a run without a teacher
  assert _bars_colours(figures[1].axes[0]) == [colours.STUDENT]


def _bars_colours(axis):
  from matplotlib.colors import to_hex

  return [to_hex(bar.get_facecolor()) for bar in axis.patches]


def _network_colours(figure):
  """Phase → colour, of the legend of a picture of curves."""
  from matplotlib.colors import to_hex

  (legend, *_) = figure.legends
  return {
    text.get_text().strip(): to_hex(line.get_color())
    for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
  }


RUN = [
  {
    'name': 'teacher',
    'role': 'teacher',
    'teachers': [],
    'test_accuracy': 0.98,
    'test_examples': 360,
  },
  {
    'name': 'baseline',
    'role': 'baseline',
    'teachers': [],
    'test_accuracy': 0.95,
    'test_examples': 360,
  },
  {
    'name': 'student',
    'role': 'student',
    'teachers': ['resnet26'],
    'test_accuracy': 1.0,
    'test_examples': 360,
  },
]


def test_a_network_has_one_colour_in_every_picture(tmp_path, figures):
  plot_comparison(tmp_path / 'bars.png', RUN)
  plot_history(tmp_path / 'curves.png', {row['name']: _history(3) for row in RUN}, title='A run')
  plot_history(
    tmp_path / 'fewer.png',
    {name: _history(3) for name in ('baseline', 'student')},
    title='An imported teacher',
  )
  bars, curves, fewer = figures
  expected = {'teacher': colours.TEACHER, 'baseline': colours.BASELINE, 'student': colours.STUDENT}
  assert _bars_colours(bars.axes[0]) == list(expected.values()) and len(set(expected.values())) == 3
  assert expected.items() <= _network_colours(curves).items()
  assert {name: expected[name] for name in ('baseline', 'student')}.items() <= _network_colours(
    fewer
  ).items()


def test_networks_of_one_role_differ(tmp_path, figures):
  names = [
    'teacher1',
    'teacher2',
    'teacher3',
    'assistant',
    'baseline',
    'boundary',
    'student',
    'x',
    'y',
  ]
  plot_history(tmp_path / 'curves.png', {name: _history(3) for name in names}, title='Many')
  found = _network_colours(figures[0])
  assert len({found[name] for name in names}) == len(names)
  assert (found['teacher1'], found['baseline'], found['student']) == (
    colours.TEACHER,
    colours.BASELINE,
    colours.STUDENT,
  )


def test_what_stands_for_all_phases_has_no_network_s_colour(tmp_path, figures):
  plot_history(
    tmp_path / 'curves.png',
    {'teacher': _history(3), 'student': _history(3, terms=('a', 'b'))},
    title='Two',
  )
  found = _network_colours(figures[0])
  assert not {found['validation'], found['training']} & {found['teacher'], found['student']}


def test_comparison_has_wilson_s_intervals_and_says_n(tmp_path, figures):
  plot_comparison(tmp_path / 'bars.png', RUN)
  (axis,) = figures[0].axes
  spans = [
    tuple(segment[:, 0])
    for container in axis.containers
    if container.__class__.__name__ == 'ErrorbarContainer'
    for segment in container.lines[2][0].get_segments()
  ]
  assert spans == [pytest.approx(statistics.wilson(row['test_accuracy'], 360)) for row in RUN]
  assert spans[2][1] == 1 and spans[2][0] < 0.99  # also where all are right
  assert 'n = 360 test images; lines: 95 % intervals' in axis.get_xlabel()
  assert axis.get_xlim()[0] < spans[1][0] and axis.get_xlim()[1] > spans[0][1]


def test_comparison_without_a_number_of_images_has_no_intervals(tmp_path, figures):
  plot_comparison(tmp_path / 'bars.png', ROWS)
  (axis,) = figures[0].axes
  assert (
    all(container.__class__.__name__ == 'BarContainer' for container in axis.containers)
    and 'n =' not in axis.get_xlabel()
  )


def test_comparison_marks_selection_on_the_test_set(tmp_path, figures):
  plot_comparison(tmp_path / 'bars.png', [ROWS[0], {**ROWS[1], 'selection': 'test'}])
  (axis,) = figures[0].axes
  assert [text.get_text() for text in axis.texts] == ['93.31 %', '89.58 % *']
  assert 'epoch selected on the test set: optimistic' in axis.get_xlabel()


def test_comparison_of_equals_and_of_strange_names(tmp_path):
  rows = [{'name': '学生 $x^2$', 'test_accuracy': 0.5}, {'name': 'n' * 200, 'test_accuracy': 0.5}]
  plot_comparison(tmp_path / 'bars.png', rows)
  assert _is_png(tmp_path / 'bars.png')
