"""Compiled programs, kept for the next run in this process, such as another seed of a study."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

# programs; a study trains its seeds one after the other, so that few are in use at a time
KEPT = 16
T = TypeVar('T')


class Programs:
  """The programs used last, by what they were made from.

  Compiling one takes seconds to a minute; a study has a few, and many runs.
  """

  def __init__(self, kept: int = KEPT):
    self._kept = kept
    self._made: OrderedDict[Hashable, Any] = OrderedDict()

  def get(self, key: Hashable, make: Callable[[], T]) -> T:
    """Return what was made under this key, or make it.

    The key holds all that determines it, the shapes of its arguments aside. What cannot be a key,
    as where a user's network holds a list, is made anew each time.
    """
    try:
      hash(key)
    except TypeError:
      return make()
    made = self._made.pop(key) if key in self._made else make()
    self._made[key] = made
    while len(self._made) > self._kept:
      self._made.popitem(last=False)
    return made
