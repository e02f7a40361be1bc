"""What a release states of itself is the same in every place."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

import kd_jax

ROOT = Path(__file__).resolve().parents[1]
NOTES, CITATION = ('CHANGELOG.md', 'CITATION.cff')
_RELEASED = re.compile(r'^## (\d+\.\d+\.\d+) \((\d{4}-\d{2}-\d{2})\)$', re.MULTILINE)


def read(name: str) -> str:
  return (ROOT / name).read_text(encoding='utf-8')


def faults(version: str, notes: str, citation: str) -> list[str]:
  """Return where the changelog or the citation differs from the package's version."""
  found = []
  releases = _RELEASED.findall(notes)
  if [number for number, _ in releases[:1]] != [version]:
    found.append(f'the newest release of {NOTES} is not {version}')
  if releases != sorted(releases, key=lambda r: [*map(int, r[0].split('.'))], reverse=True):
    found.append(f'releases of {NOTES} are not in order')
  dates = dict(releases)
  for key, expected in (('version', version), ('date-released', dates.get(version))):
    stated = re.findall(rf'^{key}: (.+)$', citation, re.MULTILINE)
    if stated != [expected]:
      found.append(f'{CITATION} has {key} {stated}, not {expected}')
  return found


def test_every_place_states_the_same_version_and_date():
  assert faults(kd_jax.__version__, read(NOTES), read(CITATION)) == []


@pytest.mark.parametrize(
  ('place', 'old', 'new', 'part'),
  [
    (NOTES, f'## {kd_jax.__version__} (', '## Unreleased (', 'the newest release'),
    (NOTES, '## 0.1.0 (', '## 9.1.0 (', 'not in order'),
    (CITATION, f'version: {kd_jax.__version__}', 'version: 0.0.1', 'has version'),
    (CITATION, 'date-released: 2', 'date-released: 1', 'has date-released'),
  ],
)
def test_another_version_or_date_is_noticed(place, old, new, part):
  texts = {name: read(name) for name in (NOTES, CITATION)}
  assert old in texts[place]
  texts[place] = texts[place].replace(old, new, 1)
  assert part in faults(kd_jax.__version__, texts[NOTES], texts[CITATION])[0]


def test_the_package_is_the_one_place_of_the_version():
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg', encoding='utf-8')
  assert setup['metadata']['version'] == 'attr: kd_jax.__version__'
  assert setup['metadata']['license'] in re.findall(r'^license: (.+)$', read(CITATION), re.M)
