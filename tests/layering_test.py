"""Who may import whom, read from the source: the picture in the design is kept by this test."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'kd_jax'

# Part → the parts of kd_jax that it may import, itself included. A folder is a part; so is a file beside them.
ALLOWED = {
  'types': (),
  'places': ('types',),
  'locks': ('types',),
  'hints': (),
  'losses': ('types', 'losses'),
  'models': ('types', 'models'),
  'data': ('types', 'locks', 'places', 'data'),
  'methods': ('types', 'hints', 'losses', 'methods', 'models'),
  'train': ('types', 'losses', 'train'),
  'report': ('types', 'report'),
  'interop': ('types', 'models', 'interop'),
  'plans': ('types', 'methods', 'models'),
}
# These stand above the parts: they may import any of them, but not each other's callers.
ABOVE = {
  'config': ('types', 'hints', 'places', 'methods', 'models', 'plans', 'train.parallel'),
  'workdir': ('types', '__version__', 'locks', 'places', 'config', 'methods', 'report'),
  'images': ('types', 'config', 'data', 'train.parallel'),
  'tables': ('types', 'config', 'data', 'images', 'interop'),
  'finished': ('types', 'models', 'interop', 'report', 'train.checkpoint'),
  'teacher_fit': ('types', 'data', 'models', 'train.packing', 'train.parallel'),
  'teacher_doubts': ('types', 'config', 'data', 'models', 'interop', 'teacher_fit'),
  'teachers': ('types', 'config', 'data', 'finished', 'methods', 'models', 'plans', 'interop', 'teacher_fit', 'train.checkpoint'),
  'assembly': ('types', 'config', 'data', 'models', 'train'),
  'fidelity': ('types', 'assembly', 'data', 'report', 'train.programs'),
  'training': ('types', 'assembly', 'fidelity', 'models', 'plans', 'report', 'teacher_doubts', 'teachers', 'train', 'watcher',
               'workdir'),  # fmt: skip
  'study': ('types', 'config', 'hints'),
  'following': ('config', 'models', 'report'),
  'watcher': ('report', 'train'),
  'output': (),
  'accelerators': (),
  'command_line': ('accelerators', 'output', 'places'),
  'hosts': ('types',),
  'cluster': ('types',),
}
COMMANDS = ('main', 'run', 'tasks', 'workers', 'estimate', 'crosscheck', 'verify', 'export', 'predict', 'inference',
            'report.__main__')  # fmt: skip
HEAVY = ('tensorflow', 'tensorflow_datasets', 'orbax', 'matplotlib', 'sklearn', 'tensorboardX', 'array_record', 'torch', 'PIL',
         'onnx', 'onnxruntime')  # fmt: skip
# PyTorch code, imported only where torch is.
TORCH_PEERS = tuple(f'interop/torch_{name}.py' for name in ('peer', 'methods', 'features', 'recipes'))


class Import(NamedTuple):
  module: str  # such as 'kd_jax.losses.logits'
  lazy: bool  # inside a function
  line: int


def imports(source: str) -> list[Import]:
  """Everything that a file imports; `from a import b` counts as a.b, which may be a module."""
  found = []

  def visit(node: ast.AST, lazy: bool) -> None:
    for child in ast.iter_child_nodes(node):
      if isinstance(child, ast.Import):
        found.extend(Import(alias.name, lazy, child.lineno) for alias in child.names)
      elif isinstance(child, ast.ImportFrom):
        found.extend(Import(f'{child.module}.{alias.name}', lazy, child.lineno) for alias in child.names)
      visit(child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

  visit(ast.parse(source), False)
  return found


def inside(module: str, part: str) -> bool:
  return module == part or module.startswith(f'{part}.')


def part_of(path: str) -> str:
  """The part that a file stands for; what `python -m` runs of a folder is a command, not a piece of it."""
  whole = path.removesuffix('.py').replace('/', '.')
  return whole if whole in COMMANDS else whole.split('.')[0]


def faults(path: str, source: str) -> list[str]:
  """What a file of kd_jax, at `path` under the package, imports and may not."""
  part = part_of(path)
  allowed = {**ALLOWED, **ABOVE}.get(part)
  found = []
  for module, lazy, line in imports(source):
    where = f'{path}:{line} imports {module}'
    if inside(module, 'kd_jax'):
      own = module.removeprefix('kd_jax').lstrip('.')
      if allowed is not None and not any(inside(own, other) for other in allowed):
        found.append(f'{where}: {part} may import {", ".join(allowed) or "nothing of kd_jax"}')
      if allowed is None and part not in COMMANDS:
        found.append(f'{where}: {part} stands nowhere in the layers')
    if inside(module, 'ml_collections') and path != 'config.py' and (path, module) != ('main.py', 'ml_collections.config_flags'):
      found.append(f'{where}: only config.py knows ml_collections, and main.py its flags')
    if module.startswith(('absl.flags', 'absl.app')) and not (path == 'main.py' or path.endswith('__main__.py')):
      found.append(f'{where}: only main.py and __main__.py know flags')
    if module.split('.')[0] in HEAVY and not lazy and not (path in TORCH_PEERS and inside(module, 'torch')):
      found.append(f'{where} at the top: heavy and optional imports stand inside functions')
    if inside(module, 'tensorflow'):
      found.append(f'{where}: TensorFlow is never needed')
  return found


FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob('*.py'))}


@pytest.mark.parametrize('path', FILES)
def test_imports_what_it_may(path):
  assert not faults(path, FILES[path].read_text())


@pytest.mark.parametrize(('path', 'source'), [
  ('types.py', 'from kd_jax.losses import logits'),
  ('losses/logits.py', 'from kd_jax.models import layers'),
  ('models/resnet.py', 'import kd_jax.methods.kd'),
  ('data/pipeline.py', 'from kd_jax import config'),
  ('methods/kd.py', 'from kd_jax.data import augment'),
  ('methods/kd.py', 'from kd_jax.train.step import train_step'),
  ('train/step.py', 'from kd_jax.methods.base import cross_entropy'),
  ('train/step.py', 'def f():\n  from kd_jax import methods'),
  ('plans.py', 'from kd_jax.data import augment'),
  ('config.py', 'from kd_jax.run import run'),
  ('train/loop.py', 'import ml_collections'),
  ('data/sources.py', 'import tensorflow_datasets as tfds'),
  ('data/sources.py', 'def f():\n  import tensorflow as tf'),
  ('train/checkpoint.py', 'import orbax.checkpoint as ocp'),
  ('report/plots.py', 'from matplotlib import pyplot'),
  ('report/page.py', 'from kd_jax import inference'),
  ('interop/torch_reader.py', 'import torch'),
  ('interop/torch_peer.py', 'import sklearn'),
  ('run.py', 'from absl import flags'),
  ('config.py', 'from absl import app'),
  ('main.py', 'def f():\n  from ml_collections import config_dict'),
  ('newcomer.py', 'from kd_jax import types'),
])  # fmt: skip
def test_a_violation_is_noticed(path, source):
  assert len(faults(path, source)) == 1


@pytest.mark.parametrize(('path', 'source'), [
  ('losses/features.py', 'import jax\nfrom kd_jax.types import Array'),
  ('methods/oh.py', 'from kd_jax.models.connectors import Connectors\nfrom kd_jax.methods.base import cross_entropy'),
  ('data/sources.py', 'def load():\n  import tensorflow_datasets as tfds'),
  ('interop/torch_peer.py', 'import torch\nfrom torch import nn'),
  ('run.py', 'from kd_jax import plans\nfrom kd_jax.train import loop'),
  ('data/decoded.py', 'from absl import logging'),
  ('main.py', 'from absl import app, flags\nfrom ml_collections import config_flags'),
  ('report/__main__.py', 'def main():\n  from kd_jax import inference'),
])  # fmt: skip
def test_what_is_allowed_passes(path, source):
  assert not faults(path, source)


def test_nothing_imports_the_commands_but_commands():
  for path, file in FILES.items():
    part = part_of(path)
    for module, _, _ in imports(file.read_text()):
      called = [command for command in COMMANDS if inside(module, f'kd_jax.{command}')]
      assert not called or part in COMMANDS, f'{path} imports {module}'


def test_pmap_is_said_in_one_file():
  """train/parallel.py; comments and docstrings elsewhere may speak of it."""
  for path, file in FILES.items():
    calls = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Attribute) and n.attr in ('pmap', 'shard_map')]
    assert not calls or path == 'train/parallel.py', path


def test_main_imports_the_package_inside_functions():
  """It starts itself anew for huge pages: what is loaded before that is loaded twice."""
  assert not [i for i in imports(FILES['main.py'].read_text()) if not i.lazy and inside(i.module, 'kd_jax')]


def test_launch_only_calls_main():
  assert [i.module for i in imports((ROOT / 'launch.py').read_text())] == ['kd_jax.main.command']
