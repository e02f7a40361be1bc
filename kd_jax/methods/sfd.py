"""Simple feature distillation: the paper's own baseline, every layer of the student against one of
the teacher's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from kd_jax.losses import features, reduce
from kd_jax.methods.base import (
  check_choice,
  check_classes,
  check_weights,
  cross_entropy,
  match_channels,
  whole,
)
from kd_jax.models.connectors import Enlargers
from kd_jax.types import Array, ConfigError, Method, MethodVariables, Outputs

COMPARISONS = {
  'mse': features.mean_squared_error,
  'cosine': features.cosine_distance,
  'kl': features.map_kl_divergence,
}
RESIZES = ('max_pool', 'avg_pool', 'interpolate', 'transposed_convolution')
FINAL = 'final_norm'
_BLOCK = re.compile(r'stage(\d+)_block(\d+)')


def sfd(
  *,
  weight: float = 1.0,
  compare: str = 'mse',
  layers: str = 'all',
  resize: str = 'max_pool',
  largest: bool = False,
) -> Method:
  """L = CE + w · Σ over layers of mean (s − t)², t the paired layer of the teacher, brought to the
  student's size and width.

  Pairs: stem with stem, where both have it; a stage's blocks are spread evenly over those of the
  teacher's stage of the same size, so that the last meets the last; where no stage has this size,
  over those of the next larger one, or else of the largest; the final BatchNorm of a pre-activation
  student with the teacher's, or else with its last block, the map before the same ReLU. A block's
  map is taken before its ReLU. A larger teacher's map is pooled to the student's size, a smaller
  one has the student's pooled to its own; where the widths differ, the wider map's channels are
  averaged in neighbouring bins to the other's.

  Recipes: `published` takes one number a layer, the largest absolute difference of globally
  max-pooled maps, over the stem and the last block of each stage: of all activations of a batch in
  a layer, 1 gets gradient. With the PyTorch of its time the released code probably took the
  Euclidean distance over channels, at the image where it is largest: its `pairwise_distance` of
  [B, C, 1, 1] then reduced dimension 1. `losses.npz` and this recipe follow a newer PyTorch.

  Args:
    weight: w of every layer. Sweep it.
    compare: 'mse', 'cosine' or 'kl'.
    layers: 'all', 'last:N', 'first:N', 'every:N', or 'stages': all but the blocks before the last
      of a stage.
    resize: 'max_pool', 'avg_pool' or 'interpolate'; 'transposed_convolution' enlarges a smaller map
      of the student to the teacher's size and width by trained weights, and pools the student's
      larger ones.
    largest: the published comparison in place of `compare`.
  """
  check_weights('sfd', weight=weight)
  check_choice('sfd.compare', compare, COMPARISONS)
  check_choice('sfd.resize', resize, RESIZES)
  select(layers, ())

  def init(inputs):
    student, teacher = inputs.student.outputs, inputs.teachers[0].outputs
    pairs = pair_layers(student, teacher)
    if not select(layers, tuple(pairs)):
      raise ConfigError(
        f"sfd.layers='{layers}' leaves none of the layers {', '.join(pairs)}; choose another"
      )
    check_classes(inputs)
    module = enlargers(student, teacher, pairs)
    maps = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), student.layers)
    return MethodVariables(module.init(inputs.key, maps)['params'] if module.shapes else {})

  def enlargers(student, teacher, pairs) -> Enlargers:
    """Return one for every selected map of the student that has to grow; none under the other ways
    of resizing.
    """
    shapes = []
    for name in select(layers, tuple(pairs)) if resize == 'transposed_convolution' else ():
      height, width, _ = student.layers[name].shape[1:]
      high, wide, channels = teacher.layers[pairs[name]].shape[1:]
      times = high // height
      if high > height:
        if (times * height, times * width) != (high, wide):
          raise ConfigError(
            f'sfd.resize=transposed_convolution enlarges a map by a whole number, and {name} is '
            f"{height}×{width} where the teacher's {pairs[name]} is {high}×{wide}; take interpolate"
          )
        shapes.append((name, (times, channels)))
    return Enlargers(tuple(shapes), str(student.logits.dtype))

  def loss(variables, inputs):
    student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
    pairs = pair_layers(student, teacher)
    module = enlargers(student, teacher, pairs)
    maps = student.layers
    if module.shapes:
      maps = maps | module.apply({'params': variables.params}, maps)
    how = 'max_pool' if resize == 'transposed_convolution' else resize
    terms = {}
    for name in select(layers, tuple(pairs)):
      pair = match_channels(*_same_size(maps[name], teacher.layers[pairs[name]], how))
      if largest:
        differences = whole(features.largest_pooled_difference(*pair), inputs.axis)
        terms[name] = weight * differences[jnp.argmax(differences)]
      else:
        terms[name] = weight * reduce.mean(COMPARISONS[compare](*pair), axis=inputs.axis)
    return {
      'cross_entropy': cross_entropy(student, inputs),
      'feature': sum(terms.values()),
    }, variables.state

  return Method(init=init, loss=loss)


def pair_layers(student: Outputs, teacher: Outputs) -> dict[str, str]:
  """Return {student's layer: teacher's layer}, in the order of the network, as `sfd` documents."""
  pairs: dict[str, str] = {}
  for name in ('stem_conv', 'stem_norm'):
    if name in student.layers and name in teacher.layers:
      pairs[name] = name
  own, other = _blocks(student.layers), _blocks(teacher.layers)
  if len(own) != len(student.features) or len(other) != len(teacher.features):
    raise ConfigError(
      'sfd pairs the blocks of each stage, layers that are called stage1_block1 and so on, and a '
      'network has others: name them so, a stage for each feature'
    )
  for stage, counterpart in enumerate(_counterparts(student, teacher)):
    few, many = own[stage + 1], other[counterpart + 1]
    for block in range(1, few + 1):
      other_block = -(-block * many // few)
      pairs[f'stage{stage + 1}_block{block}'] = f'stage{counterpart + 1}_block{other_block}'
  if FINAL in student.layers:
    stage, block = max(other.items())
    pairs[FINAL] = FINAL if FINAL in teacher.layers else f'stage{stage}_block{block}'
  return pairs


def unpaired_before(student: str) -> dict[str, str]:
  """Return what sets a phase apart from those of older studies, in which `FINAL`, that a ResNet has
  not, had no counterpart.
  """
  return {} if re.match('(thin_)?resnet', student) or not student else {FINAL: 'paired'}


def _counterparts(student: Outputs, teacher: Outputs) -> tuple[int, ...]:
  """Return, for every stage of the student, a stage of the teacher: the last of its size, of the
  next larger size, or the first.
  """
  last = {feature.shape[1:3]: number for number, feature in enumerate(teacher.features)}

  def counterpart(size: tuple[int, ...]) -> int:
    large = [other for other in last if other >= size]
    return last[min(large)] if large else 0

  return tuple(counterpart(feature.shape[1:3]) for feature in student.features)


def select(layers: str, names: tuple[str, ...]) -> tuple[str, ...]:
  """Return the layers that the option names.

  Raises ConfigError where the option is none that `sfd` documents.
  """
  if layers == 'all':
    return names
  if layers == 'stages':
    last = {f'stage{stage}_block{block}' for stage, block in _blocks(dict.fromkeys(names)).items()}
    return tuple(name for name in names if name in last or not _BLOCK.fullmatch(name))
  match = re.fullmatch('(first|last|every):([0-9]{1,9})', layers)
  count = int(match[2]) if match else 0
  if not match or not count:
    raise ConfigError(
      f"sfd.layers is 'all', 'stages', 'first:N', 'last:N' or 'every:N', not '{layers}'"
    )
  if match[1] == 'every':
    return names[count - 1 :: count]
  return names[:count] if match[1] == 'first' else names[-count:]


def _blocks(layers: Mapping) -> dict[int, int]:
  """Return {stage: number of its blocks}."""
  blocks: dict[int, int] = {}
  for match in filter(None, map(_BLOCK.fullmatch, layers)):
    stage, block = int(match[1]), int(match[2])
    blocks[stage] = max(block, blocks.get(stage, 0))
  return dict(sorted(blocks.items()))


def _same_size(student: Array, teacher: Array, how: str) -> tuple[Array, Array]:
  _, height, width, _ = student.shape
  _, high, wide, _ = teacher.shape
  if (high, wide) == (height, width):
    return student, teacher
  if (high, wide) > (height, width):
    return student, features.resize(teacher, (height, width), how=how)
  return features.resize(student, (high, wide), how=how), teacher
