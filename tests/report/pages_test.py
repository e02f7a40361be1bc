"""What pages let in: no script, and nothing from elsewhere, whatever their records hold."""

from __future__ import annotations

import html.parser
import re

import pytest

from tests import pages
from tests.report import run_report_test, study_page_test
from tests.report.escaping_test import HOSTILE, run, study

POLICY = 'Content-Security-Policy'
LOADING = ('src', 'srcset', 'data', 'poster', 'background', 'action', 'formaction', 'ping')


class Elements(html.parser.HTMLParser):
  """The elements of a page or of a part of one, each with its attributes."""

  def __init__(self, text: str):
    super().__init__()
    self.elements: list[tuple[str, dict[str, str]]] = []
    self.feed(text)
    self.close()

  def handle_starttag(self, tag, attributes):
    self.elements.append((tag, {name: value or '' for name, value in attributes}))

  def handle_comment(self, data):
    raise AssertionError(f'a comment: {data}')


def policy(page: str) -> dict[str, list[str]]:
  """A page's policy by directive."""
  found = [a['content'] for tag, a in Elements(page).elements if a.get('http-equiv') == POLICY]
  assert len(found) == 1
  return {name: sources for name, *sources in map(str.split, found[0].split(';'))}


def loaded(page: str) -> list[str]:
  """What a browser would fetch or run for a page."""
  found = re.findall(r'@import|url\((?!#)[^)]*', page)
  for tag, attributes in Elements(page).elements:
    found += [tag] if tag in ('script', 'link', 'iframe', 'object', 'embed', 'base', 'form') else []
    for name, value in attributes.items():
      elsewhere = name in LOADING and not value.startswith('data:image/png;base64,')
      outside = name.endswith('href') and tag != 'a' and not value.startswith('#')
      found += [f'{tag} {name}={value}'] if elsewhere or outside or name.startswith('on') else []
  return found


@pytest.mark.parametrize('made', [study, run])
def test_every_page_has_its_policy_and_loads_nothing(made, tmp_path):
  page = made(tmp_path, HOSTILE)
  found = policy(page)
  assert found.pop('default-src') == ["'none'"]
  # figures have styles of their own; pictures lie in the page
  assert found.pop('style-src') == ["'unsafe-inline'"] and found.pop('img-src') == ['data:']
  assert all(sources == ["'none'"] for sources in found.values())
  assert loaded(page) == [] and {'base-uri', 'form-action'} == set(found)
  # before all that it is for
  tags = [tag for tag, _ in Elements(page).elements]
  assert tags[:4] == ['html', 'head', 'meta', 'meta'] and POLICY in page[: page.index('<title')]


@pytest.mark.parametrize(
  'part',
  [
    '<script>x</script>',
    '<script src="https://a/b.js"></script>',
    '<link rel="stylesheet" href="https://a/b.css">',
    '<img src="https://a/b.png">',
    '<img src="b.png">',
    '<style>@import "b.css"</style>',
    '<p style="background:url(https://a)">',
    '<p onclick="x">',
    '<use href="https://a/b.svg#c">',
    '<iframe srcdoc="x">',
  ],
)
def test_what_would_be_loaded_is_noticed(part):
  assert loaded(part)


@pytest.mark.system  # three starts of a browser
@pages.needs_browser
@pytest.mark.parametrize('of', ['study', 'run'])
def test_a_browser_blocks_nothing_of_a_page_and_all_that_is_added(of, tmp_path):
  if of == 'study':
    page = study_page_test.study_page.page(study_page_test.made(tmp_path))
  else:
    run_report_test.made(tmp_path)
    page = run_report_test.page(tmp_path)
  (tmp_path / 'index.html').write_text(page, encoding='utf-8')
  assert ':CONSOLE' not in pages.opened(tmp_path / 'index.html').stderr
  added = """</h1><script>document.title = 'hacked'</script><img src="https://example.org/x.png"
    onerror="document.title = 'hacked'"><link rel="stylesheet" href="https://example.org/x.css">"""
  (tmp_path / 'index.html').write_text(page.replace('</h1>', added, 1), encoding='utf-8')
  done = pages.opened(tmp_path / 'index.html')
  assert '<title>hacked' not in done.stdout and done.stderr.count('been blocked') >= 3
  free = (tmp_path / 'index.html').read_text().replace(POLICY, 'x')  # without it they would
  (tmp_path / 'index.html').write_text(free, encoding='utf-8')
  assert '<title>hacked' in pages.opened(tmp_path / 'index.html').stdout
