"""The shapes of everything that moves between the parts of kd_jax. No logic lives here.

Letters in shapes: B examples in a batch, H and W pixels, C channels, K classes, D embedding width,
N examples in a data set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NewType, Protocol

import jax

Array = jax.Array
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


class Source(NamedTuple):
  """A data set, or a block of one, as it is stored. `label` is −1 where there is none."""

  image: Array  # u8[N, H, W, C]
  label: Array  # i32[N]


class Batch(NamedTuple):
  """What a loss sees of the data.

  `label` is −1 where there is none, `mask` is 0 on padding and 1 elsewhere.
  """

  image: Array  # f32[B, H, W, C], in [0, 1], not normalised: normalisation belongs to a network
  label: Array  # i32[B]
  mask: Array  # f32[B]


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

  `norms` names, for each feature, the path in the parameter tree of the last BatchNorm before it
  (overhaul's margins); an own network may leave them out, ().
  """

  spec: NetworkSpec
  module: Any  # a flax.linen.Module
  norms: tuple[Path, ...]


class Trained(NamedTuple):
  """A network with its weights: {'params': …, 'batch_stats': …}."""

  network: Network
  variables: PyTree


class TrainState(NamedTuple):
  """All that changes in training, and all that is saved."""

  step: Array  # i32[], steps taken in this phase
  # 'student' and 'method' (connectors; empty where a method has no modules)
  params: dict[str, PyTree]
  stats: dict[str, PyTree]  # BatchNorm statistics under the same two names
  opt_state: PyTree


class Frozen(NamedTuple):
  """All that does not change in a phase. An argument of the step, never closed over."""

  teachers: tuple[PyTree, ...]  # variables of each teacher
  consts: PyTree  # what the method computed once (overhaul's margins)
  key: Array  # the phase's key; the step folds in its counter


class MethodState(NamedTuple):
  """What `Method.init` returns."""

  params: PyTree
  stats: PyTree
  consts: PyTree


def trains_everything(path: Path) -> bool:
  """The usual `Method.trains`: the loss reaches every leaf."""
  del path
  return True


class Method(NamedTuple):
  """A distillation method: two pure functions; hyper-parameters live in the closure of the factory
  that made it.

  init(key, student, teachers) -> MethodState
    `student` and each of `teachers` are `Known`; raises KdJaxError where the pair cannot be
    matched.
  loss(params, stats, student, teachers, batch, consts, key, *, axis) -> (terms, stats)
    `params` and `stats` are the method's own; `student` is {view: Outputs}, `teachers` a tuple of
    the same, outside the gradient. `terms` maps names to weighted scalars whose sum is the loss.
    Under a named device axis each term is scaled so that its mean over the devices is the value on
    the global batch (see kd_jax.losses.reduce).
  """

  init: Callable[..., MethodState]
  loss: Callable[..., tuple[dict[str, Array], PyTree]]
  # name → augmentation, as kd_jax.data.pipeline.policy reads it; the first counts
  views: Mapping[str, str] = {'weak': 'weak'}
  # the student sees all views in one batch, so that BatchNorm sees them together; else one by one
  joint: bool = True
  # path under params, from 'student' or 'method' on
  trains: Callable[[Path], bool] = trains_everything
  teacher_statistics: str = 'running'  # BatchNorm of the teachers: 'running' or 'batch' statistics
  # trained beside the student; its variables are the method's own params and stats
  companion: Network | None = None


class Known(NamedTuple):
  """What a method may know of a network before training."""

  network: Network
  variables: PyTree  # arrays for a teacher; for the student shapes alone
  outputs: Outputs  # of jax.ShapeDtypeStruct, for a batch of two


class Optimiser(NamedTuple):
  """SGD as the paper trains:

  Nesterov momentum, coupled weight decay, step-wise drops of the learning rate.
  """

  learning_rate: float = 0.1
  momentum: float = 0.9
  nesterov: bool = True
  weight_decay: float = 5e-4
  # fractions of the phase's steps, each rounded to a step
  drops: tuple[float, ...] = (1 / 3, 2 / 3)
  drop_factor: float = 0.1


class Phase(NamedTuple):
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
  optimiser: Optimiser
  shares: Mapping[str, int]  # images of each data source in a batch, such as {'train': 128}
  # what made the method: recipe-settled options of each part, by name; JSON
  settings: Mapping[str, Any] = {}
  # fields of the teachers' NetworkSpec that differ in this phase
  teacher_changes: Mapping[str, str] = {}
  start: str | None = None  # an earlier phase whose student this one goes on from
  # the phase whose weights, order and augmentation it draws, too; None: its own
  draws_as: str | None = None
  # (student's, best teacher's selecting accuracy) → True ends the phase
  stop: Callable[[float, float], bool] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
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
  other: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of another version


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
