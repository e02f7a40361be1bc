"""Configuration: files under configs/ → one frozen, validated Config.

The only place that checks names and ranges.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections
from ml_collections import config_dict

from kd_jax import methods, models
from kd_jax.files import places
from kd_jax.methods import METHODS, RECIPES, plans
from kd_jax.text import closest
from kd_jax.train import parallel
from kd_jax.types import ConfigError, OptimiserSpec


def _key(default: Any, text: str) -> Any:
  return dataclasses.field(default=default, metadata={'help': text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Every key of a run with its default. The texts are what `kd-jax run --help` shows."""

  dataset: str = _key(
    'cifar10',
    "a folder with a sub-folder a class, 'digits', 'digits32', or an image-classification set of "
    'tfds',
  )
  image_size: int = _key(
    0,
    "side in pixels to which a folder's images are brought; 0: 32. Other data sets keep their own",
  )
  data_dir: str = _key(
    '', "where prepared data lies or is put; empty: tensorflow_datasets' own folder"
  )
  cache_dir: str = _key(
    '', 'where decoded images are kept; empty: kd_jax/decoded in $XDG_CACHE_HOME or ~/.cache'
  )
  download: bool = _key(True, 'fetch and prepare data that is not there')
  data_placement: str = _key(
    'auto', "where images live: 'device', 'host' (streamed), or 'auto', the device if they fit"
  )
  train_examples: int = _key(0, 'train on this many images, balanced over the classes; 0: all')
  validation_examples: int = _key(
    5000, "training images held out for choosing the best epoch; a folder's own go before"
  )
  eval_examples: int = _key(
    0, 'evaluate on this many validation and test images (for quick tries); 0: all'
  )
  unlabelled_dataset: str = _key(
    'stl10', 'for the methods that use unlabelled images: a data set of tfds, or a folder'
  )
  crop_padding: int = _key(4, 'pixels of padding before the random crop; 0: no crop')
  flip: bool = _key(True, 'random horizontal flips')

  student: str = _key(
    'resnet8',
    "network to train, a row of kd_jax.models.MODELS, or your own, 'package.module:factory'",
  )
  teacher: str = _key('resnet26', 'network to learn from, as student')
  teacher_checkpoint: str = _key(
    '',
    'workdir, network folder, .pth of PyTorch or .jax of jax.export; empty: train a teacher first',
  )
  teacher_mean: tuple = _key(
    (),
    'normalisation of a .pth that does not state it, (0, 0, 0), std (1, 1, 1) for none; empty: '
    'guessed',
  )
  teacher_std: tuple = _key((), 'as teacher_mean')
  teacher_relu_placement: str = _key(
    'auto', "as relu_placement, of a .pth as teacher_mean is; 'auto': guessed, too"
  )
  teacher_guess: str = _key(
    'names',
    "how what a .pth does not state is guessed: by the 'names' of its weights, or a 'fit' to "
    'images',
  )
  teacher_weights: str = _key(
    'raw', "of a .pth that holds both: its 'raw' weights, or 'ema', their moving averages"
  )
  relu_placement: str = _key(
    'block',
    "ReLUs of residual networks: after each 'block' or 'stage', the 'stem', or before 'pool'",
  )
  mean: tuple = _key(
    (), 'normalisation, a value a channel, pixels in [0, 1]; empty: of the training images'
  )
  std: tuple = _key((), 'as mean')
  compute_dtype: str = _key(
    'float32', "'float32' or 'bfloat16'; parameters, statistics and losses stay in float32"
  )

  method: str = _key('kd', "a row of kd_jax.methods.METHODS, or a join of rows such as 'kd+0.5*oh'")
  recipe: str = _key(
    'written',
    "'written' as in the paper, 'published' as in its code, 'official' as the method's authors do",
  )
  baseline: bool = _key(
    False,
    'train the same student with cross-entropy alone, too, from the same weights and for as many '
    'epochs',
  )

  epochs: int = _key(200, 'passes of the student over the training images')
  teacher_epochs: int = _key(
    0, 'passes of a teacher that is trained first; 0: as many as the student'
  )
  batch_size: int = _key(128, 'images in a step, over all devices')
  learning_rate: float = _key(0.1, 'first learning rate')
  momentum: float = _key(0.9, "of SGD, Nesterov's")
  weight_decay: float = _key(5e-4, 'added to the gradient before the momentum')
  learning_rate_drops: tuple = _key(
    (1 / 3, 2 / 3), 'fractions of the steps at which the rate is multiplied by the factor'
  )
  learning_rate_factor: float = _key(0.1, 'see learning_rate_drops')

  seed: int = _key(
    0,
    'of the run: weights, order, augmentation, train_examples; the validation split does not '
    'depend on it',
  )
  selection: str = _key(
    'validation',
    "images that choose the best epoch; 'test' repeats the paper and holds nothing out",
  )
  parallel: str = _key(
    'jit', "'jit' or 'pmap': how a step is spread over the devices; the results agree"
  )
  deterministic: bool = _key(
    False, 'bit-identical repeats on a GPU, too, at some cost; on a CPU they are so anyway'
  )
  log_every: int = _key(50, 'steps between two looks at the metrics')

  # of each method; config.kd.alpha, …
  options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

  def optimiser(self) -> OptimiserSpec:
    return OptimiserSpec(
      learning_rate=self.learning_rate,
      options={'momentum': self.momentum, 'weight_decay': self.weight_decay},
      schedule_options={
        'drops': tuple(self.learning_rate_drops),
        'factor': self.learning_rate_factor,
      },
    )

  def for_json(self) -> dict[str, Any]:
    """The resolved configuration as JSON keeps it."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  def to_share(self) -> dict[str, Any]:
    """What of it determines results, as JSON, without the paths of a machine: of files and folders
    the names alone.
    """
    shared = {name: value for name, value in self.for_json().items() if name not in FREE}
    if os.path.isdir(os.path.expanduser(self.dataset)):  # a folder of images
      shared['dataset'] = Path(self.dataset).name
    return shared | {
      'teacher_checkpoint': ','.join(
        Path(path.strip()).name for path in self.teacher_checkpoint.split(',')
      )
    }


# A finished or interrupted run may go on with other values of these: they change no result beyond
# rounding.
FREE = ('data_dir', 'cache_dir', 'download', 'data_placement', 'parallel', 'log_every')
# the last: several, separated by commas
PATHS = ('dataset', 'unlabelled_dataset', 'data_dir', 'cache_dir', 'teacher_checkpoint')
# what a PyTorch teacher's file does not say
OF_A_SPEC = ('teacher_mean', 'teacher_std', 'teacher_relu_placement')
OF_A_FILE = (*OF_A_SPEC, 'teacher_guess', 'teacher_weights')  # what goes for such a file alone
KEYS = {f.name: f for f in dataclasses.fields(Config) if f.name != 'options'}
_AT_LEAST = {
  'image_size': 0,
  'train_examples': 0,
  'validation_examples': 0,
  'eval_examples': 0,
  'crop_padding': 0,
  'epochs': 1,
  'teacher_epochs': 0,
  'batch_size': 1,
  'weight_decay': 0,
  'seed': 0,
  'log_every': 1,
}
_INFINITE = 2.0**127  # or more, in 32 bits
_AT_MOST = {'image_size': 4096}  # other integers: what 32 bits can count
_ONE_OF = {
  'student': models.MODELS,
  'teacher': models.MODELS,
  'recipe': RECIPES,
  'parallel': parallel.KINDS,
  'relu_placement': models.RELU_PLACEMENTS,
  'teacher_relu_placement': ('auto', *models.RELU_PLACEMENTS),
  'teacher_guess': ('names', 'fit'),
  'teacher_weights': ('raw', 'ema'),
  'compute_dtype': ('float32', 'bfloat16'),
  'selection': ('validation', 'test'),
  'data_placement': ('auto', 'device', 'host'),
}


# ResNet26 → ResNet8 on CIFAR-10 as the paper trains it: where its networks' ReLUs stand, and the
# deviations it normalises by (the mean of per-image ones; those of all pixels are .2470, .2435,
# .2616).
PAPER = {
  'dataset': 'cifar10',
  'student': 'resnet8',
  'teacher': 'resnet26',
  'epochs': 200,
  'batch_size': 128,
  'relu_placement': 'stage',
  'mean': (0.4914, 0.4822, 0.4465),
  'std': (0.2023, 0.1994, 0.2010),
}
PUBLISHED = {
  'resnet8': 'resnet8',
  'resnet20': 'resnet20',
  'resnet26': 'resnet26',
  'wrn10_1': 'WRN10_1',
  'wrn16_1': 'WRN16_1',
}


def taught_by(network: str) -> dict[str, str]:
  """The keys that make a network published with the paper the teacher, from the folder that
  KD_JAX_PRETRAINED names (pretrained/).
  """
  folder = Path(os.environ.get('KD_JAX_PRETRAINED', 'pretrained'))
  return {
    'teacher': network,
    'teacher_checkpoint': str(folder / f'{PUBLISHED[network]}_cifar10.pth'),
  }


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
    _known(method or option, METHODS if method else KEYS, 'configuration key')
    if method:
      _known(option, options_of(method), f'option of {method}')
    value = tuple(value) if isinstance(value, list) else value
    _check_type(name, value, options_of(method)[option] if method else KEYS[option].default)
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
  """The validated Config.

  Raises ConfigError with the valid choices for anything that is not right.
  """
  try:
    given = config.to_dict()
  except TypeError:  # it sorts them
    raise ConfigError(
      'the configuration has keys that are no text; keys are names, such as epochs'
    ) from None
  for name in given:
    _known(name, [*KEYS, *METHODS], 'configuration key')
  if odd := [name for name in METHODS if not isinstance(given.get(name, {}), Mapping)]:
    raise ConfigError(
      f'{odd[0]} is a section of options, such as config.kd.alpha, and no value; take it out, or '
      f'set its options'
    )
  chosen = {
    name: {k: v for k, v in given.pop(name).items() if v is not None}
    for name in METHODS
    if name in given
  }
  for name, set_ones in chosen.items():
    for option, value in set_ones.items():
      _known(option, options_of(name), f'option of {name}')
      _check_type(f'{name}.{option}', value, options_of(name)[option])
  for name, value in given.items():
    _check(name, value)
  method = given.get('method', KEYS['method'].default)
  parts = [name for _, name in methods.parse(method)]
  for name, set_ones in chosen.items():
    if set_ones and name not in parts:
      raise ConfigError(
        f"{name}.{next(iter(set_ones))} is set, but the method is '{method}', which does not use "
        f'it; '
        f'take it out (of the configuration file, where that sets it) or set method={name}'
      )
  resolved = Config(**given, options={name: chosen.get(name, {}) for name in parts})
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
  if any(not 0 < d < 1 for d in resolved.learning_rate_drops):
    raise ConfigError(
      f'learning_rate_drops are fractions between 0 and 1, not '
      f'{tuple(resolved.learning_rate_drops)}'
    )
  methods.make(method, recipe=resolved.recipe, chosen=resolved.options)
  return resolved


def from_json(kept: Mapping[str, Any]) -> Config:
  """What `Config.for_json` gave.

  A key that it lacks has its default: an older kd_jax did not know it.
  """
  for name in kept:
    _known(name, [*KEYS, 'options'], 'configuration key')
  values = {
    name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()
  }
  for name in values.keys() - {'options'}:
    _check(name, values[name])
  return Config(**values)


def stated_of_teacher(config: Config) -> dict[str, Any]:
  """The keys that say of a teacher's file what it does not say itself, where they are set."""
  return {
    name: value for name in OF_A_FILE if (value := getattr(config, name)) != KEYS[name].default
  }


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
  """'key: old → new' for every key whose change makes another run of it."""
  # an older kd_jax did not know every key: it did what the default says
  before = Config().for_json() | before
  names = [n for n in before | now if n not in FREE and before.get(n) != now.get(n)]
  return [f'{n}: {before.get(n)} → {now.get(n)}' for n in names]


