"""Names of strangers, of classes, files, rows and networks: they steer no terminal, are no formula
of a spreadsheet, no command of LaTeX and no markup, wherever they are written.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest

from kd_jax import text
from kd_jax.commands import output, predict, report
from kd_jax.report import pages, tables
from kd_jax.report.tables import Table
from kd_jax.runs.progress import Progress
from tests.report import escaping_test, study_report_test

STEERING = (
  '\x1b[2J',
  '\x1b]0;title\x07',
  '\r',
  '\x08',
  '\x9b1m',
  '\x7f',
  '\u202e',
  '\u2066',
  '\x00',
)
FORMULAS = ("=cmd|'/C calc'!A1", '+1+1', '-1+2', '@SUM(1)', '\t=1', '\r=1', '＝1', '-', '=', '+-1')
NUMBERS = ('-1', '+3.06', '-0.5', '-1,234', '-1e-05', '+.5')
ODD = ''.join(STEERING) + r'\input{x} ![a](https://a/b.png) <b> | `x` *y* 10 % $z$ _u_ #1 & ~ ^'


def steers(written: str) -> list[str]:
  """The characters of a text that steer a terminal."""
  return [c for c in written if c not in '\n\t' and not c.isprintable()]


@pytest.mark.parametrize('odd', STEERING)
def test_what_steers_a_terminal_is_shown(odd):
  shown = text.visible(f'a{odd}b\n\tc')
  assert not steers(shown) and shown.startswith('a') and shown.endswith('b\n\tc')
  assert json.loads(f'"{text.visible(odd)}"') == odd  # in JSON it stays what it is


@pytest.mark.parametrize(
  'name', ['狗 é 🐕', 'a\u00a0b\u2009c', 'می\u200cخواهم', '\udcff.png', 'a\n\tb']
)
def test_what_does_not_stays(name):
  assert text.visible(name) == name


@pytest.mark.parametrize('formula', FORMULAS)
def test_a_formula_is_a_text(formula):
  assert text.csv_cell(formula) == f"'{formula}"


@pytest.mark.parametrize('plain', [*NUMBERS, 'cat', '–', '−3.06', '', 0.25, -0.25, 'a=b', "'=1"])
def test_numbers_and_words_stay(plain):
  assert text.csv_cell(plain) == str(plain)


class TestTables:
  NAMES = (*FORMULAS, '[2pt] x', '*x')
  TABLE = Table(['row', 'note ' + ODD], [[ODD, '−1.0'], *([n, '+1'] for n in NAMES)], [ODD] * 13)

  def test_csv(self):
    lines = [*csv.reader(io.StringIO(tables.csv(self.TABLE)))]
    assert not steers(tables.csv(self.TABLE)) and [line[2] for line in lines[2:]] == ['+1'] * 12
    for line in lines:
      assert all(not cell.startswith(text._FORMULA) or cell == '+1' for cell in line)

  def test_latex(self):
    written = tables.latex(self.TABLE)
    commands = {*re.findall(r'\\([a-zA-Z]+)', written)}
    assert commands == {
      *('begin', 'end', 'toprule', 'midrule', 'bottomrule', 'multicolumn', 'textbf'),
      *('textbackslash', 'textasciitilde', 'textasciicircum'),
    }
    bare = re.sub(r'\$[<>-]\$', '', written)
    assert not steers(written) and not re.search(r'(?<!\\)[#%_$]|^[\[*]', bare, re.MULTILINE)

  def test_markdown_and_cards(self):
    written = tables.markdown(self.TABLE)
    assert not steers(written) and not re.search(r'(?<!\\)[<[`]', written)
    card = pages._for_markdown(ODD)
    assert not steers(card) and not re.search(r'(?<!\\)[<[`]', card)

  def test_the_terminal(self):
    assert not steers(tables.terminal(self.TABLE, width=60)) and tables.terminal(self.TABLE)


class TestPredictions:
  """`kd-jax predict` of hostile classes and files."""

  @pytest.fixture
  def shown(self, monkeypatch):
    def call(form: str, name: str) -> str:
      stream = io.TextIOWrapper(io.BytesIO(), encoding='utf-8', newline='')
      monkeypatch.setattr(sys, 'stdout', stream)
      output.settle()
      path = Path(f'{name}.png')
      predict.show([(path, [(name, 0.75), ('cat', 0.25)])], form, [path])
      sys.stdout.flush()
      return stream.buffer.getvalue().decode()

    return call

  @pytest.mark.parametrize('form', ['text', 'json', 'csv'])
  def test_they_steer_no_terminal(self, shown, form):
    assert not steers(shown(form, ODD.replace('/', '∕')))

  def test_json_has_them_as_they_are(self, shown):
    (found,) = json.loads(shown('json', ODD.replace('/', '∕')))
    assert found['classes'][0]['class'] == ODD.replace('/', '∕')

  @pytest.mark.parametrize('formula', FORMULAS)
  def test_csv_has_no_formula(self, shown, formula):
    formula = formula.replace('/', '∕').replace('\r', '')
    (_, first, second) = csv.reader(io.StringIO(shown('csv', formula)))
    assert first == [text.csv_cell(f'{formula}.png'), '1', text.csv_cell(formula), '0.75']
    assert second[2] == 'cat'

  def test_a_line_beside_them(self, capsys):
    predict._say(f'{ODD} is assumed')
    assert not steers(capsys.readouterr().err)


class TestTheScreen:
  def test_what_commands_print(self, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding='utf-8')
    monkeypatch.setattr(sys, 'stdout', stream)
    output.settle()
    once = sys.stdout
    output.settle()
    assert sys.stdout is once  # settled twice, it is the same
    print(ODD, '狗', flush=True)
    written = stream.buffer.getvalue().decode()
    assert not steers(written) and written.endswith(' 狗\n') and r'\u001b[2J' in written

  def test_the_bar_moves_the_cursor_and_no_line_beside_it_does(self):
    class Terminal(io.StringIO):
      encoding = 'utf-8'

      def isatty(self):
        return True

    screen = Terminal()
    progress = Progress(1, 2, stream=output.Visible(screen))
    progress.start('student')
    progress.say(f'a{ODD}b')
    progress.close()
    written = screen.getvalue()
    assert '\x1b[' in written and '\x1b[2J' not in written and '\u202e' not in written
    assert r'a\u001b[2J' in written


def test_a_strangers_study_is_reported_without_harm(tmp_path, capsys):
  folder = tmp_path / 'study'
  study_report_test.made(folder)
  for path in folder.glob('*.json'):
    value = json.loads(path.read_text())
    path.write_text(json.dumps(_odd(value)))
  assert report.main([str(folder)]) == 0
  assert not steers(capsys.readouterr().out)
  for path in (folder / 'report').iterdir():
    written = path.read_text(encoding='utf-8')
    if path.suffix in ('.csv', '.tex', '.md'):
      assert not steers(written), path
    if path.suffix == '.csv':
      cells = [cell for line in csv.reader(io.StringIO(written)) for cell in line]
      assert "'=" in ''.join(cells) and not [cell for cell in cells if cell.startswith('=')]


def _odd(value):
  """A value of JSON with odd words at both ends of its texts."""
  words = escaping_test.marked(value, ODD)
  return json.loads(json.dumps(words).replace('"KD', '"=KD').replace('"NOKD', '"=NOKD'))
