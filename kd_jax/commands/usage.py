"""What `kd-jax run --help` prints beside the flags: examples, and every key with its default."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable

from kd_jax import config, methods
from kd_jax.commands import config_file
from kd_jax.commands.command_line import WIDTH
from kd_jax.methods import METHODS, plans

_TEXT = """Distils a network. Without flags: the quick start, a small study on real digits, a
minute or two on a laptop.

  {program}
  {program} --config=cifar10_kd --workdir=runs/kd
  {program} --config=cifar10_kd --config.epochs=6 --config.kd.temperature=4

The same command again goes on where the last one was stopped. A study is many
runs, and one table of them:

  {program} --config=paper/digits --workdir=runs/digits
  {report} runs/digits

The configurations that come with kd_jax:
{names}"""
_KEYS = """Keys, set by --config.KEY=VALUE, with the defaults that a file may change. Of a study
a key is set in all its rows; scale, seeds, sweep_seeds and together are keys, too."""
# the first key of each group of kd_jax.config.Config, in the order of the help
_GROUPS = {
  'dataset': 'data',
  'student': 'networks',
  'epochs': 'training',
  'method': 'method',
  'seed': 'run',
}


def description(program: str) -> str:
  """Return what a run is, with examples for what the user calls the command."""
  launched = program.startswith('python')
  return _TEXT.format(
    program=program,
    report='python -m kd_jax.report' if launched else f'{program} report',
    names=_wrapped(', '.join(config_file.names()), 2),
  )


def keys() -> str:
  """Return every key with its default and meaning, grouped; options under their method."""
  groups: dict[str, list[str]] = {name: [] for name in _GROUPS.values()}
  group = ''
  for name, field in config.KEYS.items():
    group = _GROUPS.get(name, group)
    groups[group].append(_entry(name, field.default, field.metadata['help']))
  first: dict[Callable, str] = {}  # methods that share a factory: its options are explained once
  for method, row in METHODS.items():
    meanings = explained(method)
    same = first.setdefault(row.factory, method)
    for option, default in config.options_of(method).items():
      elsewhere = same != method and option in methods.options(method)
      meaning = f'as {same}.{option}' if elsewhere else meanings[option]
      groups['method'].append(_entry(f'{method}.{option}', default, meaning))
  sections = ['\n'.join([f'{name}:', *entries]) for name, entries in groups.items()]
  return '\n\n'.join([textwrap.fill(_KEYS, WIDTH), *sections])


def explained(method: str) -> dict[str, str]:
  """Return what each option of a method means, from the docstrings of its factory and its plan."""
  return arguments(METHODS[method].factory) | arguments(plans.of(method))


def arguments(function: Callable) -> dict[str, str]:
  """Return the section Args of a docstring: name → text; of names that share a text, each."""
  _, _, section = (inspect.getdoc(function) or '').partition('Args:\n')
  section = re.split(r'^\S', section, maxsplit=1, flags=re.MULTILINE)[0]
  found = re.findall(r'^  (\w[\w, ]*): (.*(?:\n {4,}.*)*)', section, re.MULTILINE)
  return {name: ' '.join(text.split()) for names, text in found for name in names.split(', ')}


def _entry(name: str, default: object, meaning: str) -> str:
  return f'  {name}={config.shown(default)}\n{_wrapped(meaning, 6)}'


def _wrapped(text: str, indent: int) -> str:
  space = indent * ' '
  return textwrap.fill(
    text,
    WIDTH,
    initial_indent=space,
    subsequent_indent=space,
    break_long_words=False,
    break_on_hyphens=False,
  )
