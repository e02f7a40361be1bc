"""The answer that opens a study's page: what of it is markup, and that recorded ones are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kd_jax.files import study_records
from kd_jax.report import answer, comparisons, study_page
from kd_jax.types import FileError
from tests.report.study_page_test import made

RESULTS = Path(__file__).resolve().parents[2] / 'results'
NUMBER = re.compile(r'([+−-]?\d+\.\d\d) ± (\d+\.\d\d)')


def wrong(text: str, study) -> list[str]:
  """The differences of a text that are none of the study's, whatever their sign."""
  found = {
    (f'{abs(c.difference.value):.2f}', f'{c.difference.half_width:.2f}')
    for c in comparisons.of(study)
    if c.difference.half_width is not None
  }
  return [
    f'{value} ± {half}'
    for value, half in NUMBER.findall(text)
    if (value.lstrip('+−-'), half) not in found
  ]


@pytest.mark.parametrize('name', ['methods', 'feature_distillation'])
def test_a_recorded_answer_has_the_numbers_of_its_study(name):
  study = study_records.read(RESULTS / name)
  text = answer.read(RESULTS / name)
  assert len(NUMBER.findall(text)) >= 4 and wrong(text, study) == []
  assert wrong(text + ' 3.06 ± 0.47', study) == ['3.06 ± 0.47']


def test_its_markup():
  text = '**Yes**, by\n2 points.\n\n- `kd.alpha`\n- see [there](https://example.org/a?b)\n'
  assert answer.html(text) == (
    '<p><b>Yes</b>, by 2 points.</p><ul><li><code>kd.alpha</code></li>'
    '<li>see <a href="https://example.org/a?b">there</a></li></ul>'
  )
  for odd in ('<b>x</b>', '[x](javascript:alert)', '[x](https://a"onclick="b)', '**<i>**'):
    made_of = answer.html(odd)
    assert '<i>' not in made_of and 'href="javascript' not in made_of and '"onclick' not in made_of


def test_it_opens_the_page_in_the_place_of_the_findings(tmp_path):
  study = made(tmp_path)
  without = study_page.page(study)
  (tmp_path / 'answer.md').write_text('**No** & never.', encoding='utf-8')
  text = study_page.page(study)
  assert '<div class="answer"><p><b>No</b> &amp; never.</p></div>' in text
  assert text.index('class="answer"') < text.index('<nav')
  heading = 'What the comparisons show'
  assert heading in without and 'class="answer"' not in without and heading not in text


def test_one_that_cannot_be_read_is_an_error(tmp_path):
  (tmp_path / 'answer.md').write_bytes(b'\xff')
  with pytest.raises(FileError, match='UTF-8'):
    answer.read(tmp_path)
