"""The shapes of everything that moves between the parts of kd_jax. No logic lives here.

Letters in shapes: B examples in a batch, H and W pixels, C channels, K classes, D embedding width,
N examples in a data set. What jax passes through a program is a NamedTuple; everything else is a
frozen dataclass, made by keywords (but for a network and its spec, which factories of users make).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NewType, Protocol

import jax
import numpy as np

Array = jax.Array
AnyArray = jax.Array | np.ndarray  # on a device, or still on the host
PyTree = Any
Path = tuple[str, ...]
Share = NewType('Share', float)  # from 0 to 1, as accuracies are


class KdJaxError(Exception):
  """A fault that the user can mend. The message is one line: what is wrong, why, and what to do."""


class ConfigError(KdJaxError):
  """A key, an option or a flag has a value that cannot be, or that does not go with the others."""


class DataError(KdJaxError):
  """Images or labels are missing, damaged, or not what a run needs."""


class FileError(KdJaxError):
  """A file or a folder cannot be read or written, or holds something else than it should."""


class Damaged(FileError):  # noqa: N818
  """What kd_jax has written is damaged, or part of it is gone: it may be possible to compute it
  again.
  """


# Data ---------------------------------------------------------------------------------------------


class Source(NamedTuple):
  """A data set, or a block of one, as it is stored. `label` is −1 where there is none."""

  image: AnyArray  # u8[N, H, W, C]
  label: AnyArray  # i32[N]


class Block(NamedTuple):
  """All that a step is sent: where its images are, and which ones.

  The tuples have an entry a source, of b images each. Where images are streamed, the sources are
  the block itself and the index is None.
  """

  sources: tuple[Source, ...]
  index: tuple[AnyArray | None, ...]  # i32[b], the images to take; None: all, in order
  example: tuple[AnyArray, ...]  # i32[b], their numbers in their data set
  position: tuple[AnyArray, ...]  # i32[b], their places in the global batch


class Batch(NamedTuple):
  """What a loss sees of the data."""

  image: Array  # f32[B, H, W, C], in [0, 1], not normalised: normalisation belongs to a network
  label: Array  # i32[B], −1 where there is none
  example: Array  # i32[B], the image's number in its data set: what a memory bank is indexed by
  target: Array | None = None  # f32[B, K], soft labels, where images are mixed


# Networks -----------------------------------------------------------------------------------------


class Outputs(NamedTuple):
  """Everything that a network computes on a batch; jit removes what a loss does not use.

  A feature is taken at the end of a stage BEFORE the stage's ReLU. In a pre-activation network
  (WRN) it is the input of the next stage's first ReLU, after its BatchNorm, as in Heo et al. 2019,
  "A Comprehensive Overhaul of Feature Distillation".
  """

  logits: Array  # f32[B, K]
  features: tuple[Array, ...]  # f32[B, Hi, Wi, Ci], one a stage
  layers: dict[str, Array]  # every map that a loss may want: stem_conv, stem_norm, stage1_block1, …
  embedding: Array  # f32[B, D], what the classifier sees


class LogitsOnly(NamedTuple):
  """The outputs of a network that shows nothing else.

  A method that asks it for more raises KdJaxError as it is traced.
  """

  logits: Array  # f32[B, K]

  def __getattr__(self, name: str) -> Any:
    if name in Outputs._fields:
      raise KdJaxError(
        f'the method asks a network for its {name}, and this one gives logits alone: take a method '
        f'that compares '
        'logits, such as kd or dkd, or a network that returns Outputs'
      )
    raise AttributeError(name)


class NetworkSpec(NamedTuple):
  """All that is needed to build a network again; saved beside its weights as JSON."""

  # a row of kd_jax.models.MODELS, such as 'resnet26', or 'package.module:factory' (see
  # kd_jax.models.custom)
  name: str
  classes: int
  image_shape: tuple[int, int, int]  # height, width, channels
  relu_placement: str = 'block'  # 'block', 'stage', 'stem' or 'pool': see kd_jax.models.resnet
  # a value a channel, for pixels in [0, 1]; empty: the network sees the pixels as they are
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  # 'float32', 'bfloat16' or 'float64'; parameters and statistics are float32 or wider
  compute_dtype: str = 'float32'


class Network(NamedTuple):
  """A network ready to use: `module.apply(variables, image, train=…)` returns Outputs, or
  LogitsOnly.
  """

  spec: NetworkSpec
  module: Any  # a flax.linen.Module
  # for each feature, the path in the parameters of the last BatchNorm before it (overhaul's
  # margins); () where a network names none
  norms: tuple[Path, ...]
  # what it draws from while it trains, such as ('dropout',): a step gives a key to each
  streams: tuple[str, ...] = ()

  def rngs(self, key: Array) -> dict[str, Array]:
    """Return a key for each stream, as `module.apply` takes them."""
    return {name: jax.random.fold_in(key, number) for number, name in enumerate(self.streams)}


class Trained(NamedTuple):
  """A network with its weights: {'params': …, 'batch_stats': …}."""

  network: Network
  variables: PyTree


# Methods ------------------------------------------------------------------------------------------


class MethodVariables(NamedTuple):
  """A method's own variables; what it has none of is {}."""

  params: PyTree = {}  # trained: connectors, projections
  state: PyTree = {}  # changed by the loss, without gradient: BatchNorm statistics, memory banks
  constants: PyTree = {}  # computed once: margins


