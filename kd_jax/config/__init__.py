"""Configuration: files under configs/ → one frozen, validated Config.

The only place that checks names and ranges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ml_collections
from ml_collections import config_dict

from kd_jax import methods
from kd_jax.config import checks, each_teacher
from kd_jax.config.checks import is_utf8, shown
from kd_jax.config.keys import FREE, KEYS, OF_A_FILE, OF_A_SPEC, PATHS, Config
from kd_jax.config.options import read_options
from kd_jax.config.paper import PAPER, PUBLISHED, taught_by
from kd_jax.data import pipeline
from kd_jax.methods import METHODS, plans
from kd_jax.models import aliases
from kd_jax.train import optim
from kd_jax.types import ConfigError


def default(**changed: Any) -> ml_collections.ConfigDict:
  """Return a locked ConfigDict of every key, with `changed` ones, for a file under configs/.

  Each method has a section of its options, such as `config.kd.alpha`, given as kd={'alpha': 0.5} or
  under the name 'kd.alpha'; one that is not set follows the recipe.
  """
  config = config_dict.ConfigDict({name: field.default for name, field in KEYS.items()})
  for name in METHODS:
    config[name] = config_dict.ConfigDict(
      {k: config_dict.placeholder(type(v)) for k, v in options_of(name).items()}
    )
  config.lock()
  for name, value in _flat(changed):
    method, _, option = name.rpartition('.')
    checks.known(method or option, METHODS if method else KEYS, 'configuration key')
    if method:
      checks.known(option, options_of(method), f'option of {method}')
    value = tuple(value) if isinstance(value, list) else value
    checks.check_type(name, value, options_of(method)[option] if method else KEYS[option].default)
    (config[method] if method else config)[option] = value
  return config


def _flat(keys: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
  """Yield each key and value, of a section each option as 'kd.alpha'."""
  for name, value in keys.items():
    if isinstance(value, Mapping):
      yield from ((f'{name}.{option}', chosen) for option, chosen in value.items())
    else:
      yield name, value


def resolve(config: ml_collections.ConfigDict) -> Config:
  """Return the validated Config.

  Raises:
    ConfigError: something is not right; the message has the valid choices.
  """
  try:
    given = config.to_dict()
  except TypeError:  # it sorts them
    raise ConfigError(
      'the configuration has keys that are no text; keys are names, such as epochs'
    ) from None
  for name in given:
    checks.known(name, [*KEYS, *METHODS], 'configuration key')
  if values := [name for name in METHODS if not isinstance(given.get(name, {}), Mapping)]:
    raise ConfigError(
      f'{values[0]} is a section of options, such as config.kd.alpha, and no value; take it out, '
      'or set its options'
    )
  chosen = {
    name: {k: v for k, v in given.pop(name).items() if v is not None}
    for name in METHODS
    if name in given
  }
  for name, set_ones in chosen.items():
    for option, value in set_ones.items():
      checks.known(option, options_of(name), f'option of {name}')
      checks.check_type(f'{name}.{option}', value, options_of(name)[option])
  for name in ('student', 'teacher'):  # what public code calls them
    if isinstance(given.get(name), str):
      given[name] = ','.join(map(aliases.row, each_teacher.parts(given[name]))) or given[name]
  for name, value in given.items():
    checks.check(name, value)
  method = given.get('method', KEYS['method'].default)
  parts = [name for _, name in methods.parse(method)]
  for name, set_ones in chosen.items():
    if set_ones and name not in parts:
      raise ConfigError(
        f"{name}.{next(iter(set_ones))} is set, but the method is '{method}', which does not use "
        f'it; take it out (of the configuration file, where that sets it) or set method={name}'
      )
  chosen |= _own_options(parts, given.get('method_options', ''))
  resolved = Config(**given, options={name: chosen.get(name, {}) for name in parts})
  _check_together(resolved)
  methods.make(method, recipe=resolved.recipe, chosen=resolved.options)
  return resolved


def _own_options(parts: Sequence[str], text: str) -> dict[str, dict[str, Any]]:
  """Return the options of the method of a user's own among the parts."""
  if not text:
    return {}
  own = [name for name in parts if ':' in name]
  if len(own) != 1:
    raise ConfigError(
      f'method_options are those of one method of your own, and {len(own)} of {", ".join(parts)} '
      'are such: those of the others are keys, such as config.kd.alpha'
    )
  options = read_options('method_options', text)
  for option, value in options.items():
    checks.known(option, options_of(own[0]), f'option of {own[0]}')
    checks.check_type(option, value, options_of(own[0])[option])
  return {own[0]: options}


