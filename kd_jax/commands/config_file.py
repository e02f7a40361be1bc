"""--config and --config.KEY: files of configurations, and messages where one is none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import flags, logging
from ml_collections import config_flags

from kd_jax import config as configuration
from kd_jax import text
from kd_jax.commands.main import COMMANDS
from kd_jax.types import ConfigError, KdJaxError

# Configurations lie inside the package where a wheel is installed, and beside it in a checkout.
_PLACES = [folder / 'configs' for folder in Path(__file__).resolve().parents[1:3]]
CONFIGS = next(place for place in _PLACES if place.is_dir())


def names() -> list[str]:
  """Return the configurations that come with kd_jax: 'cifar10_kd', …, 'paper/digits'."""
  return sorted(
    path.relative_to(CONFIGS).with_suffix('').as_posix() for path in CONFIGS.rglob('*.py')
  )


def parse(
  name: str | None, arguments: Sequence[str], *, command: str, other_flags: Iterable[str] = ()
) -> tuple[Any, str]:
  """Return the ConfigDict that --config and --config.KEY make, and the name of its file.

  Args:
    name: a file, or a configuration that comes with kd_jax; None: the quick start.
    arguments: that are left to read.
    command: what the user calls the command, for messages.
    other_flags: of the command, for a hint where one is misspelt.

  Raises:
    ConfigError: an argument is no key, or the file or a key is at fault.
  """
  for argument in arguments:
    flag, _, value = argument.lstrip('-').partition('=')
    if argument.startswith('--') and not flag.startswith('config.'):
      near = text.closest(flag, (other.lstrip('-') for other in other_flags))
      raise ConfigError(f"Unknown command line flag '{flag}'.{near or _key_of(flag, value)}")
  path = _file('quickstart' if name is None else name)
  argv = [command, f'--config={path}', *arguments]
  values = flags.FlagValues()
  logging.set_verbosity(logging.ERROR)  # what ml_collections warns of is refused below
  try:
    config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=argv)
    left = values(argv)
    config = values.config
    is_config = hasattr(config, 'to_dict')  # a file that could not be loaded fails only here
  # absl and ml_collections raise a dozen kinds; each is a mistake on the command line
  except Exception as error:
    raise ConfigError(_explain(error, argv, command)) from error
  finally:
    logging.set_verbosity(logging.WARNING)
  if len(left) > 1:
    word, _, value = left[1].partition('=')
    meant = f' Did you mean --config={word}?' if word in names() else text.closest(word, COMMANDS)
    raise ConfigError(
      f"unexpected argument '{left[1]}': flags look like --config.epochs=6; see "
      f'--help.{meant or _key_of(word, value)}'
    )
  if not is_config:
    raise ConfigError(
      f'--config names no file whose get_config() returns a configuration;{_choices("")}'
    )
  return config, Path(path).stem


def resolves(arguments: Sequence[str]) -> bool:
  """Return whether arguments of a run, each as --name=value, give a valid configuration."""
  named = [argument.partition('=')[2] for argument in arguments if argument.startswith('--config=')]
  keys = [argument for argument in arguments if argument.startswith('--config.')]
  try:
    configuration.resolve(parse(named[-1] if named else None, keys, command='')[0])
  except Exception:  # as where the file reads the arguments of this process
    return False
  return True


def _explain(error: Exception, argv: Sequence[str], command: str) -> str:
  """Return one line for whatever the flag libraries raised."""
  message = str(error)
  valid = configuration.names()
  keys = [match[1] for argument in argv[1:] if (match := re.match(r'--config\.([^=]*)', argument))]
  keys += re.findall('Key "(.+?)" does not exist', message)  # set in a configuration file
  for key in keys:
    if key not in valid:
      hint = text.closest(key, valid)
      return f"unknown configuration key '{key}'.{hint} `{command} --help` lists the keys"
  if isinstance(error, OSError | ImportError):
    earlier = 'Configuration is not available because of an earlier failure to load: '
    reason = message.splitlines()[-1].strip().removeprefix(earlier)
    missing = re.search("No such file or directory: '(.+)'", reason)
    choices = _choices(missing[1] if missing else '')
    return f'the configuration file cannot be read ({reason}).{choices}'
  if 'Traceback (most recent call last)' in message:  # of the file's get_config()
    return f'the configuration file fails: {message.splitlines()[-1]}'
  if isinstance(error, flags.IllegalFlagValueError):
    return text.mistyped(message, configuration.defaults())
  if isinstance(error, flags.Error | KdJaxError):
    return message
  return f'the configuration file fails: {type(error).__name__}: {error}'


def _key_of(name: str, value: str) -> str:
  """Return which key of the configuration an argument was meant to be."""
  return text.key_of(name.lstrip('-'), value, configuration.names())


def _file(name: str) -> str:
  """Return the file of a configuration that comes with kd_jax; another name has to be a file."""
  if name in names():
    return str(CONFIGS / f'{name}.py')
  if name and '.py' not in name and not os.path.isfile(name):
    raise ConfigError(f"unknown configuration '{name}'.{_choices(name)}")
  return name


def _choices(name: str) -> str:
  """Return what --config takes, and the name that was meant, where one is close."""
  bare = re.sub(r'^(.*/)?configs/|\.py$', '', name)
  near = text.closest(bare, names())
  return f'{near} --config takes a file, or one of the names {", ".join(names())}'
