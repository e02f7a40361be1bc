"""What the runs of a study have in common, had once: each would read and count it anew."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from kd_jax.config import KEYS, Config
from kd_jax.data import roles, sources
from kd_jax.files import hashes, packing
from kd_jax.models import predicting
from kd_jax.runs import inputs, teachers
from kd_jax.types import NetworkSpec, Trained

# the keys by which a data set is loaded
_NAMES_DATA = ('dataset', 'data_dir', 'image_size', 'stored_size', 'test_split')
# the keys that choose and read teachers, beside the spec that is expected of them
_OF_TEACHERS = tuple(name for name in KEYS if name.startswith('teacher') and 'epochs' not in name)
T = TypeVar('T')


class Shared:
  """Images, what each is for, their statistics, and imported teachers, of as many runs as ask.

  A run gets the same objects as another where its configuration asks for the same.
  """

  def __init__(self, dataset: sources.Dataset | None = None):
    """Begin with nothing, or with the data set of every run."""
    self._dataset = dataset
    self._made: dict[tuple[str, tuple[Hashable, ...]], Any] = {}

  def dataset(self, config: Config) -> sources.Dataset:
    """Return the data set of a run. Raises KdJaxError where it cannot be had."""
    if self._dataset is not None:
      return self._dataset
    return self._once('dataset', _values(config, _NAMES_DATA), lambda: inputs.load(config))

  def datasets(self) -> list[sources.Dataset]:
    """Return the data sets that were loaded."""
    return [made for (what, _), made in self._made.items() if what == 'dataset']

  def parts(self, config: Config) -> roles.Roles:
    """Return what each image is for. Raises ConfigError where there are too few."""
    dataset = self.dataset(config)
    key = (*_parted(config), config.eval_examples)
    return self._once('parts', key, lambda: inputs.labelled(config, dataset=dataset)[1])

  def unlabelled(self, config: Config) -> tuple[roles.Roles, str]:
    """Return the same with the unlabelled images, and their hash where a folder has one."""
    parts = self.parts(config)

    def added() -> tuple[roles.Roles, str]:
      shape = self.dataset(config).image_shape
      source, sha256 = inputs.unlabelled(config, shape=shape)
      return roles.with_unlabelled(parts, config.unlabelled_dataset, source), sha256

    key = (*_parted(config), config.eval_examples, config.unlabelled_dataset)
    return self._once('unlabelled', key, added)

  def statistics(self, config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of the training images, a value a channel."""
    train = self.parts(config).train
    return self._once('statistics', _parted(config), lambda: roles.statistics(train))

  def teachers(self, config: Config, expected: NetworkSpec) -> dict[str, Trained]:
    """Return the imported teachers, as kd_jax.runs.teachers.load does."""
    origins = teachers.origins(config)
    if not origins:
      return {}
    dataset = self.dataset(config)
    read = (tuple(origins.items()), *_values(config, _OF_TEACHERS))

    def load() -> dict[str, Trained]:
      training = inputs.training(config, dataset)
      return teachers.load(config, expected, classes=dataset.classes, training=training)

    return dict(self._once('teachers', (*_parted(config), expected, *read), load))

  def fingerprint(self, trained: Trained) -> str:
    """Return sixteen digits that stand for an imported network: its weights and how it is used."""

    def made() -> tuple[str, Trained]:
      # () of what an older kd_jax took: it has the hash that it had
      how = predicting.adapted_by(trained.network)
      described = [trained.network.spec._asdict(), packing.fingerprint(trained.variables), *how]
      return hashes.of_json(described)[:16], trained  # held, so that the id stays its own

    return self._once('fingerprint', (id(trained.variables), trained.network.spec), made)[0]

  def _once(self, what: str, key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
    """Return what was made of this kind under this key, or make it."""
    if (what, key) not in self._made:
      self._made[what, key] = make()
    return self._made[what, key]


def _values(config: Config, names: tuple[str, ...]) -> tuple[Hashable, ...]:
  return tuple(getattr(config, name) for name in names)


def _parted(config: Config) -> tuple[Hashable, ...]:
  """Return what determines the training images: the seed where it draws them."""
  held = config.validation_examples if config.selection == 'validation' else 0
  drawn = config.seed if config.train_examples else 0
  return (*_values(config, _NAMES_DATA), held, config.train_examples, drawn)
