"""README, guides and notes name configurations, keys, files and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kd_jax import config
from kd_jax.commands import config_file

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
  path.relative_to(ROOT).as_posix(): path
  for path in (
    *sorted(ROOT.glob('*.md')),
    ROOT / 'results' / 'README.md',
    *sorted((ROOT / 'docs').rglob('*.md')),
  )
}
OF_STUDIES = ('scale', 'seeds', 'sweep_seeds', 'together')
MISTAKES = 'docs/measurements/bad_input.md'  # what stands in its table is wrong on purpose
PLACEHOLDERS = ('mine.py', 'mystudy.py')  # files of the user's own
_FILE = re.compile(r'`((?:kd_jax|tests|configs|docs|benchmarks|examples|results)/[\w./-]+\.\w+)`')
_LINK = re.compile(r'\]\(([^)#:]*)#?([^)#:]*)\)')


def faults(text: str, folder: Path) -> list[str]:
  """Return what a page names and is not there. A line that opens with $ shows a mistake, and its
  message.
  """
  text = re.sub(r'^\$ .*$', '', text, flags=re.MULTILINE)
  keys = {*config.names(), *OF_STUDIES}
  missing = [
    f'--config.{key}' for key in re.findall(r'--config\.([\w.]*\w)', text) if key not in keys
  ]
  for name in re.findall(r'--config=([\w./]*\w)', text):
    if name not in (*config_file.names(), *PLACEHOLDERS) and not (ROOT / name).is_file():
      missing.append(f'--config={name}')
  for link, heading in _LINK.findall(text):
    if not (folder / link).exists():
      missing.append(link)
    elif heading and heading not in headings((folder / link).read_text(encoding='utf-8')):
      missing.append(f'{link}#{heading}')
  return missing + [file for file in _FILE.findall(text) if not (ROOT / file).exists()]


def headings(text: str) -> set[str]:
  """Return the anchors that GitHub gives the headings of a page."""
  titles = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
  return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def reached(page: str) -> set[str]:
  """Return the pages that a reader comes to from a page, link by link."""
  done, left = set(), {page}
  while left:
    name = left.pop()
    done.add(name)
    links = (link for link, _ in _LINK.findall(PAGES[name].read_text(encoding='utf-8')) if link)
    targets = ((PAGES[name].parent / link).resolve().relative_to(ROOT).as_posix() for link in links)
    left |= {target for target in targets if target in PAGES} - done
  return done


@pytest.mark.parametrize('name', [name for name in PAGES if name != MISTAKES])
def test_what_it_names_is_there(name):
  assert faults(PAGES[name].read_text(encoding='utf-8'), PAGES[name].parent) == []


def test_the_readme_leads_to_every_page():
  assert reached('README.md') == {*PAGES}


def test_a_page_that_no_link_leads_to_is_noticed(tmp_path, monkeypatch):
  monkeypatch.setitem(PAGES, 'docs/alone.md', tmp_path / 'alone.md')
  assert 'docs/alone.md' not in reached('README.md')


def test_what_is_not_there_is_noticed():
  text = (
    '`kd-jax --config=cifar10_kdd --config.epoch=3 --config.kd.alpha=.5`, [a page](nowhere.md), [another](README.md), '
    '[a part](README.md#no-such-part), [one that is there](README.md#methods), `kd_jax/nowhere.py` and `kd_jax/text.py`'
  )
  expected = [
    '--config.epoch',
    '--config=cifar10_kdd',
    'nowhere.md',
    'README.md#no-such-part',
    'kd_jax/nowhere.py',
  ]
  assert faults(f'$ kd-jax --config.epoch=3\n{text}', ROOT) == expected
