"""Keys of a configuration that change nothing in a run, since nothing of it uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_jax.config.keys import KEYS
from kd_jax.methods import METHODS

_UNLABELLED = ('stl', 'unsupervised')  # plans that take unlabelled images
_TEACHER = tuple(name for name in KEYS if name.startswith('teacher'))
# key → its value that lets the others do something, and the others
_OF = {
  'optimiser': ('sgd', ('momentum', 'nesterov')),
  'schedule': ('steps', ('learning_rate_drops', 'learning_rate_factor')),
  'selection': ('validation', ('validation_examples', 'test_every_epoch')),
}


def idle(config: Mapping[str, Any]) -> frozenset[str]:
  """Return the keys that a recorded configuration does not use, such as a teacher of `nokd`.

  A method that METHODS lacks, such as the user's own, is taken to use all that one may. A key that
  the configuration lacks has its default.
  """
  given = {name: field.default for name, field in KEYS.items()} | dict(config)
  names = (part.rpartition('*')[2].strip() for part in str(given['method']).split('+'))
  parts = [METHODS.get(name) for name in names]
  found: list[str] = []
  if not any(part is None or part.teachers[1] for part in parts):
    found += _TEACHER
  elif not given['teacher_checkpoint']:
    found += (name for name in _TEACHER if name not in ('teacher', 'teacher_epochs'))
  else:
    found.append('teacher_epochs')
  if not any(part is None or part.plan in _UNLABELLED for part in parts):
    found.append('unlabelled_dataset')
  for key, (value, others) in _OF.items():
    if given[key] != value:
      found += others
  return frozenset(found)
