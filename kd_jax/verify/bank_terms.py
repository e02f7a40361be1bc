"""CRD beside the numbers of a file: the terms of two calls, and what the first leaves behind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp

from kd_jax.losses import contrast, features
from kd_jax.types import Array

Arrays = Mapping[str, Array]
TEMPERATURE, KEEP = 0.07, 0.5  # of the file


def first_call(arrays: Arrays) -> Array:
  """Return the contrast of both networks with the banks that the file begins with."""
  return _contrast(arrays, _normalisers(arrays))


def second_call(arrays: Arrays) -> Array:
  """Return the same with the banks after the first call, and the normalisers of the first."""
  after = {f'crd_memory_{role}': memory_after(role)(arrays) for role in ('student', 'teacher')}
  return _contrast({**arrays, **after}, _normalisers(arrays))


def normaliser(role: str) -> Callable[[Arrays], Array]:
  """Return Z of the similarities of a network's own vectors, as a function of the arrays."""
  return lambda arrays: _normalisers(arrays)[role]


def memory_after(role: str) -> Callable[[Arrays], Array]:
  """Return a network's bank after the first call, as a function of the arrays."""

  def after(arrays: Arrays) -> Array:
    bank, numbers = arrays[f'crd_memory_{role}'], arrays['crd_index']
    return contrast.renewed(bank, numbers, _vectors(arrays, role), keep=KEEP)

  return after


def learns(names: Iterable[str]) -> list[str]:
  """Return the inputs that the contrast has a gradient for; none where the file has no bank."""
  names = list(names)
  form = r'student_embedding|crd_(student|teacher)_(kernel|bias)'
  return [name for name in names if re.fullmatch(form, name) and 'crd_index' in names]


def _vectors(arrays: Arrays, role: str) -> Array:
  kernel, bias = arrays[f'crd_{role}_kernel'], arrays[f'crd_{role}_bias']
  return features.unit_length(arrays[f'{role}_embedding'] @ kernel + bias[None])


def _near(arrays: Arrays, role: str) -> Array:
  """Return how near a network's vectors are to rows of the other network's bank."""
  bank = arrays['crd_memory_teacher' if role == 'student' else 'crd_memory_student']
  rows = arrays['crd_contrast_index']
  return contrast.similarities(_vectors(arrays, role), bank, rows, temperature=TEMPERATURE)


def _normalisers(arrays: Arrays) -> dict[str, Array]:
  images = len(arrays['crd_memory_student'])
  means = {role: _near(arrays, role).mean() for role in ('student', 'teacher')}
  return jax.lax.stop_gradient({role: images * mean for role, mean in means.items()})


def _contrast(arrays: Arrays, normalisers: Mapping[str, Array]) -> Array:
  images = len(arrays['crd_memory_student'])
  parts = [
    contrast.noise_contrast(_near(arrays, role) / value, examples=images).mean()
    for role, value in normalisers.items()
  ]
  return jnp.stack(parts).sum()


RESULTS: dict[str, Callable[[Arrays], Array]] = {
  'crd_second_call': second_call,
  **{f'crd_normaliser_{role}': normaliser(role) for role in ('student', 'teacher')},
  **{f'crd_memory_{role}_after': memory_after(role) for role in ('student', 'teacher')},
}
