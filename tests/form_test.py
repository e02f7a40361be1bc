"""The form of the code, as far as no linter holds it."""

from __future__ import annotations

from pathlib import Path

import kd_jax

LONGEST = 100


def too_long(folder: Path) -> list[str]:
  return [
    f'{path.relative_to(folder)}:{number}'
    for path in sorted(folder.rglob('*.py'))
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1)
    if len(line) > LONGEST
  ]


def test_no_line_of_the_package_is_longer_than_its_column():
  assert too_long(Path(kd_jax.__file__).parent) == []


def test_a_longer_one_is_found(tmp_path):
  (tmp_path / 'a.py').write_text('é' * LONGEST + '\n' + 'x' * (LONGEST + 1) + '\n')
  assert too_long(tmp_path) == ['a.py:2']
