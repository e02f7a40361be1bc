"""Training: its state, a phase and all that it is trained by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from kd_jax.types.data import AnyArray, Array
from kd_jax.types.methods import Method
from kd_jax.types.networks import Network, NetworkSpec, PyTree


class TrainState(NamedTuple):
  """All that changes in training, and all that is saved."""

  step: Array  # i32[], steps taken in this phase
  params: dict[str, PyTree]  # of 'student' and 'method'
  state: dict[str, PyTree]  # under the same two names: BatchNorm statistics, memory banks
  opt_state: PyTree
  average: PyTree | None = None  # a moving average of the parameters, where one is kept


class Frozen(NamedTuple):
  """All that does not change in a phase. An argument of the step, never closed over."""

  teachers: tuple[PyTree, ...]  # variables of each teacher
  constants: PyTree  # of the method
  key: Array  # the phase's key; the step folds in its counter
  epoch_steps: AnyArray | np.integer  # i32[], steps of an epoch
  phase_steps: AnyArray | np.integer  # i32[], steps of the phase


@dataclass(frozen=True, kw_only=True)
class OptimiserSpec:
  """How parameters are updated, as JSON: part of what a phase is identified by."""

  name: str = 'sgd'  # a row of kd_jax.train.optim.OPTIMISERS, or 'package.module:factory'
  learning_rate: float = 0.1  # the schedule's highest
  # those that differ from the row's defaults
  options: Mapping[str, Any] = field(default_factory=dict, hash=False)
  schedule: str = 'steps'  # a row of kd_jax.train.schedules.SCHEDULES
  schedule_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
  warmup: float = 0.0  # share of the phase's steps in which the rate rises
  clip: float | None = None  # the largest norm of a gradient; a longer one is shortened to it
  decay: str = 'all'  # the leaves that weight decay is for: 'all' or 'kernels'
  ema: float | None = None  # how much of TrainState.average stays at a step, in [0, 1)
  accumulate: int = 1  # steps over which gradients are averaged before the parameters change


@dataclass(frozen=True, kw_only=True)
class Phase:
  """One training run: a student, its teachers, a method and a budget.

  A plan is a tuple of phases.
  """

  name: str  # unique in a plan; names the phase's folder and its row in the results
  # what it is for: 'teacher', 'baseline', 'student', or 'stage', an earlier part of a student's
  # training
  role: str
  method_name: str  # as the results show it, such as 'kd'
  method: Method
  student: NetworkSpec
  teachers: tuple[str, ...]  # names of earlier phases, or of imported networks
  epochs: int
  optimiser: OptimiserSpec
  shares: Mapping[str, int]  # images of each data source in a batch, such as {'train': 128}
  # what made the method: its options by part, the recipe's among them; JSON
  settings: Mapping[str, Any] = field(default_factory=dict)
  # fields of the teachers' NetworkSpec that differ in this phase
  teacher_changes: Mapping[str, str] = field(default_factory=dict)
  start: str | None = None  # an earlier phase whose student this one goes on from
  # the phase whose weights, order and augmentation it draws, too; None: its own
  draws_as: str | None = None
  # epochs without a better selecting accuracy, after which the phase ends; 0: it does not
  patience: int = 0
  # (student's, best teacher's selecting accuracy) → True ends the phase
  stop: Callable[[float, float], bool] | None = None


class Monitor(Protocol):
  """What is shown and written of a trainee while it trains."""

  def start(self, phase: str, step: int) -> None:
    """Begin a phase, or go on with it after `step` steps."""

  def step(self, step: int, means: Mapping[str, float], images: int) -> None:
    """Take means over the epoch so far, and the number of images since the last call."""

  def epoch(self, history: Sequence[Mapping[str, Any]]) -> None:
    """Take the rows of all epochs, the last of which has just ended."""

  def interrupted(self) -> bool:
    """Return whether training is to stop after this step."""


@dataclass(frozen=True, kw_only=True)
class Trainee:
  """A student in training."""

  phase: Phase
  network: Network
  optimiser: Any  # an optax.GradientTransformation
  schedule: Callable[[int], Any]  # step → learning rate
  first: TrainState
  constants: PyTree  # of the method
  # → {'validation_accuracy', 'validation_loss'} or of 'test'; the loop needs both, a step neither
  validate: Callable[[TrainState], Mapping[str, float]] | None = None
  monitor: Monitor | None = None
