"""The terms of methods as functions of the arrays of a file, for kd_jax.verify.method_losses: the
table of them, and of what the same files hold that no method has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kd_jax.losses import features, logits, maps, similarity, soft_labels
from kd_jax.losses.gram import gram_distance
from kd_jax.types import Array
from kd_jax.verify import bank_terms, method_modules

_NUMBER = r'(\d+(?:\.\d+)?)'
Arrays = Mapping[str, Array]


class Term(NamedTuple):
  """A term of a method."""

  value: Callable[..., Array]  # of all arrays of a file, and of the numbers in the term's name
  learns: Callable[[Iterable[str]], list[str]]  # the inputs whose gradients a file has


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


def _with(needed: str, form: str) -> Callable[[Iterable[str]], list[str]]:
  """Return what finds the names of a form; none where the name `needed` is not among them."""

  def found(names: Iterable[str]) -> list[str]:
    names = [*names]
    return [name for name in names if needed in names and re.fullmatch(form, name)]

  return found


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


def _images_gram(arrays: Arrays, temperature: float) -> Array:
  student, teacher = (jax.nn.softmax(z / temperature) for z in _pair(arrays, 'logits'))
  return gram_distance(student, teacher)


def _classes_gram(arrays: Arrays, temperature: float) -> Array:
  student, teacher = (jax.nn.softmax(z / temperature) for z in _pair(arrays, 'logits'))
  return gram_distance(student.T, teacher.T)


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


def _factors(arrays: Arrays) -> Array:
  return maps.factor_distance(*maps.equal_sizes(*_stages(arrays)[-1])).mean()


def _wide_maps(names: Iterable[str]) -> list[str]:
  return sorted(name for name in names if re.fullmatch(r'wide_student_feature\d+', name))


def _flow(arrays: Arrays) -> Array:
  """Return the sum over consecutive maps, the student's of the teacher's widths."""
  own = [arrays[name] for name in _wide_maps(arrays)]
  target = [teacher for _, teacher in _stages(arrays)]
  pairs = zip(own, own[1:], target, target[1:], strict=False)
  return jnp.stack([maps.flow_distance((a, b), (c, d)).mean() for a, b, c, d in pairs]).sum()


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
  rf'mlkd_batch_correlation_T{_NUMBER}': Term(_images_gram, _logits),
  rf'mlkd_class_correlation_T{_NUMBER}': Term(_classes_gram, _logits),
  r'pkt': Term(_pkt, _embedding),
  r'cc': Term(_cc, _embedding),
  r'crd_first_call': Term(bank_terms.first_call, bank_terms.learns),
  r'attention_transfer_sum_over_stages': Term(_attention, _every_map),
  r'nst_sum_over_stages': Term(_selectivity, _every_map),
  r'similarity_preserving_last_stage': Term(_similarity, _last_map),
  r'fsp_sum_over_pairs': Term(_flow, _wide_maps),
  r'factor_transfer_last_stage': Term(_factors, _last_map),
  r'vid_sum_over_stages': Term(
    method_modules.vid, _with('vid1_kernel1', r'student_feature\d+|vid\d+_\w+')
  ),
  r'srd_representation': Term(method_modules.srd, _with('srd_kernel', 'student_embedding')),
  r'simkd_train_mode': Term(
    method_modules.simkd,
    lambda names: _with('simkd_kernel1', '|'.join([r'simkd_kernel\d', *_last_map(names)]))(names),
  ),
  r'review_train_mode': Term(
    method_modules.review,
    _with('review1_conv1', r'student_(feature\d+|embedding)|review\d+_(conv1|attention_kernel)'),
  ),
  rf'bank_similarity_tau{_NUMBER}': Term(
    method_modules.bank_similarity, _with('bank', 'student_embedding')
  ),
  r'hierarchical_context': Term(method_modules.hierarchical_context, _with('hcl_a1', r'hcl_a\d+')),
}
# What the same files hold without gradients: a second call, and what a call leaves behind.
RESULTS = bank_terms.RESULTS
