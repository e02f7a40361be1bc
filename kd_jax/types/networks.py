"""Networks, and what they compute."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from kd_jax.types.data import Array
from kd_jax.types.errors import ConfigError

PyTree = Any
Path = tuple[str, ...]  # of a leaf in a tree of parameters


class Outputs(NamedTuple):
  """Everything that a network computes on a batch; jit removes what a loss does not use.

  A feature is taken at the end of a stage BEFORE the stage's ReLU. In a pre-activation network
  (WRN) it is the input of the next stage's first ReLU, after its BatchNorm, as in Heo et al. 2019,
  "A Comprehensive Overhaul of Feature Distillation".
  """

  logits: Array  # f32[B, K]
  features: tuple[Array, ...]  # f32[B, Hi, Wi, Ci], one a stage
  layers: dict[str, Array]  # every map that a loss may use: stem_conv, stem_norm, stage1_block1, …
  embedding: Array  # f32[B, D], what the classifier sees


class LogitsOnly(NamedTuple):
  """The outputs of a network that shows nothing else.

  A method that asks it for more raises ConfigError as it is traced.
  """

  logits: Array  # f32[B, K]

  def __getattr__(self, name: str) -> Any:
    if name in Outputs._fields:
      raise ConfigError(
        f'the method asks a network for its {name}, and this one gives logits alone: take a method '
        'that compares logits, such as kd or dkd, or a network that returns Outputs'
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
