"""Who may import whom, read from the source: the picture in the design is kept by this test."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'kd_jax'

# Package or file → what of kd_jax it may import beside itself; a floor above those that stand
# before it. There is no circle.
ALLOWED = {
  'types': (),
  'text': (),
  'factories': ('types', 'text'),
  'losses': ('types',),
  'measures': (),
  'files': ('types', 'text'),
  'models': ('types', 'text', 'factories', 'files'),
  'data': ('types', 'text', 'losses.reduce', 'files'),
  'methods': ('types', 'text', 'factories', 'losses', 'models'),
  'train': ('types', 'text', 'factories', 'losses', 'files'),
  'pytorch': ('types', 'text', 'files', 'models'),
  'config': (
    'types',
    'text',
    'factories',
    'files',
    'models',
    'data.mixing',
    'data.pipeline',
    'methods',
    'train.parallel',
    'train.optim',
    'train.schedules',
  ),
  'runs': (
    'types',
    'text',
    'losses',
    'measures',
    'models',
    'files',
    'data',
    'methods',
    'train',
    'pytorch',
    'config',
    '__version__',
  ),
  'report': ('types', 'text', 'measures', 'files', 'data.pictures', 'config.idle'),
  'studies': ('types', 'text', 'models', 'files', 'data', 'methods', 'train', 'config', 'runs'),
  'verify': (
    'types',
    'text',
    'losses',
    'models',
    'files',
    'data',
    'methods',
    'train',
    'pytorch',
    'runs',
  ),
  'deploy': (
    'types',
    'text',
    'measures',
    'models',
    'files',
    'data',
    'train.parallel',
    'pytorch',
    'runs',
    'report',
  ),
  'testing': ('types', 'models', 'data.pipeline', 'files.packing', 'train'),
  'library': (
    'types',
    'models',
    'files',
    'methods',
    'train.environment',
    'train.loop',
    'pytorch.specs',
    'config',
    'runs',
    'report.pictures',
    'deploy',
  ),
}
ABOVE = ('commands', '__init__')  # may import every package; nothing imports them
# older spellings, of a few lines
SHIMS = ('study', 'main', 'export', 'predict', 'crosscheck', 'tables', 'report.__main__')
HEAVY = (
  'tensorflow',
  'tensorflow_datasets',
  'orbax',
  'matplotlib',
  'sklearn',
  'tensorboardX',
  'array_record',
  'torch',
  'PIL',
  'onnx',
  'onnxruntime',
)
# PyTorch code, imported only where torch is.
TORCH_PEERS = (
  'pytorch/rendering.py',
  *(
    f'pytorch/rendering_{name}.py'
    for name in ('base', 'convnext', 'inverted', 'mobilenet', 'mobilenet_v3', 'vit')
  ),
  *(
    f'verify/torch_{name}.py'
    for name in (
      'bank',
      'methods',
      'soft_labels',
      'features',
      'similarity',
      'recipes',
      'lesson',
      'modules',
      'side',
    )
  ),
)


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
        found.extend(
          Import(f'{child.module}.{alias.name}', lazy, child.lineno) for alias in child.names
        )
      visit(child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

  visit(ast.parse(source), False)
  return found


def inside(module: str, part: str) -> bool:
  return module == part or module.startswith(f'{part}.')


def part_of(path: str) -> str:
  """The package that a file stands in; a file of the top level, and a shim, stands for itself."""
  whole = path.removesuffix('.py').replace('/', '.')
  return whole if whole in SHIMS else whole.split('.')[0]


def faults(path: str, source: str) -> list[str]:
  """What a file of kd_jax, at `path` under the package, imports and may not."""
  part = part_of(path)
  allowed = ALLOWED.get(part)
  found = []
  for module, lazy, line in imports(source):
    where = f'{path}:{line} imports {module}'
    if inside(module, 'kd_jax'):
      own = module.removeprefix('kd_jax').lstrip('.')
      if allowed is not None and not any(inside(own, other) for other in (part, *allowed)):
        found.append(f'{where}: {part} may import {", ".join(allowed) or "nothing of kd_jax"}')
      if allowed is None and part not in (*ABOVE, *SHIMS):
        found.append(f'{where}: {part} stands nowhere in the layers')
    if (
      inside(module, 'ml_collections')
      and part != 'config'
      and (path, module) != ('commands/config_file.py', 'ml_collections.config_flags')
    ):
      found.append(
        f'{where}: only config knows ml_collections, and commands/config_file.py its flags'
      )
    if module.startswith(('absl.flags', 'absl.app')) and part != 'commands':
      found.append(f'{where}: only commands know flags')
    if (
      module.split('.')[0] in HEAVY
      and not lazy
      and not (path in TORCH_PEERS and inside(module, 'torch'))
    ):
      found.append(f'{where} at the top: heavy and optional imports stand inside functions')
    if inside(module, 'tensorflow'):
      found.append(f'{where}: TensorFlow is never needed')
  return found


FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob('*.py'))}


@pytest.mark.parametrize('path', FILES)
def test_imports_what_it_may(path):
  assert not faults(path, FILES[path].read_text())


@pytest.mark.parametrize(
  ('path', 'source'),
  [
    ('types/data.py', 'from kd_jax.losses import logits'),
    ('losses/logits.py', 'from kd_jax.models import layers'),
    ('models/resnet.py', 'import kd_jax.methods.kd'),
    ('data/pipeline.py', 'from kd_jax import config'),
    ('methods/kd.py', 'from kd_jax.data import augment'),
    ('methods/kd.py', 'from kd_jax.train.step import train_step'),
    ('methods/plans.py', 'from kd_jax.data import augment'),
    ('train/step.py', 'from kd_jax.methods.base import cross_entropy'),
    ('train/step.py', 'def f():\n  from kd_jax import methods'),
    ('files/records.py', 'from kd_jax.data import decoded'),
    ('config/__init__.py', 'from kd_jax.runs.run import run'),
    ('train/loop.py', 'import ml_collections'),
    ('data/sources.py', 'import tensorflow_datasets as tfds'),
    ('data/sources.py', 'def f():\n  import tensorflow as tf'),
    ('files/checkpoints.py', 'import orbax.checkpoint as ocp'),
    ('report/plots.py', 'from matplotlib import pyplot'),
    ('report/page.py', 'from kd_jax.runs import inference'),
    ('runs/run.py', 'from kd_jax.report import plots'),
    ('studies/workers.py', 'from kd_jax.commands import run'),
    ('pytorch/reader.py', 'import torch'),
    ('pytorch/rendering.py', 'import sklearn'),
    ('runs/run.py', 'from absl import flags'),
    ('config/__init__.py', 'from absl import app'),
    ('commands/config_file.py', 'def f():\n  from ml_collections import config_dict'),
    ('newcomer.py', 'from kd_jax import types'),
  ],
)
def test_a_violation_is_noticed(path, source):
  assert len(faults(path, source)) == 1


@pytest.mark.parametrize(
  ('path', 'source'),
  [
    ('losses/features.py', 'import jax\nfrom kd_jax.types import Array'),
    (
      'methods/oh.py',
      'from kd_jax.models.connectors import Connectors\nfrom kd_jax.methods.base import '
      'cross_entropy',
    ),
    ('data/sources.py', 'def load():\n  import tensorflow_datasets as tfds'),
    ('pytorch/rendering.py', 'import torch\nfrom torch import nn'),
    ('runs/run.py', 'from kd_jax.methods import plans\nfrom kd_jax.train import loop'),
    ('data/decoded.py', 'from absl import logging'),
    ('commands/config_file.py', 'from absl import flags\nfrom ml_collections import config_flags'),
    ('report/__main__.py', 'from kd_jax.commands.main import command'),
  ],
)
def test_what_is_allowed_passes(path, source):
  assert not faults(path, source)


def test_the_floors_have_no_circle():
  order = list(ALLOWED)
  for part, allowed in ALLOWED.items():
    above = [other for other in allowed if other.split('.')[0] in order[order.index(part) :]]
    assert not above, f'{part} stands below {above}'


def test_nothing_imports_the_commands_but_commands():
  for path, file in FILES.items():
    for module, _, _ in imports(file.read_text()):
      allowed = part_of(path) in (*ABOVE, *SHIMS)
      assert allowed or not inside(module, 'kd_jax.commands'), f'{path} imports {module}'


@pytest.mark.parametrize('name', SHIMS)
def test_an_older_spelling_is_a_few_lines(name):
  assert len(FILES[f'{name.replace(".", "/")}.py'].read_text().splitlines()) <= 12


def test_pmap_is_said_in_one_file():
  """train/parallel.py; comments and docstrings elsewhere may speak of it."""
  for path, file in FILES.items():
    calls = [
      n
      for n in ast.walk(ast.parse(file.read_text()))
      if isinstance(n, ast.Attribute) and n.attr in ('pmap', 'shard_map')
    ]
    assert not calls or path == 'train/parallel.py', path


def test_main_imports_the_package_inside_functions():
  """It starts itself anew for huge pages: what is loaded before that is loaded twice."""
  assert not [
    i
    for i in imports(FILES['commands/main.py'].read_text())
    if not i.lazy and inside(i.module, 'kd_jax')
  ]


def test_the_package_imports_nothing_until_it_is_used():
  code = 'import sys, kd_jax; print(*sorted(set(sys.modules) & {"jax", "numpy", "absl"}))'
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
  assert (done.returncode, done.stdout, done.stderr) == (0, '\n', '')


def test_launch_only_calls_main():
  assert [i.module for i in imports((ROOT / 'launch.py').read_text())] == [
    'kd_jax.commands.main.command'
  ]
