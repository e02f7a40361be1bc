"""Writes docs/api.md, the page of what can be used as a library, from the source and its
docstrings: `python docs/api.py`.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parent / 'api.md'
PARTS = (
  'kd_jax',
  'kd_jax.types',
  'kd_jax.losses',
  'kd_jax.models',
  'kd_jax.methods',
  'kd_jax.data.augment',
  'kd_jax.data.policies',
  'kd_jax.data.steps',
  'kd_jax.data.pipeline',
  'kd_jax.train.step',
  'kd_jax.train.state',
  'kd_jax.train.optim',
  'kd_jax.train.schedules',
)
TABLES = {'kd_jax.models': 'MODELS', 'kd_jax.methods': 'METHODS'}  # whose rows the page names
ANNOTATION = r"(\w+)\[(?:Array|np\.ndarray), '([^']*)'\]"  # such as Float[Array, 'B K']
SHAPE = r'(?:[a-z]+\d*)?\[[^\]]*\]'  # such as f32[B, K]
INTRODUCTION = """# kd_jax as a library

`kd_jax.distill` trains a student, `kd_jax.load_network` gives a trained network: examples/quick.py has twenty lines. Losses, networks,
methods, augmentations and the training step work alone, too, in a loop of your own: examples/own_loop.py is one. The docstrings say more
than this page, which `python docs/api.py` writes from them.

Shapes: B examples in a batch, H and W pixels, C channels (last), K classes, D width of the embedding, N examples in a data set. Images
are stored as `Images`, uint8[B, H, W, C]; a network takes them as float32 in [0, 1], and normalises them by itself. `key` is a key of
jax.random, `Keys` are [B] of them. What a user can mend is raised as `KdJaxError`.
"""


def page() -> str:
  """The text of docs/api.md."""
  shown: set[int] = set()
  return '\n'.join(
    [INTRODUCTION, *(section(name, shown) for name in modules() if members(name, shown))]
  )


def modules() -> Iterator[str]:
  """The parts, each followed by the modules in it."""
  for name in PARTS:
    yield name
    if name == 'kd_jax':
      continue  # its own names alone
    for info in pkgutil.iter_modules(getattr(importlib.import_module(name), '__path__', ())):
      yield f'{name}.{info.name}'


def section(name: str, shown: set[int]) -> str:
  """A module: what it is for, and a line for each public class and function that was not shown
  before.
  """
  module = importlib.import_module(name)
  lines = []
  if name in TABLES:
    lines.append(f'- `{TABLES[name]}`: the table of {", ".join(getattr(module, TABLES[name]))}')
  for own, value in members(name, shown).items():
    if name != 'kd_jax':  # whose names stand under their own modules, too
      shown.add(id(value))
    lines += (
      _class(own, value) if inspect.isclass(value) else [f'- `{_call(value)}`: {_first(value)}']
    )
  return '\n'.join([f'## {name}', '', _first(module), '', *lines, ''])


def members(name: str, shown: set[int]) -> dict[str, Any]:
  """The public classes and functions of a module, its own first; those of a package's modules that
  it gathers, too.
  """
  module = importlib.import_module(name)
  if name == 'kd_jax':
    found = {own: getattr(module, own) for own in module.__all__}
    return {own: v for own, v in found.items() if inspect.isclass(v) or inspect.isfunction(v)}
  inside = (name, f'{name}.') if hasattr(module, '__path__') else (name,)
  found = {
    own: value
    for own, value in vars(module).items()
    if not own.startswith('_')
    and (inspect.isclass(value) or inspect.isfunction(value))
    and (value.__module__ == name or value.__module__.startswith(inside[1:]))
    and id(value) not in shown
  }
  return dict(sorted(found.items(), key=lambda item: item[1].__module__ != name))


def _class(name: str, value: type) -> list[str]:
  """A line for the class, what else its docstring says, and a line a field with the comment that
  stands behind it.
  """
  _, _, more = inspect.getdoc(value).partition('\n\n')
  lines = [
    f'- `{name}`: {_first(value)}',
    *([f'  ```text\n{_indented(more)}\n  ```'] if more else []),
  ]
  source = inspect.getsource(value)
  fields = getattr(value, '_fields', getattr(value, '__dataclass_fields__', ()))
  for field in fields:
    text = re.search(rf'^  {field}: (.+?)(?:  # (.+))?$', source, re.MULTILINE)
    if text:
      lines.append(f'  - `{field}: {text[1]}`{f": {text[2]}" if text[2] else ""}')
  for own, method in vars(value).items():
    if own in ('setup', *fields) or own.startswith('_'):
      continue
    if inspect.isfunction(method):
      lines.append(f'  - `{_call(method)}`: {_first(method)}')
    elif isinstance(method, property | functools.cached_property):
      lines.append(f'  - `{own}`: {_first(method)}')
  return lines


def _call(function: Callable) -> str:
  """name(arguments) → result as in the source, with the shapes of the annotations, or of the
  docstring in their place.
  """
  (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
  text = inspect.getdoc(function)

  def argument(given: ast.arg, default: ast.expr | None) -> str:
    described = re.search(rf'^  {given.arg}: ({SHAPE})', text, re.MULTILINE)
    kind = described[1] if described else given.annotation and ast.unparse(given.annotation)
    return (
      given.arg + (f': {kind}' if kind else '') + (f' = {ast.unparse(default)}' if default else '')
    )

  shown = [argument(given, None) for given in node.args.args if given.arg != 'self']
  if node.args.vararg:
    shown.append('*' + argument(node.args.vararg, None))
  elif node.args.kwonlyargs:
    shown.append('*')
  shown += [
    argument(*pair) for pair in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
  ]
  if node.args.kwarg:
    shown.append('**' + argument(node.args.kwarg, None))
  given = re.search(rf'^Returns:\n  ({SHAPE}|A scalar)', text, re.MULTILINE)
  returned = given[1].removeprefix('A ') if given else node.returns and ast.unparse(node.returns)
  call = f'{node.name}({", ".join(shown)})' + (f' → {returned}' if returned else '')
  return re.sub(ANNOTATION, lambda m: f'{m[1].lower()}[{", ".join(m[2].split())}]', call)


def _first(value: Any) -> str:
  """The first paragraph of a docstring, in one line."""
  return ' '.join(inspect.getdoc(value).split('\n\n')[0].split())


def _indented(text: str) -> str:
  return '\n'.join(f'  {line}'.rstrip() for line in text.splitlines())


if __name__ == '__main__':
  FILE.write_text(page(), encoding='utf-8')
