"""What to do after a run, as commands that run as they are printed."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kd_jax import factories
from kd_jax.config import Config
from kd_jax.files import records

_METHODS = ('rkd', 'kd')  # of which the first that the run does not have is suggested
_DIGITS = ('digits', 'digits32')
_WHOLE = ('.pth', '.pt')  # files of teachers that show more than their logits


class Next(NamedTuple):
  """A command, and what it is for."""

  purpose: str
  command: str


def of_run(
  workdir: str,
  config: Config,
  *,
  start: Sequence[str],
  arguments: Sequence[str] | None,
  resolves: Callable[[Sequence[str]], bool],
) -> list[Next]:
  """Return commands for a finished run.

  Args:
    workdir: as the user gave it.
    config: of the run.
    start: the words that start a run, such as python launch.py.
    arguments: that it was started with; None where one command does not start it.
    resolves: whether arguments give a valid configuration.
  """
  page = 'The page of the run, with confusions, calibration and images on which networks differ'
  file = 'The student alone, as a file for other programs, with a model card'
  commands = [
    Next(page, _tool(start, 'report', workdir)),
    Next(file, _tool(start, 'export', workdir)),
  ]
  examples = os.path.join(workdir, 'examples')
  if os.path.isdir(examples):
    purpose = 'The classes that it gives to pictures, here to some test images'
    commands.append(Next(purpose, _tool(start, 'predict', workdir, examples)))
  if arguments is None:
    return commands
  given = [argument for argument in joined(arguments) if _key(argument) != '--workdir']

  def again(changed: Sequence[str], suffix: str) -> str:
    place = _free(f'{workdir.rstrip("/")}_{suffix}')
    return shlex.join([*start, *changed, f'--workdir={place}'])

  seed = config.seed + 1
  changed = _set(given, 'seed', seed)
  if resolves(changed):
    commands.append(Next('Another seed', again(changed, f'seed{seed}')))
  if other := _another_method(given, config, resolves):
    method, changed = other
    commands.append(Next('Another method', again(changed, method)))
  return [*commands, _real(start)] if config.dataset in _DIGITS else commands


def of_study(workdir: str, *, start: Sequence[str], arguments: Sequence[str]) -> list[Next]:
  """Return commands for a finished study.

  Args:
    workdir: as the user gave it.
    start: the words that start a study, such as python launch.py.
    arguments: that it was started with.
  """
  folder = Path(os.path.expanduser(workdir))
  runs = records.read_object(folder / 'study.json')['runs']
  finals = [run for run in runs if run['kind'] == 'final']
  seeds = max(10, 2 * len({run['seed'] for run in finals}))
  page = 'The page of the study, with its curves, nearness to the teacher and every configuration'
  more = shlex.join([*start, *_set(joined(arguments), 'seeds', seeds)])
  commands = [
    Next(page, _tool(start, 'report', workdir)),
    Next(f'{seeds} seeds, of which those that are there are not repeated', more),
  ]
  if {run['config'].get('dataset') for run in finals} <= set(_DIGITS):
    return [*commands, _real(start)]
  students = sorted(folder.glob('phases/*/networks/student'))
  if students:
    phase = os.path.join(workdir, 'phases', students[0].parents[1].name)
    purpose = 'One of its students as a file for other programs; the others lie beside it'
    commands.append(Next(purpose, _tool(start, 'export', phase)))
  return commands


def shown(commands: Sequence[Next]) -> str:
  """Return the commands as lines to print."""
  return '\n'.join(f'{purpose}:\n  {command}' for purpose, command in commands)


def joined(arguments: Sequence[str]) -> list[str]:
  """Return the arguments with `--flag value` written as `--flag=value`."""
  made: list[str] = []
  for argument in arguments:
    if made and '=' not in made[-1] and not argument.startswith('-'):
      made[-1] += f'={argument}'
    else:
      made.append(argument)
  return [re.sub('^-(?!-)', '--', argument) for argument in made]


def _real(start: Sequence[str]) -> Next:
  words = [*start, '--config=cifar10_kd', '--workdir=runs/cifar10_kd']
  return Next('Real images, which it fetches', shlex.join(words))


def _tool(start: Sequence[str], name: str, *words: str) -> str:
  """Return another command, of a checkout that need not be installed where launch.py started it."""
  tool = ['kd-jax', name] if start[0] == 'kd-jax' else ['python', '-m', f'kd_jax.{name}']
  return shlex.join([*tool, *words])


def _key(argument: str) -> str:
  return argument.partition('=')[0]


def _set(arguments: Sequence[str], key: str, value: object) -> list[str]:
  flag = f'--config.{key}'
  return [*(argument for argument in arguments if _key(argument) != flag), f'{flag}={value}']


def _another_method(
  arguments: Sequence[str], config: Config, resolves: Callable[[Sequence[str]], bool]
) -> tuple[str, list[str]] | None:
  """Return another method and arguments that start it, or None where none is sure to be right."""
  teacher = config.teacher_checkpoint
  if ',' in teacher:
    return None
  shows_features = not teacher or os.path.isdir(teacher) or teacher.endswith(_WHOLE)
  own_networks = factories.is_own(config.student, 'network') or factories.is_own(
    config.teacher, 'network'
  )
  options = tuple(f'--config.{part}.' for part in config.options)
  kept = [argument for argument in arguments if not argument.startswith(options)]
  for method in _METHODS:
    if method in config.options:
      continue
    if method == 'rkd' and (own_networks or not shows_features):
      continue
    # A file that sets options of its method refuses another one. Of the methods on CIFAR-10 each
    # has a file.
    own_file = [
      re.sub(r'^(--config=)(configs/)?cifar10_\w+(\.py)?$', rf'\g<1>cifar10_{method}', argument)
      for argument in kept
      if _key(argument) != '--config.method'
    ]
    for changed in (_set(kept, 'method', method), own_file):
      if changed != kept and resolves(changed):
        return method, changed
  return None


def _free(folder: str) -> str:
  """Return the name, with a number where such a folder is there already."""
  for name in (folder, *(f'{folder}_{number}' for number in range(1, 1000))):
    if not os.path.exists(os.path.expanduser(name)):
      return name
  return folder
