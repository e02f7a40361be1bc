"""Checks of the terms of methods: value and gradients of each, in float64, on the inputs that stand
in the same file.

A value has the name of its term, in which the numbers of its parameters are read; a gradient
`<name>__grad/<input>`. Shapes, classes and sizes are those of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.types import Array, KdJaxError
from kd_jax.verify import method_modules
from kd_jax.verify.method_terms import RESULTS, TERMS, Arrays, Term
from kd_jax.verify.numbers import Check, lacks, relative

GRADIENT = '__grad/'
TOLERANCE = 1e-6
INPUTS = '|'.join(
  (
    r'labels|(wide_)?(student|teacher)_(logits|embedding|feature\d+)',
    r'cc_(student|teacher)_(kernel|bias)|srd_(kernel|bias)|bank(_kernel|_bias)?|hcl_[ab]\d+',
    r'vid\d+_(kernel\d|log_scale)|simkd_(kernel\d|norm\d_\w+|head_\w+|logits)',
    r'crd_(index|contrast_index|memory_(student|teacher)|(student|teacher)_(kernel|bias))',
    r'review\d+_\w+|review_output\d+',
  )
)


def check_method_losses(
  data: Mapping[str, np.ndarray], *, dtype: Any = np.float64, tolerance: float = TOLERANCE
) -> Iterator[Check]:
  """Check each term of a file, value and gradients; what the file lacks is a check that fails.

  Errors are in units of the array's largest entry.

  Raises:
    KdJaxError: a term has a name that is not known, or one of its inputs is missing.
  """
  with jax.enable_x64(dtype == np.float64):
    arrays = {
      name: jnp.asarray(array, dtype if array.dtype.kind == 'f' else np.int32)
      for name, array in data.items()
    }
    inputs = [name for name in data if re.fullmatch(INPUTS, name)]
    met: set[str] = set()
    for name in dict.fromkeys(name.split(GRADIENT)[0] for name in data if name not in inputs):
      if result := RESULTS.get(name):
        yield Check(name, relative(jax.jit(result)(arrays), data[name]), tolerance)
        continue
      form, term, numbers = _term(name)
      met.add(form)
      yield from _check(name, term, numbers, data, arrays, inputs, tolerance)
    for name in inputs:
      if (made := method_modules.output(name, arrays)) is not None:
        yield Check(f'{name}, value', relative(made, data[name]), tolerance)
    if 'crd_index' in data:
      yield from (lacks(name, tolerance) for name in RESULTS if name not in data)
    yield from (
      lacks(f'a term of the form {form}', tolerance)
      for form, term in TERMS.items()
      if form not in met and term.learns(inputs)
    )


def _term(name: str) -> tuple[str, Term, tuple[float, ...]]:
  """Return the form of a term's name, the term, and the numbers in the name."""
  for form, term in TERMS.items():
    if match := re.fullmatch(form, name):
      return form, term, tuple(float(number) for number in match.groups())
  raise KdJaxError(
    f"the term '{name}' of the reference is none that kd_jax knows; add it to "
    f'kd_jax.verify.method_losses'
  )


def _check(
  name: str,
  term: Term,
  numbers: tuple[float, ...],
  data: Mapping[str, np.ndarray],
  arrays: Arrays,
  inputs: list[str],
  tolerance: float,
) -> Iterator[Check]:
  given = [full.split(GRADIENT)[1] for full in data if full.startswith(f'{name}{GRADIENT}')]
  missing = [] if name in data else [name]
  missing += [f'{name}{GRADIENT}{each}' for each in term.learns(inputs) if each not in given]
  yield from (lacks(each, tolerance) for each in missing)
  if lost := [each for each in given if each not in inputs]:
    raise KdJaxError(f"the methods' file lacks {', '.join(lost)}; make it again")

  def function(chosen: Arrays) -> Array:
    try:
      return term.value({**arrays, **chosen}, *numbers)
    except KeyError as error:
      raise KdJaxError(
        f"the methods' file lacks {error}, which {name} takes; make it again"
      ) from None

  value, gradients = jax.jit(jax.value_and_grad(function))({each: arrays[each] for each in given})
  if name in data:
    yield Check(f'{name}, value', relative(value, data[name]), tolerance)
  for each in given:
    full = f'{name}{GRADIENT}{each}'
    yield Check(f'{full}, gradient', relative(gradients[each], data[full]), tolerance)