def _check_together(resolved: Config) -> None:
  """Raise ConfigError where keys that are right alone do not go together."""
  if resolved.selection == 'validation' and not resolved.validation_examples:
    raise ConfigError(
      'selection=validation needs validation_examples; hold some out, or set selection=test to '
      'repeat the paper'
    )
  for whose in ('', 'teacher_'):
    mean, std = (getattr(resolved, f'{whose}{what}') for what in ('mean', 'std'))
    if len(mean) != len(std):
      raise ConfigError(
        f'{whose}mean has {len(mean)} values and {whose}std {len(std)}; give one of each a channel'
      )
    if any(not s > 0 for s in std):
      raise ConfigError(f'{whose}std holds {min(std)}; standard deviations are greater than 0')
  if not resolved.teacher_checkpoint and (stated := stated_of_teacher(resolved)):
    raise ConfigError(
      f'{next(iter(stated))} is set, and there is no teacher_checkpoint that it could be of; name '
      f'one, or take it out'
    )
  if resolved.alternating_flip and not resolved.flip:
    raise ConfigError('alternating_flip is a way to flip, and flip is False: set flip=True')
  pipeline.policy('weak', resolved.weak())
  _check_updates(resolved)


def _check_updates(resolved: Config) -> None:
  """Raise ConfigError where the optimiser and the schedule cannot be made."""
  for key, value, of in (('optimiser', 'sgd', _OF_SGD), ('schedule', 'steps', _OF_STEPS)):
    if (chosen := getattr(resolved, key)) != value:
      for name in of:
        if getattr(resolved, name) != KEYS[name].default:
          raise ConfigError(
            f"{name} is of {key}={value}, and {key} is '{chosen}': take it out; what {chosen} "
            f'takes is set by {key}_options'
          )
  drops = resolved.learning_rate_drops
  epochs = max(resolved.epochs, resolved.teacher_epochs)
  fractions = all(0 < drop < 1 for drop in drops)
  if not fractions and not all(1 <= drop < epochs for drop in drops):
    raise ConfigError(
      'learning_rate_drops are fractions between 0 and 1, or all of them epochs from 1 to less '
      f'than {epochs}, not {tuple(drops)}'
    )
  if resolved.schedule == 'steps':
    early = [drop for drop in drops if (drop if fractions else drop / epochs) < resolved.warmup]
    if early:
      raise ConfigError(
        f'learning_rate_drops has {early[0]:.4g}, which lies in the warm-up '
        f'(warmup={resolved.warmup}): drop later, or warm up for less'
      )
  optim.check(resolved.optimiser_spec(), epochs=epochs)


_OF_SGD = ('momentum', 'nesterov')
_OF_STEPS = ('learning_rate_drops', 'learning_rate_factor')


def from_json(kept: Mapping[str, Any]) -> Config:
  """Return the Config that `for_json` wrote.

  A key that it lacks has its default: an older kd_jax did not know it.
  """
  for name in kept:
    checks.known(name, [*KEYS, 'options'], 'configuration key')
  values: dict[str, Any] = {
    name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()
  }
  for name in values.keys() - {'options'}:
    checks.check(name, values[name])
  return Config(**values)


def stated_of_teacher(config: Config) -> dict[str, Any]:
  """Return the keys that are set and state of a teacher's file what it does not state itself."""
  return {
    name: value for name in OF_A_FILE if (value := getattr(config, name)) != KEYS[name].default
  }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
  """Return every key whose change makes it another run."""
  # An older kd_jax lacked some keys, and did what their defaults stand for.
  old = Config().for_json() | {**before}
  return [name for name in {**old, **now} if name not in FREE and old.get(name) != now.get(name)]


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
  """Return 'key: old → new' for every key whose change makes it another run."""
  old = Config().for_json() | {**before}
  return [f'{name}: {old.get(name)} → {now.get(name)}' for name in changes(before, now)]


def options_of(method: str) -> dict[str, Any]:
  """Return the options of a row of METHODS with their defaults: its factory's and its plan's."""
  return methods.options(method) | plans.options(method)


def names() -> list[str]:
  """Return every key that can be set, options of methods included."""
  return [*defaults()]


def choices(name: str) -> tuple[str, ...]:
  """Return what a key may be set to, as far as that is a list; () for anything."""
  default = defaults()[name]
  if isinstance(default, bool):
    return 'True', 'False'
  return tuple(METHODS) if name == 'method' else tuple(checks.ONE_OF.get(name, ()))


def defaults() -> dict[str, Any]:
  """Return every key that can be set with its default, options of methods included."""
  of_methods = {
    f'{method}.{option}': default
    for method in METHODS
    for option, default in options_of(method).items()
  }
  return {name: field.default for name, field in KEYS.items()} | of_methods