def options_of(method: str) -> dict[str, Any]:
  """The options of a row of METHODS with their defaults: its factory's and its plan's."""
  return methods.options(method) | plans.options(method)


def names() -> list[str]:
  """Every key that can be set, options of methods included."""
  return [*defaults()]


def choices(name: str) -> tuple[str, ...]:
  """Return what a key may be set to, as far as that is a list; () for anything."""
  default = defaults()[name]
  if isinstance(default, bool):
    return 'True', 'False'
  return tuple(METHODS) if name == 'method' else tuple(_ONE_OF.get(name, ()))


def defaults() -> dict[str, Any]:
  """Return every key that can be set with its default, options of methods included."""
  of_methods = {
    f'{method}.{option}': default
    for method in METHODS
    for option, default in options_of(method).items()
  }
  return {name: field.default for name, field in KEYS.items()} | of_methods


def is_utf8(text: str) -> bool:
  """Whether a text can be written down:

  Python lets in the bytes of a command line or a file's name that cannot.
  """
  return not any('\ud800' <= character <= '\udfff' for character in text)


def _known(name: str, choices: Iterable[str], what: str) -> None:
  choices = list(choices)
  if name not in choices:
    raise ConfigError(
      f"unknown {what} '{name}'.{closest(name, choices)} Valid: {', '.join(choices)}"
    )


