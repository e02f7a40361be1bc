"""The keys of a run: the Config, and what is particular about some of them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd_jax.config.options import read_options
from kd_jax.data.mixing import Mixing
from kd_jax.data.pipeline import Weak
from kd_jax.train import optim
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
  stored_size: int = _key(
    0,
    "side in pixels at which a folder's images are kept, where it is larger than image_size; 0: "
    'image_size',
  )
  test_split: str = _key(
    '', 'name of the folder in a folder of images whose images test, such as val; empty: test'
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
  alternating_flip: bool = _key(
    False, 'each image is flipped in every second epoch, instead of at random'
  )
  augment: str = _key(
    '',
    "what comes after crop and flip: 'randaugment:2:9', 'autoaugment', 'cutout:8', joined by '+'; "
    "'resized_crop:8' takes the place of the crop",
  )
  label_smoothing: float = _key(0.0, 'share of a label that is spread over all classes')
  mixup: float = _key(
    0.0, 'α of the Beta distribution that images and labels are mixed by, such as 0.2; 0: none'
  )
  cutmix: float = _key(
    0.0, 'likewise, of boxes cut from another image, such as 1; with mixup in turns'
  )

  student: str = _key(
    'resnet8',
    "network to train, a row of kd_jax.models.MODELS, or your own, 'package.module:factory'",
  )
  teacher: str = _key('resnet26', 'network to learn from, as student; of several, one or each')
  teacher_checkpoint: str = _key(
    '',
    'workdir, network folder, .pth of PyTorch, .jax of jax.export, .onnx, .pt2 or a table (.npz); '
    'empty: train a teacher first',
  )
  teacher_mean: tuple = _key(
    (),
    'normalisation of a .pth that does not state it, (0, 0, 0), std (1, 1, 1) for none; empty: '
    'guessed',
  )
  teacher_std: tuple = _key((), 'as teacher_mean')
  teacher_image_size: tuple = _key((), 'side of the images that a .pth takes; empty: as in the run')
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
  teacher_dtype: str = _key(
    '',
    "of teachers while they teach: 'float32', 'bfloat16', faster where the machine has it; empty: "
    'as compute_dtype',
  )

  method: str = _key(
    'kd',
    "a row of kd_jax.methods.METHODS, a join such as 'kd+0.5*oh', or your own, "
    "'package.module:factory'",
  )
  method_options: str = _key('', "of a method of your own alone, such as 'weight=0.5'")
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
  patience: int = _key(
    0, 'end a training after so many epochs without a better selecting accuracy; 0: never'
  )
  batch_size: int = _key(128, 'images in a step, over all devices')
  optimiser: str = _key(
    'sgd',
    "'sgd', 'adamw', or a factory of optax's form such as 'optax:lion'; but for sgd lower "
    'learning_rate',
  )
  learning_rate: float = _key(0.1, "the schedule's highest")
  momentum: float = _key(0.9, 'of SGD')
  nesterov: bool = _key(True, "whether SGD's momentum is Nesterov's")
  weight_decay: float = _key(
    5e-4, 'of SGD added to the gradient before the momentum; of AdamW decoupled from it'
  )
  decay: str = _key('all', "the parameters that decay: 'all', or the 'kernels' of layers alone")
  optimiser_options: str = _key(
    '',
    "what else the optimiser takes, such as 'beta2=0.95,epsilon=1e-6'; adamw: beta1, beta2, "
    'epsilon; a factory: its own arguments',
  )
  clip: float = _key(
    0.0,
    'the largest norm of the gradient of all trained weights; a longer one is shortened; 0: any',
  )
  accumulate: int = _key(
    1,
    'steps whose gradients are averaged before the weights change; what is left at the end is '
    'dropped',
  )
  ema: float = _key(
    0.0,
    'share of a moving average of the weights that stays at each change of them, such as 0.999; '
    'the better of it and the weights, on the selecting images, is kept; 0: none',
  )
  schedule: str = _key(
    'steps', "of the rate: 'steps', 'cosine', 'linear', 'one_cycle' or 'constant'"
  )
  warmup: float = _key(
    0.0,
    'share of the steps, in [0, 1), in which the rate rises to its highest; the schedule begins '
    'after it',
  )
  learning_rate_drops: tuple = _key(
    (1 / 3, 2 / 3),
    "of 'steps': fractions of all steps, or epochs (1 or more), after which the rate is multiplied "
    'by the factor',
  )
  learning_rate_factor: float = _key(0.1, 'see learning_rate_drops')
  schedule_options: str = _key(
    '',
    "what else the schedule takes, such as 'final=0.001'; cosine, linear: final, a rate; "
    'one_cycle: rise, first, final, shares of the steps and of the rate',
  )

  seed: int = _key(
    0,
    'of the run: weights, order, augmentation, train_examples; the validation split does not '
    'depend on it',
  )
  selection: str = _key(
    'validation',
    "images that choose the best epoch; 'test' repeats the paper and holds nothing out",
  )
  test_every_epoch: bool = _key(
    False,
    'test after each epoch, too, so that the results have the best epoch on the test images, which '
    'selects nothing',
  )
  parallel: str = _key(
    'jit', "'jit' or 'pmap': how a step is spread over the devices; the results agree"
  )
  deterministic: bool = _key(
    False, 'bit-identical repeats on a GPU, too, at some cost; on a CPU they are so anyway'
  )
  log_every: int = _key(50, 'steps between two looks at the metrics')
  wandb: str = _key('', 'project of Weights & Biases that the numbers go to, too; empty: none')

  # of each method; config.kd.alpha, …
  options: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

  def optimiser_spec(self) -> OptimiserSpec:
    """Return how parameters are updated, as a phase has it.

    Raises:
      ConfigError: `optimiser_options` or `schedule_options` cannot be read.
    """
    taken = optim.options(self.optimiser)
    if self.weight_decay and 'weight_decay' not in taken:
      raise ConfigError(
        f'{self.optimiser} takes no weight_decay, which is {self.weight_decay}: set weight_decay=0'
      )
    keys = (
      ('momentum', 'nesterov', 'weight_decay') if self.optimiser == 'sgd' else ('weight_decay',)
    )
    options = {key: getattr(self, key) for key in keys if key in taken}
    drops = {}
    if self.schedule == 'steps':
      drops = {'drops': tuple(self.learning_rate_drops), 'factor': self.learning_rate_factor}
    return OptimiserSpec(
      name=self.optimiser,
      learning_rate=self.learning_rate,
      options=options | read_options('optimiser_options', self.optimiser_options, keys=options),
      schedule=self.schedule,
      schedule_options=drops | read_options('schedule_options', self.schedule_options, keys=drops),
      warmup=self.warmup,
      clip=self.clip or None,
      decay=self.decay,
      ema=self.ema or None,
      accumulate=self.accumulate,
    )

  def weak(self) -> Weak:
    """Return the augmentation of the run."""
    return Weak(self.crop_padding, self.flip, self.augment, self.alternating_flip)

  def mixing(self) -> Mixing:
    """Return how labels are softened and images mixed."""
    return Mixing(label_smoothing=self.label_smoothing, mixup=self.mixup, cutmix=self.cutmix)

  def for_json(self) -> dict[str, Any]:
    """Return the configuration as JSON keeps it."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  def to_share(self) -> dict[str, Any]:
    """Return what of it determines results, as JSON; of files and folders the names alone."""
    shared = {name: value for name, value in self.for_json().items() if name not in FREE}
    if os.path.isdir(os.path.expanduser(self.dataset)):  # a folder of images
      shared['dataset'] = Path(self.dataset).name
    files = (Path(path.strip()).name for path in self.teacher_checkpoint.split(','))
    return shared | {'teacher_checkpoint': ','.join(files)}


# A finished or interrupted run may go on with other values of these: they change no result beyond
# rounding.
FREE = ('data_dir', 'cache_dir', 'download', 'data_placement', 'parallel', 'log_every', 'wandb')
# the last: several, separated by commas
PATHS = ('dataset', 'unlabelled_dataset', 'data_dir', 'cache_dir', 'teacher_checkpoint')
# what a PyTorch teacher's file does not say
OF_A_SPEC = ('teacher_mean', 'teacher_std', 'teacher_relu_placement')
OF_A_FILE = (*OF_A_SPEC, 'teacher_image_size', 'teacher_guess', 'teacher_weights')
KEYS = {f.name: f for f in dataclasses.fields(Config) if f.name != 'options'}
