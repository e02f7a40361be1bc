"""What is timed. Imports nothing, since both workers read it, under interpreters that share no library."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
  """One training step that is timed: a line of the table."""

  student: str  # a row of kd_jax.models.MODELS
  teacher: str | None
  method: str  # 'kd' with a teacher, 'nokd' without
  batch: int = 128
  classes: int = 10
  image_shape: tuple[int, int, int] = (32, 32, 3)
  examples: int = 50_000  # in the data set, of random pixels and labels


ROWS = {
  'kd': Row('resnet8', 'resnet26', 'kd'),
}