def _check_type(name: str, value: Any, expected: Any) -> None:
  """Raises ConfigError where a value may not stand where a default does, or is a number that 32 bits
  cannot hold.
  """
  right = isinstance(value, type(expected)) or (
    isinstance(expected, float) and isinstance(value, int)
  )
  if not right or isinstance(value, bool) != isinstance(expected, bool):
    raise ConfigError(
      f'{name} is a {type(expected).__name__}, such as {shown(expected)}, not {_given(value)}'
    )
  if isinstance(value, str) and not is_utf8(value):
    raise ConfigError(
      f'{name} holds bytes that are no UTF-8, {value!r}: give the file or folder another name'
    )
  if name in PATHS:
    for path in value.split(','):
      places.check_local(name, path.strip())
  if isinstance(expected, float) and not _is_finite(value):
    raise ConfigError(f'{name} is a finite number, not {_given(value)}')
  if (
    isinstance(expected, int)
    and name != 'seed'
    and abs(value) > (most := _AT_MOST.get(name, 2**31 - 1))
  ):
    raise ConfigError(f'{name} is at most {most}, not {_given(value)}')


def _is_finite(value: Any) -> bool:
  return isinstance(value, int | float) and abs(value) < _INFINITE


def _check(name: str, value: Any) -> None:
  _check_type(name, value, KEYS[name].default)
  if name in _ONE_OF and not (name in ('student', 'teacher') and models.custom.is_own(value)):
    _known(value, _ONE_OF[name], name)
  if value < _AT_LEAST.get(name, value):
    raise ConfigError(f'{name} is at least {_AT_LEAST[name]}, not {_given(value)}')
  if name == 'seed' and value >= 2**32:  # JAX would take another seed for it
    raise ConfigError(f'seed is less than 2**32, not {_given(value)}')
  if name in ('learning_rate', 'learning_rate_factor') and not value > 0:
    raise ConfigError(f'{name} is greater than 0, not {value}')
  if name == 'momentum' and not 0 <= value < 1:
    raise ConfigError(f'momentum lies in [0, 1), not {value}')
  if isinstance(KEYS[name].default, tuple) and not all(_is_finite(v) for v in value):
    raise ConfigError(f'{name} holds finite numbers, not {_given(value)}')


def _given(value: Any) -> str:
  try:
    return repr(value)
  except ValueError:  # Python writes no integer of thousands of digits
    return 'a number of thousands of digits'


def shown(value: Any) -> str:
  """Return a value as messages and help show it."""
  if isinstance(value, tuple):
    return '(' + ', '.join(f'{v:.4g}' for v in value) + ')'
  return repr(value)
