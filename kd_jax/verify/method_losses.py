"""Checks of the terms of methods: value and gradients of each, in float64, on the inputs that stand
in the same file.

A value has the name of its term, in which the numbers of its parameters are read; a gradient
`<name>__grad/<input>`. Shapes, classes and sizes are those of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.losses import features, logits, maps, similarity, soft_labels
from kd_jax.types import Array, KdJaxError
from kd_jax.verify.numbers import Check, Uncovered, lacks, relative

GRADIENT = '__grad/'
TOLERANCE = 1e-6
INPUTS = '|'.join(
  (
    r'labels|(wide_)?(student|teacher)_(logits|embedding|feature\d+)',
    r'cc_(student|teacher)_(kernel|bias)|srd_(kernel|bias)|bank(_kernel|_bias)?|hcl_[ab]\d+',
    r'vid\d+_(kernel\d|log_scale)|simkd_(kernel\d|norm\d_\w+|head_\w+|logits)',
    r'crd_(index|contrast_index|memory_\w+|normaliser_\w+|(student|teacher)_(kernel|bias))',
    r'review\d+_\w+|review_output\d+',
  )
)
_NUMBER = r'(\d+(?:\.\d+)?)'

Arrays = Mapping[str, Array]


class Term(NamedTuple):
  """A term of a method."""

  value: Callable[..., Array]  # of all arrays of a file, and of the numbers in the term's name
  learns: Callable[[Iterable[str]], list[str]]  # the inputs whose gradients a file has


def check_method_losses(
  data: Mapping[str, np.ndarray], *, dtype: Any = np.float64, tolerance: float = TOLERANCE
) -> Iterator[Check | Uncovered]:
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
      if what := next((NOT_YET[form] for form in NOT_YET if re.fullmatch(form, name)), None):
        yield Uncovered(name, f'kd_jax has no method for {what}')
        continue
      form, term, numbers = _term(name)
      met.add(form)
      yield from _check(name, term, numbers, data, arrays, inputs, tolerance)
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


# The terms ----------------------------------------------------------------------------------------


def _pair(arrays: Arrays, what: str) -> tuple[Array, Array]:
  return arrays[f'student_{what}'], arrays[f'teacher_{what}']


def _logits(names: Iterable[str]) -> list[str]:
  return [name for name in names if name == 'student_logits']


def _embedding(names: Iterable[str]) -> list[str]:
  return [name for name in names if name == 'student_embedding']


def _every_map(names: Iterable[str]) -> list[str]:
  """Return the names of the student's maps, the deepest last."""
  found = [name for name in names if re.fullmatch(r'student_feature\d+', name)]
  return sorted(found, key=lambda name: int(name.removeprefix('student_feature')))


def _last_map(names: Iterable[str]) -> list[str]:
  return _every_map(names)[-1:]


def _stages(arrays: Arrays) -> list[tuple[Array, Array]]:
  """Return the maps of each stage, student's and teacher's."""
  return [_pair(arrays, name.removeprefix('student_')) for name in _every_map(arrays)]


def _standardised_kl(arrays: Arrays, temperature: float) -> Array:
  student, teacher = (soft_labels.standardise(z) for z in _pair(arrays, 'logits'))
  divergence = logits.kl_divergence(student, teacher, temperature=temperature)
  return temperature**2 * divergence.mean()


def _dkd(arrays: Arrays, alpha: float, beta: float, temperature: float) -> Array:
  given = (*_pair(arrays, 'logits'), arrays['labels'])
  target = logits.target_class_kl(*given, temperature=temperature).mean()
  others = logits.other_classes_kl(*given, temperature=temperature).mean()
  return temperature**2 * (alpha * target + beta * others)


def _dist(arrays: Arrays, beta: float, gamma: float, temperature: float) -> Array:
  student, teacher = (jax.nn.softmax(z / temperature) for z in _pair(arrays, 'logits'))
  inter = similarity.correlation_distance(student, teacher).mean()
  intra = similarity.correlation_distance(student.T, teacher.T).mean()
  return temperature**2 * (beta * inter + gamma * intra)


def _ttm(arrays: Arrays, gamma: float) -> Array:
  return soft_labels.transformed_kl(*_pair(arrays, 'logits'), exponent=gamma).mean()


def _wttm(arrays: Arrays, gamma: float) -> Array:
  student, teacher = _pair(arrays, 'logits')
  weights = soft_labels.power_sum(teacher, exponent=gamma)
  return (weights * soft_labels.transformed_kl(student, teacher, exponent=gamma)).mean()


