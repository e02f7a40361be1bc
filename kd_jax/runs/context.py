"""What the phases of a run share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kd_jax.data import pipeline, roles
from kd_jax.data.mixing import Mixing
from kd_jax.train import parallel
from kd_jax.train.programs import Programs
from kd_jax.types import Array, Phase, Source

Say = Callable[[str], None]


def silent(line: str) -> None:
  """Print nothing: a `Say` for what nobody reads."""


@dataclass(frozen=True, kw_only=True)
class Identity:
  """What the results of a run name it by."""

  dataset: str
  recipe: str
  options: Mapping[str, Mapping[str, Any]]  # of its method's parts, that are not the recipe's
  seed: int


@dataclass(frozen=True, kw_only=True)
class Context:
  """What all phases of a run share."""

  identity: Identity
  folder: Path
  parts: roles.Roles
  augmentation: pipeline.Weak
  mixing: Mixing
  selection: str  # the images that choose the best epoch: 'validation' or 'test'
  test_every_epoch: bool  # whether test images are evaluated after each epoch, and select nothing
  # id of a stored source → the same on the devices; empty where images stream from the host
  placed: Mapping[int, Source]
  devices: parallel.Parallel
  classes: tuple[str, ...]
  log_every: int  # steps between two looks at the metrics
  wandb: str  # a project of Weights & Biases; empty: none
  settings: Mapping[str, Any]  # the configuration, as sinks show it
  stop: Callable[[], bool]
  say: Say
  programs: Programs  # that were compiled before; phases that need the same one share it
  # (images, their numbers, epoch) → images, before the views of a batch are made
  turn: Callable[..., Array] | None = None

  @property
  def stored(self) -> tuple[int, int] | None:
    """Return the stored images' height and width, where networks see a part of them; else None."""
    if self.augmentation.size is None:
      return None
    height, width = self.parts.train.source.image.shape[1:3]
    return height, width


class Student(NamedTuple):
  """A phase to train in the context of its run.

  Those that train together draw the same data and have the same teachers.
  """

  context: Context
  phase: Phase
