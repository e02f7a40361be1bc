"""Simple feature distillation: the paper's own baseline, every layer of the student against one of the teacher's."""

from __future__ import annotations

import re
from collections.abc import Mapping

import jax.numpy as jnp

from kd_jax.losses import features, reduce
from kd_jax.methods.base import cross_entropy, match_channels, no_modules, paired, whole
from kd_jax.types import Array, KdJaxError, Method, Outputs

COMPARISONS = {'mse': features.mean_squared_error, 'cosine': features.cosine_distance, 'kl': features.map_kl_divergence}
RESIZES = ('max_pool', 'avg_pool', 'interpolate')
_BLOCK = re.compile(r'stage(\d+)_block(\d+)')


def sfd(*, weight: float = 1.0, compare: str = 'mse', layers: str = 'all', resize: str = 'max_pool',
        largest: bool = False) -> Method:  # fmt: skip
  """L = CE + w · Σ over layers of mean (s − t)², t the paired layer of the teacher, brought to the student's size and width.

  Pairs: stem with stem, where both have it; a stage's blocks are spread evenly over those of the teacher's stage of the same
  size, so that the last meets the last. A block's map is taken before its ReLU. A larger teacher's map is pooled to the
  student's size, a smaller one has the student's pooled to its own; where the widths differ, the wider map's channels are
  averaged in neighbouring bins to the other's.

  Recipes: `published` takes one number a layer, the largest absolute difference of globally max-pooled maps, over the stem and
  the last block of each stage: 1 of 131,072 activations gets gradient.

  Args:
    weight: w of every layer. Sweep it.
    compare: 'mse', 'cosine' or 'kl'.
    layers: 'all', 'last:N', 'first:N', 'every:N', or 'stages': the stem and the last block of each stage.
    resize: 'max_pool', 'avg_pool' or 'interpolate'.
    largest: the published comparison in place of `compare`.
  """
  if compare not in COMPARISONS:
    raise KdJaxError(f"sfd.compare is one of {', '.join(COMPARISONS)}, not '{compare}'")
  if resize not in RESIZES:
    raise KdJaxError(f"sfd.resize is one of {', '.join(RESIZES)}, not '{resize}'")
  select(layers, ())

  def init(key, student, teachers):
    pairs = pair_layers(student.outputs, teachers[0].outputs)
    if not select(layers, tuple(pairs)):
      raise KdJaxError(f"sfd.layers='{layers}' leaves none of the layers {', '.join(pairs)}; choose another")
    return no_modules(key, student, teachers)

  def loss(params, stats, student, teachers, batch, consts, key, *, axis):
    del params, consts, key
    own, teacher = student['weak'], teachers[0]['weak']
    pairs = pair_layers(own, teacher)
    terms = {}
    for name in select(layers, tuple(pairs)):
      ours, theirs = match_channels(*_same_size(own.layers[name], teacher.layers[pairs[name]], resize))
      if largest:
        differences = whole(features.largest_pooled_difference(ours, theirs) * batch.mask, axis)
        terms[name] = weight * differences[jnp.argmax(differences)]
      else:
        terms[name] = weight * reduce.mean(COMPARISONS[compare](ours, theirs), batch.mask, axis=axis)
    return {'cross_entropy': cross_entropy(own, batch, axis), 'feature': sum(terms.values())}, stats

  return Method(init, loss)


def pair_layers(student: Outputs, teacher: Outputs) -> dict[str, str]:
  """{student's layer: teacher's layer}, in the order of the network, as `sfd` documents."""
  pairs = {name: name for name in ('stem_conv', 'stem_norm') if name in student.layers and name in teacher.layers}
  ours, theirs = _blocks(student.layers), _blocks(teacher.layers)
  for stage, other in paired(student, teacher):
    few, many = ours[stage + 1], theirs[other + 1]
    for block in range(1, few + 1):
      pairs[f'stage{stage + 1}_block{block}'] = f'stage{other + 1}_block{-(-block * many // few)}'
  return pairs


def select(layers: str, names: tuple[str, ...]) -> tuple[str, ...]:
  """The layers that the option names. Raises KdJaxError where it says none of what `sfd` documents."""
  if layers == 'all':
    return names
  if layers == 'stages':
    last = {f'stage{stage}_block{block}' for stage, block in _blocks(dict.fromkeys(names)).items()}
    return tuple(name for name in names if name.startswith('stem') or name in last)
  kind, _, number = layers.partition(':')
  if kind not in ('first', 'last', 'every') or not number.isdigit() or int(number) == 0:
    raise KdJaxError(f"sfd.layers is 'all', 'stages', 'first:N', 'last:N' or 'every:N', not '{layers}'")
  count = int(number)
  return {'first': names[:count], 'last': names[-count:], 'every': names[count - 1 :: count]}[kind]


def _blocks(layers: Mapping) -> dict[int, int]:
  """{stage: number of its blocks}."""
  found = [(int(m[1]), int(m[2])) for name in layers if (m := _BLOCK.fullmatch(name))]
  return {stage: max(block for s, block in found if s == stage) for stage, _ in sorted(found)}


def _same_size(student: Array, teacher: Array, how: str) -> tuple[Array, Array]:
  ours, theirs = student.shape[1:3], teacher.shape[1:3]
  if ours == theirs:
    return student, teacher
  if theirs > ours:
    return student, features.resize(teacher, ours, how=how)
  return features.resize(student, theirs, how=how), teacher
