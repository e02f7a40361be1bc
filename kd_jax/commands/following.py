"""What to do after a run, as commands that run as they are printed."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kd_jax.config import Config
from kd_jax.files import records
from kd_jax.models import custom

_METHODS = ('rkd', 'kd')  # that are suggested, the first one that is another one
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
  found = [
    Next(
      'The page of the run, with confusions, calibration and the images that divide student and '
      'teacher',
      _tool(start, 'report', workdir),
    ),
    Next(
      'The student alone, as a file for other programs, with a model card',
      _tool(start, 'export', workdir),
    ),
  ]
  if os.path.isdir(examples := os.path.join(workdir, 'examples')):
    found.append(
      Next(
        'What it says of pictures, here of some test images',
        _tool(start, 'predict', workdir, examples),
      )
    )
  if arguments is None:
    return found
  given = [argument for argument in joined(arguments) if _key(argument) != '--workdir']

  def add(purpose: str, changed: Sequence[str] | None, suffix: str) -> None:
    if changed is not None:
      place = _free(f'{workdir.rstrip("/")}_{suffix}')
      found.append(Next(purpose, shlex.join([*start, *changed, f'--workdir={place}'])))

  seed = _set(given, 'seed', config.seed + 1)
  add('Another seed', seed if resolves(seed) else None, f'seed{config.seed + 1}')
  method, changed = _another_method(given, config, resolves)
  add('Another method', changed, method)
  return [*found, _real(start)] if config.dataset in _DIGITS else found


def of_study(workdir: str, *, start: Sequence[str], arguments: Sequence[str]) -> list[Next]:
  """Return commands for a finished study.

  Args:
    workdir: as the user gave it.
    start: the words that start a study, such as python launch.py.
    arguments: that it was started with.
  """
  runs = records.read_object(Path(os.path.expanduser(workdir)) / 'study.json')['runs']
  finals = [run for run in runs if run['kind'] == 'final']
  seeds = max(10, 2 * len({run['seed'] for run in finals}))
  found = [
    Next(
      'The page of the study, with its curves, nearness to the teacher and every configuration',
      _tool(start, 'report', workdir),
    ),
    Next(
      f'{seeds} seeds, of which those that are there are not repeated',
      shlex.join([*start, *_set(joined(arguments), 'seeds', seeds)]),
    ),
  ]
  if {run['config'].get('dataset') for run in finals} <= set(_DIGITS):
    return [*found, _real(start)]
  students = sorted(Path(os.path.expanduser(workdir)).glob('phases/*/networks/student'))
  if students:
    phase = os.path.join(workdir, 'phases', students[0].parents[1].name)
    found.append(
      Next(
        'One of its students as a file for other programs; the others lie beside it',
        _tool(start, 'export', phase),
      )
    )
  return found


def shown(commands: Sequence[Next]) -> str:
  """Return the commands as lines to print."""
  return '\n'.join(f'{purpose}:\n  {command}' for purpose, command in commands)


def joined(arguments: Sequence[str]) -> list[str]:
  """Return the arguments with `--flag value` written as `--flag=value`."""
  found: list[str] = []
  for argument in arguments:
    if found and '=' not in found[-1] and not argument.startswith('-'):
      found[-1] += f'={argument}'
    else:
      found.append(argument)
  return [
    f'-{argument}' if argument.startswith('-') and not argument.startswith('--') else argument
    for argument in found
  ]


def _real(start: Sequence[str]) -> Next:
  return Next(
    'Real images, which it fetches',
    shlex.join([*start, '--config=cifar10_kd', '--workdir=runs/cifar10_kd']),
  )


def _tool(start: Sequence[str], name: str, *words: str) -> str:
  """Return another command, of a checkout that need not be installed where launch.py started it."""
  return shlex.join(
    [*(['kd-jax', name] if start[0] == 'kd-jax' else ['python', '-m', f'kd_jax.{name}']), *words]
  )


def _key(argument: str) -> str:
  return argument.partition('=')[0]


def _set(arguments: Sequence[str], key: str, value: object) -> list[str]:
  flag = f'--config.{key}'
  return [*(argument for argument in arguments if _key(argument) != flag), f'{flag}={value}']


def _another_method(
  arguments: Sequence[str], config: Config, resolves: Callable[[Sequence[str]], bool]
) -> tuple[str, list[str] | None]:
  """Return a method and arguments that start it in place of the run's; None where none is sure to
  be right.
  """
  whole = (
    not config.teacher_checkpoint
    or os.path.isdir(config.teacher_checkpoint)
    or config.teacher_checkpoint.endswith(_WHOLE)
  )
  if ',' in config.teacher_checkpoint:
    return '', None
  options = tuple(f'--config.{part}.' for part in config.options)
  kept = [argument for argument in arguments if not argument.startswith(options)]
  for method in _METHODS:
    if method in config.options or (
      method == 'rkd'
      and (not whole or custom.is_own(config.student) or custom.is_own(config.teacher))
    ):
      continue
    # A file that sets options of its method refuses another one; of the methods on CIFAR-10 each
    # has a file.
    own_file = [
      re.sub(r'^(--config=)(configs/)?cifar10_\w+(\.py)?$', rf'\g<1>cifar10_{method}', argument)
      for argument in kept
      if _key(argument) != '--config.method'
    ]
    for changed in (_set(kept, 'method', method), own_file):
      if changed != kept and resolves(changed):
        return method, changed
  return '', None


def _free(folder: str) -> str:
  """Return the name, with a number where such a folder is there already."""
  names = (folder if not number else f'{folder}_{number}' for number in range(1000))
  return next((name for name in names if not os.path.exists(os.path.expanduser(name))), folder)