class NetworkInfo(NamedTuple):
  """What a method may use of a network before training."""

  network: Network
  variables: PyTree  # arrays for a teacher; for the student shapes alone
  outputs: Outputs | LogitsOnly  # of jax.ShapeDtypeStruct, for a batch of two


class InitInputs(NamedTuple):
  """What a method's variables are made from."""

  key: Array
  student: NetworkInfo
  teachers: tuple[NetworkInfo, ...]
  labels: np.ndarray  # i32[N], by an image's number in its data set; −1 where none is trained on


class LossInputs(NamedTuple):
  """What a loss sees of a step. Teachers are outside the gradient."""

  student: dict[str, Outputs]  # by view
  teachers: tuple[dict[str, Outputs], ...]
  batch: Batch
  step: Array  # i32[], steps of the phase before this one
  epoch: Array  # f32[], the running epoch's number, 1 for the first
  progress: Array  # f32[], the share of the phase's steps that is done, 0 at its first step
  key: Array
  axis: str | None  # of the devices, where each has its part of the batch


def trains_everything(path: Path) -> bool:
  """Return True, as the usual `Method.trains`: the loss reaches every leaf."""
  return True


@dataclass(frozen=True, kw_only=True)
class Method:
  """A distillation method: pure functions; hyper-parameters live in the closure of the factory that
  made it.

  `init` raises KdJaxError where student and teachers cannot be matched. `loss` returns terms and
  the method's new state: `terms` maps names to weighted scalars whose sum is the loss. Under a
  named device axis each term is scaled so that its mean over the devices is the value on the global
  batch (see kd_jax.losses.reduce), and the new state is the same on every device.
  """

  init: Callable[[InitInputs], MethodVariables]
  loss: Callable[[MethodVariables, LossInputs], tuple[dict[str, Array], PyTree]]
  # logits f32[B, K], where they are not the student's own; its variables are nested dicts then
  predict: Callable[[MethodVariables, Outputs], Array] | None = None
  # name → augmentation, as kd_jax.data.pipeline.policy reads it; the first counts
  views: Mapping[str, str] = field(default_factory=lambda: {'weak': 'weak'})
  # the student sees all views in one batch, so that BatchNorm sees them together; else one by one
  joint: bool = True
  # path under params, from 'student' or 'method' on
  trains: Callable[[Path], bool] = trains_everything
  teacher_statistics: str = 'running'  # BatchNorm of the teachers: 'running' or 'batch' statistics
  # trained beside the student; its variables are the method's own params and state
  companion: Network | None = None


# Training -----------------------------------------------------------------------------------------


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

  name: str = 'sgd'  # a row of kd_jax.train.optim.OPTIMISERS
  learning_rate: float = 0.1  # the schedule's highest
  # those that differ from the row's defaults
  options: Mapping[str, Any] = field(default_factory=dict, hash=False)
  schedule: str = 'steps'  # a row of kd_jax.train.optim.SCHEDULES
  schedule_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
  warmup: float = 0.0  # share of the phase's steps in which the rate rises
  clip: float | None = None  # the largest norm of a gradient
  decay: str = 'all'  # the leaves that weight decay is for
  ema: float | None = None  # of TrainState.average


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


# Results ------------------------------------------------------------------------------------------


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
  best_sha256: str | None = None  # of the weights at the selected epoch
  last_sha256: str | None = None
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