def _nkd(arrays: Arrays, temperature: float, gamma: float) -> Array:
  given = (*_pair(arrays, 'logits'), arrays['labels'])
  others = soft_labels.other_classes_cross_entropy(*given, temperature=temperature)
  return (soft_labels.target_cross_entropy(*given) + gamma * temperature**2 * others).mean()


def _wsld(arrays: Arrays, temperature: float, alpha: float) -> Array:
  student, teacher, labels = (*_pair(arrays, 'logits'), arrays['labels'])
  weights = soft_labels.label_doubt(student, teacher, labels)
  soft = weights * soft_labels.teacher_cross_entropy(student, teacher, temperature=temperature)
  return (logits.cross_entropy(student, labels) + alpha * temperature**2 * soft).mean()


def _rld(
  arrays: Arrays, alpha: float, beta: float, temperature: float, of_confidence: float
) -> Array:
  given = (*_pair(arrays, 'logits'), arrays['labels'])
  confidence = soft_labels.confidence_kl(*given, temperature=of_confidence).mean()
  lower = soft_labels.lower_classes_kl(*given, temperature=temperature).mean()
  return alpha * of_confidence**2 * confidence + beta * temperature**2 * lower


def _rld_standardised(arrays: Arrays, *numbers: float) -> Array:
  names = ('student_logits', 'teacher_logits')
  return _rld({**arrays, **{n: soft_labels.standardise(arrays[n]) for n in names}}, *numbers)


def _pkt(arrays: Arrays) -> Array:
  return similarity.probabilistic_transfer(*_pair(arrays, 'embedding'))


def _cc(arrays: Arrays) -> Array:
  student, teacher = (
    arrays[f'{role}_embedding'] @ arrays[f'cc_{role}_kernel'] + arrays[f'cc_{role}_bias'][None]
    for role in ('student', 'teacher')
  )
  return similarity.correlation_congruence(student, teacher)


def _summed(loss: Callable[[Array, Array], Array], arrays: Arrays) -> Array:
  """Return the sum over stages of a loss of maps, whose sizes may differ."""
  return jnp.stack([loss(*maps.equal_sizes(*pair)).mean() for pair in _stages(arrays)]).sum()


def _attention(arrays: Arrays) -> Array:
  return _summed(features.attention_transfer, arrays)


def _selectivity(arrays: Arrays) -> Array:
  return _summed(maps.neuron_selectivity, arrays)


def _similarity(arrays: Arrays) -> Array:
  student, teacher = (features.flat(feature) for feature in _stages(arrays)[-1])
  return similarity.similarity_preserving(student, teacher)


TERMS: dict[str, Term] = {
  rf'logit_standardised_kl_T{_NUMBER}': Term(_standardised_kl, _logits),
  rf'dkd_alpha{_NUMBER}_beta{_NUMBER}_T{_NUMBER}': Term(_dkd, _logits),
  rf'dist_beta{_NUMBER}_gamma{_NUMBER}_T{_NUMBER}': Term(_dist, _logits),
  rf'ttm_gamma{_NUMBER}': Term(_ttm, _logits),
  rf'wttm_gamma{_NUMBER}': Term(_wttm, _logits),
  rf'nkd_T{_NUMBER}_gamma{_NUMBER}': Term(_nkd, _logits),
  rf'wsld_T{_NUMBER}_alpha{_NUMBER}_with_cross_entropy': Term(_wsld, _logits),
  rf'rld_alpha{_NUMBER}_beta{_NUMBER}_T{_NUMBER}_alphaT{_NUMBER}': Term(_rld, _logits),
  rf'rld_alpha{_NUMBER}_beta{_NUMBER}_T{_NUMBER}_alphaT{_NUMBER}_standardised': Term(
    _rld_standardised, _logits
  ),
  r'pkt': Term(_pkt, _embedding),
  r'cc': Term(_cc, _embedding),
  r'attention_transfer_sum_over_stages': Term(_attention, _every_map),
  r'nst_sum_over_stages': Term(_selectivity, _every_map),
  r'similarity_preserving_last_stage': Term(_similarity, _last_map),
}
# Terms that the same files hold and no method of kd_jax has.
NOT_YET = {
  r'mlkd_(batch|class)_correlation_T[\d.]+': 'multi-level logit distillation',
  r'factor_transfer_last_stage': 'factor transfer',
  r'fsp_sum_over_pairs': 'the flow of solution procedure',
  r'vid_sum_over_stages': 'variational information distillation',
  r'crd_(first|second)_call': 'contrastive representation distillation',
  r'srd_representation': 'simple representation distillation',
  r'simkd_train_mode': 'SimKD',
  r'bank_similarity_tau[\d.]+': 'the similarity to a bank',
  r'review_train_mode|hierarchical_context': 'ReviewKD',
}
