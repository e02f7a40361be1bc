"""README and guides name configurations, keys and files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kd_jax import config
from kd_jax.commands import run

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
  path.relative_to(ROOT).as_posix(): path
  for path in (ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md')))
}
OF_STUDIES = ('scale', 'seeds', 'sweep_seeds', 'together')
PLACEHOLDERS = ('mine.py',)  # files of the user's own


def faults(text: str, folder: Path) -> list[str]:
  """What a page names and is not there.

  A line that opens with $ shows a mistake, and what is said to it.
  """
  text = re.sub(r'^\$ .*$', '', text, flags=re.MULTILINE)
  keys = {*config.names(), *OF_STUDIES}
  found = [
    f'--config.{key}' for key in re.findall(r'--config\.([\w.]*\w)', text) if key not in keys
  ]
  for name in re.findall(r'--config=([\w./]*\w)', text):
    if name not in (*run.names(), *PLACEHOLDERS) and not (ROOT / name).is_file():
      found.append(f'--config={name}')
  links = re.findall(r'\]\(([^)#:]+)\)', text)
  return found + [link for link in links if not (folder / link).exists()]


@pytest.mark.parametrize('name', PAGES)
def test_what_it_names_is_there(name):
  assert faults(PAGES[name].read_text(encoding='utf-8'), PAGES[name].parent) == []


def test_the_readme_leads_to_the_guides():
  text = PAGES['README.md'].read_text(encoding='utf-8')
  assert all(f'({name})' in text for name in PAGES if name != 'README.md')


def test_what_is_not_there_is_noticed():
  text = '`kd-jax --config=cifar10_kdd --config.epoch=3 --config.kd.alpha=.5`, [a page](nowhere.md) and [another](README.md)'
  assert faults(f'$ kd-jax --config.epoch=3\n{text}', ROOT) == [
    '--config.epoch',
    '--config=cifar10_kdd',
    'nowhere.md',
  ]
