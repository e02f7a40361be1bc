"""A study's page on a telephone, in the dark and on paper."""

from __future__ import annotations

import html
import re

import pytest

from kd_jax.report import pages as templates
from kd_jax.report import study_page
from tests import pages
from tests.report.study_page_test import made

MEASURED = """<!DOCTYPE html><iframe id="f" style="width:400px;height:900px;border:0" srcdoc="{}">
</iframe><script>onload = () => {{
  const root = document.getElementById('f').contentDocument.documentElement;
  document.title = 'width ' + root.scrollWidth;
}};</script>"""


def width(page: str, folder) -> int:
  """How wide a page is in a window of 400 pixels: more where it has to be scrolled sideways."""
  (folder / 'frame.html').write_text(MEASURED.format(html.escape(page)), encoding='utf-8')
  done = pages.opened(folder / 'frame.html')
  return int(re.search(r'<title>width (\d+)</title>', done.stdout)[1])


@pytest.mark.system  # ten seconds, of the browser's starts
@pages.needs_browser
def test_at_400_pixels_nothing_is_scrolled_sideways_but_tables_and_figures(tmp_path):
  page = study_page.page(made(tmp_path, rows=('NOKD', 'a', 'b with a name of some length')))
  assert width(page, tmp_path) <= 400
  broken = page.replace('.wide{overflow-x:auto', '.wide{overflow-x:visible')
  assert broken != page and width(broken, tmp_path) > 400


def test_every_colour_has_a_value_in_the_light_in_the_dark_and_on_paper():
  style = templates.render('style.css')
  light = style[: style.index('@media')]
  dark = style[style.index('@media(prefers-color-scheme:dark)') : style.index('body{font')]
  paper = style[style.index('@media print') :]
  names = {*re.findall(r'(--\w+):#', light)}
  assert len(names) == 12 and names >= {*re.findall(r'var\((--\w+)\)', style)}
  for part in (dark, paper):
    assert {*re.findall(r'(--\w+):#', part)} == names
