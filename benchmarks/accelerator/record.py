"""What has been measured: a line of JSON for each result, written as soon as it is there, and a
page that is made from the lines.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS, PAGE = 'results.jsonl', 'summary.md'


class Record:
  """The results under a folder. Those of an earlier sitting are there again, but for faults, which
  are tried anew, and a line that a kill cut short."""

  def __init__(self, out: Path):
    out.mkdir(parents=True, exist_ok=True)
    self._out = out
    self._file = out / RESULTS
    self.lines: list[dict[str, Any]] = []
    if self._file.exists():
      for text in self._file.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
          if 'fault' not in (line := json.loads(text)):
            self.lines.append(line)
      new = self._out / f'{RESULTS}.new'
      new.write_text(''.join(json.dumps(line) + '\n' for line in self.lines))
      new.replace(self._file)

  def has(self, step: str, name: str) -> bool:
    """Return whether a result is there."""
    return any((line['step'], line['name']) == (step, name) for line in self.lines)

  def of(self, step: str) -> dict[str, dict[str, Any]]:
    """Return the results of a step by name."""
    return {line['name']: line for line in self.lines if line['step'] == step}

  def add(self, step: str, name: str, result: Mapping[str, Any]) -> None:
    """Write a result down.

    Each is there once: a second of the same name is a mistake of the caller.
    """
    assert not self.has(step, name), (step, name)
    line = {'step': step, 'name': name, **result}
    with self._file.open('a') as file:
      file.write(json.dumps(line) + '\n')
      file.flush()
      os.fsync(file.fileno())
    self.lines.append(line)
    shown = {key: value for key, value in line.items() if key not in ('step', 'name')}
    print(f'{step}: {name}: {json.dumps(shown)[:300]}', flush=True)
    page = self._out / f'{PAGE}.new'
    page.write_text(self._page())
    page.replace(self._out / PAGE)

  def _page(self) -> str:
    text = ['# Measured on an accelerator', '']
    for step in dict.fromkeys(line['step'] for line in self.lines):
      text += [f'## {step}', '']
      for name, line in self.of(step).items():
        figures = {key: value for key, value in line.items() if key not in ('step', 'name')}
        text.append(
          f'- **{name}**: ' + ', '.join(f'{key} {_shown(value)}' for key, value in figures.items())
        )
      text.append('')
    return '\n'.join(text)


def _shown(value: Any) -> str:
  if isinstance(value, float):
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'
  return str(value)
