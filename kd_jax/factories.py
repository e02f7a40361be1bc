"""Functions of a user's own, named 'package.module:function' where a row of a table would stand;
and what a factory takes.

The module is looked for where Python looks, and in the current folder.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Hashable
from typing import Any

from kd_jax.text import closest, one_line
from kd_jax.types import ConfigError

_NAME = re.compile(r'[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*')


def parameters(factory: Callable) -> tuple[inspect.Parameter, ...]:
  """Return what a factory takes, read once: its options are asked for with every configuration."""
  return (_parameters if isinstance(factory, Hashable) else _read)(factory)


def _read(factory: Callable) -> tuple[inspect.Parameter, ...]:
  return tuple(inspect.signature(factory).parameters.values())


_parameters = functools.lru_cache(maxsize=1024)(_read)


def is_name(name: str) -> bool:
  """Return whether a text has the form of a function's name."""
  return _NAME.fullmatch(name) is not None


def is_own(name: str, what: str) -> bool:
  """Return whether a name is that of a user's function, and not a row of a table.

  Args:
    name: the name.
    what: it is of, such as 'network', for the message.

  Raises:
    ConfigError: it has a colon and is no such name.
  """
  if ':' in name and not is_name(name):
    raise ConfigError(
      f"'{name}' is no name of an own {what}: write package.module:function, such as "
      f'my_{what}s:small'
    )
  return ':' in name


def load(name: str, what: str, *, kinds: tuple[type, ...] = ()) -> Any:
  """Return the function of a name, or a value of one of the `kinds`.

  Raises:
    ConfigError: the module cannot be imported, or has no such function.
  """
  module, _, attribute = name.partition(':')
  # at the end, so that nothing there goes before an installed package
  if os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())
  try:
    imported = importlib.import_module(module)
  except ModuleNotFoundError as error:
    missing = 'it'
    if error.name and not module.startswith(error.name):
      missing = f"its import of '{error.name}'"
    raise ConfigError(
      f"the {what} {name} cannot be had: {missing} was not found in {os.getcwd()} or on Python's "
      f'path; start from the folder in which {module.split(".")[0]} lies, or set PYTHONPATH'
    ) from error
  except Exception as error:  # the user's code may raise anything
    raise ConfigError(f'the {what} {name} cannot be imported: {located(error)}') from error
  if not hasattr(imported, attribute):
    public = {n: v for n, v in vars(imported).items() if inspect.isfunction(v) and n[0] != '_'}
    own = [n for n, v in public.items() if v.__module__ == module]
    there = f'; its functions are {", ".join(own)}' if own else ''
    raise ConfigError(
      f"{module} ({imported.__file__}) has no '{attribute}'{there}.{closest(attribute, public)}"
    )
  made = getattr(imported, attribute)
  if not callable(made) and not isinstance(made, kinds):
    raise ConfigError(f'the {what} {name} is no function: it is of the type {type(made).__name__}')
  return made


def located(error: BaseException) -> str:
  """Return an error of a user's code in one line, with the line of it that is not a library's."""
  libraries = (os.path.dirname(__file__), os.path.dirname(importlib.__file__), '<')
  frames = [
    frame
    for frame in traceback.extract_tb(error.__traceback__)
    if 'site-packages' not in frame.filename and not frame.filename.startswith(libraries)
  ]
  at = f' ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})' if frames else ''
  return f'{type(error).__name__}: {one_line(error, at_most=300)}{at}'
