"""The terms of methods that train modules, as kd_jax.verify.method_losses checks them.

Each function takes all arrays of a file. Parameters of modules have their names there; BatchNorm
takes the statistics of the batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from kd_jax.losses import contrast, features, maps, similarity
from kd_jax.methods.simkd import by_windows
from kd_jax.models.projector import Projector
from kd_jax.models.regressor import Regressor
from kd_jax.models.review import Review
from kd_jax.types import Array

Arrays = Mapping[str, Array]


def vid(arrays: Arrays) -> Array:
  """Return the sum over stages of the variational term."""
  terms = []
  for number in _numbers(arrays, r'student_feature(\d+)'):
    own, target = (arrays[f'{role}_feature{number}'] for role in ('student', 'teacher'))
    own, target = maps.equal_sizes(own, target)
    params = {f'conv{n}': {'kernel': arrays[f'vid{number}_kernel{n}']} for n in (1, 2, 3)}
    params['variance'] = {'log_scale': arrays[f'vid{number}_log_scale']}
    module = Regressor(target.shape[-1], 5.0, str(own.dtype))
    mean, variance = module.apply({'params': params}, own, train=True)
    terms.append(maps.variational(mean, jnp.asarray(variance), target).mean())
  return jnp.stack(terms).sum()


def srd(arrays: Arrays) -> Array:
  """Return the distance of the embeddings; a bias of the projection changes nothing."""
  projected = arrays['student_embedding'] @ arrays['srd_kernel'] + arrays['srd_bias'][None]
  return similarity.standardised_distance(projected, arrays['teacher_embedding'])


def bank_similarity(arrays: Arrays, temperature: float) -> Array:
  """Return the KL of the similarities to a bank, of the projected embedding."""
  projected = arrays['student_embedding'] @ arrays['bank_kernel'] + arrays['bank_bias'][None]
  teacher, bank = arrays['teacher_embedding'], arrays['bank']
  return contrast.bank_similarity(projected, teacher, bank, temperature=temperature).mean()


def simkd(arrays: Arrays) -> Array:
  """Return the mean squared difference of the projected map and the teacher's last."""
  projected, target = _projected(arrays)
  return features.mean_squared_error(projected, target).mean()


def simkd_logits(arrays: Arrays) -> Array:
  """Return what the teacher's classifier makes of the projected map."""
  projected, _ = _projected(arrays)
  kernel, bias = arrays['simkd_head_kernel'], arrays['simkd_head_bias']
  return by_windows(projected, {'kernel': kernel[None, None], 'bias': bias})


def review(arrays: Arrays) -> Array:
  """Return the sum over maps of the hierarchical context loss of the reviewed map."""
  pairs = zip(reviewed(arrays), _targets(arrays), strict=True)
  return jnp.stack([maps.hierarchical_context(*pair).mean() for pair in pairs]).sum()


def reviewed(arrays: Arrays) -> tuple[Array, ...]:
  """Return what the student's maps and embedding become, from shallow to deep."""
  stages = _numbers(arrays, r'student_feature(\d+)')
  own = [arrays[f'student_feature{n}'] for n in stages]
  own.append(arrays['student_embedding'][:, None, None, :])
  params: dict[str, Any] = {}
  for number in _numbers(arrays, r'review(\d+)_conv1'):

    def layer(name: str, *parts: str, number: int = number) -> dict[str, Array]:
      return {part: arrays[f'review{number}_{name}_{part}'] for part in parts}

    params[f'map{number}'] = made = {
      f'conv{n}': {'kernel': arrays[f'review{number}_conv{n}']} for n in (1, 2)
    }
    made |= {f'norm{n}': layer(f'norm{n}', 'scale', 'bias') for n in (1, 2)}
    if f'review{number}_attention_kernel' in arrays:
      attention = layer('attention', 'kernel', 'bias')
      made['attention'] = attention | {'kernel': attention['kernel'][0, 0]}
  targets = _targets(arrays)
  middle = params['map1']['conv1']['kernel'].shape[-1]
  module = Review(tuple(target.shape[-1] for target in targets), middle, str(own[0].dtype))
  sizes = [target.shape[1:3] for target in targets]
  made, _ = module.apply({'params': params}, own, sizes, train=True, mutable=['batch_stats'])
  return made


def hierarchical_context(arrays: Arrays) -> Array:
  """Return the sum over the pairs of maps of the hierarchical context loss."""
  numbers = _numbers(arrays, r'hcl_a(\d+)')
  pairs = [(arrays[f'hcl_a{n}'], arrays[f'hcl_b{n}']) for n in numbers]
  return jnp.stack([maps.hierarchical_context(*pair).mean() for pair in pairs]).sum()


def output(name: str, arrays: Arrays) -> Array | None:
  """Return what modules compute, where `name` is such an array of a file; else None."""
  if name == 'simkd_logits':
    return simkd_logits(arrays)
  if match := re.fullmatch(r'review_output(\d+)', name):
    return reviewed(arrays)[int(match[1]) - 1]
  return None


def _projected(arrays: Arrays) -> tuple[Array, Array]:
  """Return the projected last map of the student, and the teacher's last map."""
  last = _numbers(arrays, r'student_feature(\d+)')[-1]
  pair = (arrays[f'{role}_feature{last}'] for role in ('student', 'teacher'))
  own, target = maps.equal_sizes(*pair)
  params: dict[str, Any] = {}
  for n in (1, 2, 3):
    params[f'conv{n}'] = {'kernel': arrays[f'simkd_kernel{n}']}
    params[f'norm{n}'] = {part: arrays[f'simkd_norm{n}_{part}'] for part in ('scale', 'bias')}
  width = target.shape[-1]
  module = Projector(width, width // arrays['simkd_kernel1'].shape[-1], str(own.dtype))
  projected, _ = module.apply({'params': params}, own, train=True, mutable=['batch_stats'])
  return jnp.asarray(projected), target


def _targets(arrays: Arrays) -> list[Array]:
  """Return the teacher's maps, the embedding as the last of them."""
  found = [arrays[f'teacher_feature{n}'] for n in _numbers(arrays, r'teacher_feature(\d+)')]
  return [*found, arrays['teacher_embedding'][:, None, None, :]]


def _numbers(arrays: Arrays, form: str) -> list[int]:
  """Return the numbers in the names of this form, in order."""
  return sorted(int(match[1]) for match in (re.fullmatch(form, name) for name in arrays) if match)
