"""What records say stays text on a page: each page is made twice, of hostile words and of harmless
ones, and has the same elements.
"""

from __future__ import annotations

import html.parser
import json
import re
from typing import Any

import pytest

from kd_jax.files import predictions, records, run_records, study_records
from kd_jax.report import run_page, study_page
from tests.report import run_report_test, study_report_test

HOSTILE = (
  ' "\'><script>alert(1)</script></style></title></svg><img src=x onerror=alert(1)><a '
  'href="javascript:alert(1)">&amp;&#60;\u202e\u2066'
  '\x85 --> ]]> javascript:alert(1) \' onmouseover=\'alert(1) id="x" style="color:#0072b2" url(#x) '
  '*{ ${x} \\ 蒸馏'
)
NAME = HOSTILE.replace('/', '∕')  # of a network, which names a folder
HARMLESS = re.sub(r'[^\s-]', 'x', HOSTILE)  # as long, with breaks at the same places
TEXTS = ('aria-label', 'alt')  # attributes that hold what records say
# keys of records whose values are read and not shown
STRUCTURE = ('kind', 'histories', 'selection')
# and those whose keys are shown
OPEN = ('config', 'setting', 'sweep', 'chosen', 'options', 'libraries')


class Parser(html.parser.HTMLParser):
  """The elements and the text of a page; those of figures apart, whose numbers of ticks depend on
  the width of words.
  """

  def __init__(self, text: str):
    super().__init__()
    self.elements, self.drawn, self.text, self.labels, self._in = [], set(), '', [], None
    self.feed(text)
    self.close()

  def handle_starttag(self, tag, attributes):
    self._in = tag if tag in ('svg', 'style') and not self._in else self._in
    assert not [name for name, _ in attributes if name.startswith('on')], f'{tag} has a handler'
    for name, value in attributes:
      assert name in TEXTS or 'javascript' not in (value or '').lower(), f'{tag} has {name}={value}'
      assert (
        not name.endswith('href') or value.startswith('#') or value.startswith('http://www.w3.org/')
      ), f'{tag} leads to {value}'
      assert name != 'src' or re.fullmatch('data:image/png;base64,[A-Za-z0-9+/=]+', value), (
        f'{tag} fetches {value}'
      )
    self.labels += [value for name, value in attributes if name in TEXTS]
    if self._in == 'svg':
      self.drawn.add((tag, *sorted(name for name, _ in attributes)))
    else:
      self.elements.append(
        (tag, *((name, None if name in TEXTS else value) for name, value in attributes))
      )

  def handle_endtag(self, tag):
    self._in = None if tag == self._in else self._in

  def handle_comment(self, data):
    raise AssertionError(f'a comment: {data}')

  def handle_data(self, data):
    self.text += '' if self._in else data


def marked(value: Any, words: str, *, keys: bool = False) -> Any:
  """A value of JSON with the words at the end of each text, and, where `keys`, of each key."""
  if isinstance(value, str):
    return value + words
  if isinstance(value, list):
    return [marked(item, words) for item in value]
  if isinstance(value, dict):
    return {
      key + words if keys and key not in ('selection', 'epochs') else key: item
      if key in STRUCTURE
      else marked(item, words, keys=keys or key in OPEN)
      for key, item in value.items()
    }
  return value


def study(folder, words: str) -> str:
  study_report_test.made(folder, complete=False)
  for path in folder.glob('*.json'):
    value = json.loads(path.read_text())
    if path.name == 'study.json':
      for row in value['rows']:
        row |= {'note': 'a note', 'group': 'a group'}
      value['comparisons'] += [['KD', study_report_test.ODD]]
    path.write_text(json.dumps(marked(value, words)))
  return study_page.page(study_records.read(folder))


def run(folder, words: str) -> str:
  name = words.replace('/', '∕')
  rows = (
    ('teacher' + name, 'teacher', ()),
    ('baseline' + name, 'baseline', ()),
    ('student' + name, 'student', ('net' + words,)),
  )
  run_report_test.made(folder, n=60, rows=rows, classes=('a' + words, 'b' + words, 'c'))
  for path in folder.glob('*.json'):
    value = json.loads(path.read_text())
    if path.name == 'results.json':
      value = [
        {
          **marked(row, words),
          'name': row['name'],
          'role': row['role'],
          'teachers': row['teachers'],
        }
        for row in value
      ]
    path.write_text(
      json.dumps(
        value
        if path.name == 'results.json'
        else marked(value, words, keys=path.name == 'config.json')
      )
    )
  for path in folder.glob('phases/*/history.csv'):
    history = records.read_history(path)
    records.write_history(
      path,
      [
        {**row, 'terms': {key + words: term for key, term in row['terms'].items()}}
        for row in history
      ],
    )
  return run_page.page(
    run_records.read(folder),
    predictions.read(folder / predictions.FILE),
    ['a part is lacking' + words],
  )


@pytest.mark.parametrize(('made', 'least'), [(study, 50), (run, 50)])
def test_no_element_comes_from_data(made, least, tmp_path):
  hostile, harmless = made(tmp_path / 'hostile', HOSTILE), made(tmp_path / 'harmless', HARMLESS)
  found, wanted = Parser(hostile), Parser(harmless)
  assert found.elements == wanted.elements and found.drawn == wanted.drawn

  def twin(text: str) -> str:
    for words in (HOSTILE, NAME):
      # in lists they stand as Python writes them
      text = text.replace(words, HARMLESS).replace(repr(words)[1:-1], repr(HARMLESS)[1:-1])
    return text

  assert twin(found.text) == wanted.text and list(map(twin, found.labels)) == wanted.labels
  assert found.text.count(HOSTILE) >= least and '<script' not in hostile


@pytest.mark.parametrize(
  ('text', 'fault'),
  [
    ('<p onclick="x">', 'has a handler'),
    ('<a href="javascript:x">', 'javascript'),
    ('<img src="http://x/y.png">', 'fetches'),
    ('<a href="//elsewhere">', 'leads to'),
    ('<!-- x -->', 'a comment'),
  ],
)
def test_what_would_be_wrong_is_noticed(text, fault):
  with pytest.raises(AssertionError, match=fault):
    Parser(text)
