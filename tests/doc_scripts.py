"""Scripts of docs/, which write pages, as modules. No tests here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[1] / 'docs'


def load(name: str) -> ModuleType:
  """Import a script; what it imports from beside it is found, as where it is run."""
  spec = importlib.util.spec_from_file_location(f'docs_{name}', FOLDER / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  sys.path.insert(0, str(FOLDER))
  try:
    spec.loader.exec_module(module)
  finally:
    sys.path.remove(str(FOLDER))
  return module
