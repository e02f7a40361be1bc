"""Results: the rows of a run, and where its numbers go as it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NewType, Protocol

Share = NewType('Share', float)  # from 0 to 1, as accuracies are


@dataclass(frozen=True, kw_only=True)
class ResultRow:
  """What results.json holds of a network, or of a finished run of a study, under these names.

  What was not measured is None.
  """

  name: str  # of the phase or of the imported teacher; in a study, of the study's row
  role: str | None = None  # as Phase.role
  method: str | None = None
  recipe: str | None = None
  student: str | None = None  # the architecture, as NetworkSpec.name
  teachers: tuple[str, ...] | None = None  # their architectures
  dataset: str | None = None
  seed: int | None = None
  epochs: int | None = None
  steps: int | None = None
  best_epoch: int | None = None  # the selected one, from 1
  train_examples: int | None = None
  parameters: int | None = None
  validation_accuracy: Share | None = None  # at the selected epoch
  test_accuracy: Share | None = None  # at the selected epoch
  test_accuracy_last: Share | None = None  # after the last epoch
  selection: str | None = None  # the images that select the epoch: 'validation' or 'test'
  passes: float | None = None  # of networks in training over the training images
  flops_alone: float | None = None  # operations, without the students that were trained beside it
  images_per_second: float | None = None
  seconds: float | None = None
  # The fields from here on are left out of the file where they are None.
  test_examples: int | None = None
  test_accuracy_best: Share | None = None  # of the best epoch on the test images: optimistic
  averaged: bool | None = None  # True: the average of the weights predicts; it was the better one
  best_sha256: str | None = None  # of the weights at the selected epoch
  last_sha256: str | None = None
  test_top5: Share | None = (
    None  # the label is among the five most probable; of ten classes or more
  )
  test_f1: Share | None = None  # macro: the mean over the classes
  class_accuracies: tuple[Share | None, ...] | None = None  # of the test images, in their order
  ece: Share | None = None  # the expected calibration error
  teacher_agreement: Share | None = None
  teacher_kl_t1: float | None = None
  teacher_kl_t4: float | None = None
  setting: Mapping[str, Any] | None = None  # of a study's sweep
  other: Mapping[str, Any] = field(default_factory=dict)  # of another version


class Sink(Protocol):
  """A place for the numbers of a phase as it trains: a file, TensorBoard, the terminal."""

  def start(self, phase: str, step: int) -> None:
    """Begin a phase, or go on with it after `step` steps."""

  def scalars(self, step: int, values: Mapping[str, Any]) -> None:
    """Take numbers, with the steps that are done.

    Where 'epoch' is among the names, they are a finished epoch's row of the history. The first one
    after `start` comes with those of all epochs before it. Else they are means over the epoch so
    far, and 'images', the number of images since the last call.
    """

  def close(self) -> None:
    """End; closing twice is harmless."""
