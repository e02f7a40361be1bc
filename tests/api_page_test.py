"""docs/api.md names all that is public in the library, and nothing else: it is what docs/api.py
writes.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kd_jax.losses import logits
from tests import api_test

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'docs' / 'api.md').read_text(encoding='utf-8')
LIBRARY = (
  'kd_jax.types',
  'kd_jax.losses',
  'kd_jax.models',
  'kd_jax.methods',
  'kd_jax.data.augment',
  'kd_jax.data.policies',
  'kd_jax.data.steps',
  'kd_jax.train.step',
)


@pytest.fixture(scope='module')
def api():
  spec = importlib.util.spec_from_file_location('docs_api', ROOT / 'docs' / 'api.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def sections(text: str) -> dict[str, list[str]]:
  """Module → the names under its heading."""
  parts = re.split(r'^## (\S+)$', text, flags=re.MULTILINE)
  return {
    module: re.findall(r'^- `(\w+)', body, re.MULTILINE)
    for module, body in zip(parts[1::2], parts[2::2], strict=True)
  }


def public(module: str) -> set[str]:
  """The functions and classes that a module defines."""
  classes = {
    name
    for name, value in vars(importlib.import_module(module)).items()
    if inspect.isclass(value) and value.__module__ == module and not name.startswith('_')
  }
  return {*api_test.functions(module), *classes}


def lacking(text: str) -> set[str]:
  """What is public in the library and stands neither under its module nor under the package that
  gathers it.
  """
  found, missing = sections(text), set()
  for module in (name for name in api_test.modules() if name.startswith(LIBRARY)):
    listed = {*found.get(module, ()), *found.get(module.rpartition('.')[0], ())}
    missing |= {f'{module}.{name}' for name in public(module) - listed}
  return missing


def test_it_is_what_the_docstrings_say(api):
  assert api.page() == TEXT, 'docs/api.md is not what the docstrings say: python docs/api.py'


def test_every_name_exists():
  found = sections(TEXT)
  assert {
    f'{module}.{name}'
    for module, names in found.items()
    for name in names
    if not hasattr(importlib.import_module(module), name)
  } == set()
  assert sum(map(len, found.values())) > 100 and all(found.values())


def test_every_public_name_is_there():
  assert lacking(TEXT) == set()


def test_what_is_left_out_is_noticed():
  assert lacking(TEXT.replace('- `rkd_angle(', '- `angle(')) == {
    'kd_jax.losses.relational.rkd_angle'
  }


def fresh(image, *others, size=3):
  """Something new."""


def test_a_change_of_a_docstring_or_a_new_function_is_noticed(api, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setattr(logits.cross_entropy, '__doc__', 'Something else.')
    assert (
      api.page() != TEXT
      and '- `cross_entropy(logits: float[B, K], labels: int[B]) → float[B]`: Something else.\n'
      in api.page()
    )
  monkeypatch.setattr(fresh, '__module__', logits.__name__)
  monkeypatch.setattr(logits, 'fresh', fresh, raising=False)
  assert {'kd_jax.losses.logits.fresh'} == lacking(TEXT)
  assert '- `fresh(image, *others, size = 3)`: Something new.\n' in api.page()


def test_shapes_stand_beside_the_arguments():
  assert '`cross_entropy(logits: float[B, K], labels: int[B]) → float[B]`' in TEXT
  assert (
    '`rkd_distance(student: float[B, Ds], teacher: float[B, Dt], mask: float[B], *, '
    'shortest: float = 1e-06) → float[]`' in TEXT
  )


def test_the_library_brings_nothing_of_a_run_along():
  """No configuration, checkpoints, data sets or plots: what a loop of one's own has no use for."""
  unwanted = (
    'ml_collections',
    'orbax',
    'tensorflow_datasets',
    'matplotlib',
    'sklearn',
    'kd_jax.config',
    'kd_jax.files.checkpoints',
  )
  code = f'import sys, {", ".join(sections(TEXT))}; print(*(name for name in {unwanted} if name in sys.modules))'
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=600
  )
  assert done.returncode == 0 and done.stdout.split() == [], done.stderr
