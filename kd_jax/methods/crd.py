"""Contrastive representation distillation: Tian et al. 2020."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from kd_jax.losses import contrast, features, reduce
from kd_jax.methods import dense
from kd_jax.methods.base import check_positive, check_weights, cross_entropy, labelled, whole
from kd_jax.methods.negatives import Classes, by_class, draw
from kd_jax.types import Array, ConfigError, InitInputs, LossInputs, Method, MethodVariables


def crd(
  *,
  weight: float = 0.8,
  negatives: int = 4096,
  temperature: float = 0.07,
  keep: float = 0.5,
  width: int = 128,
) -> Method:
  """L = CE + w · mean_b (contrast(v_s, M_t) + contrast(v_t, M_s)).

  v is an embedding after a dense layer of `width` outputs, of length 1; the layers of student and
  teacher are trained. The banks M_s and M_t hold such a vector for each image. The contrast is
  −log x₀/(x₀ + P) − Σ_k log P/(x_k + P), x = exp(v · M[row] / τ) / Z, where row 0 is the image's
  own and the others are those of k images of other classes, P = k/N of N images. Z is N · mean
  exp(…) of the first batch, and stays. After the loss a row of the batch becomes normalise(m · row
  + (1 − m) · v). Banks and Z are saved with every checkpoint.

  The authors' CRD + KD, CE + 0.8 · CRD + KL at T = 4, is `crd+kd` with kd.alpha = 1 and
  kd.temperature = 4: the configuration cifar10_crd_kd.

  Recipes: `official` has the 16,384 negatives that the authors ran, with which a step takes longer
  and more memory.

  Args:
    weight: w; the authors' 0.8.
    negatives: k, images of other classes that an image is compared with; where there are fewer,
      they come several times.
    temperature: τ > 0, by which similarities are divided.
    keep: m, how much of a bank's row stays when its image comes, in [0, 1).
    width: outputs of the dense layers, at least 1.
  """
  check_weights('crd', weight=weight)
  check_positive('crd.temperature', temperature)
  dense.check_width('crd.width', width)
  if negatives < 1:
    raise ConfigError(f'crd.negatives is a number of images, at least 1, not {negatives}')
  if not 0 <= keep < 1:
    raise ConfigError(f'crd.keep lies in [0, 1), not {keep}')

  def init(inputs: InitInputs) -> MethodVariables:
    params = dense.layers(inputs, width)
    dtype = params['student']['bias'].dtype
    shape = (len(inputs.labels), width)
    bound = (3 / width) ** 0.5
    student, teacher = (
      jax.random.uniform(jax.random.fold_in(inputs.key, 2 + n), shape, dtype, -bound, bound)
      for n in range(2)
    )
    classes = by_class(inputs.labels, inputs.student.network.spec.classes)
    return MethodVariables(
      params=params,
      state={
        'student': student,
        'teacher': teacher,
        'student_mean': jnp.zeros((), dtype),  # until the first batch
        'teacher_mean': jnp.zeros((), dtype),
      },
      constants=classes._asdict(),
    )

  def loss(variables: MethodVariables, inputs: LossInputs):
    classes = Classes(**variables.constants)
    state = variables.state
    example = inputs.batch.example
    images = len(classes.order)
    counted = labelled(classes.label[example])
    student, teacher = map(features.unit_length, dense.embedded(variables.params, inputs))
    others = draw(inputs.key, example, classes, negatives)
    rows = jnp.concatenate([example[:, None], others], axis=1)

    def part(vectors: Array, bank: str) -> tuple[Array, Array]:
      """Return the contrast of vectors with the other network's bank, and Z/N."""
      near = contrast.similarities(vectors, state[bank], rows, temperature=temperature)
      now = everywhere(reduce.mean(near.mean(1), mask=counted, axis=inputs.axis))
      first = state[f'{bank}_mean']
      first = jnp.where(first > 0, first, jax.lax.stop_gradient(now))
      apart = contrast.noise_contrast(near / (images * first), examples=images)
      return weight * reduce.mean(apart, mask=counted, axis=inputs.axis), first

    def everywhere(mean: Array) -> Array:
      return mean if inputs.axis is None else jax.lax.pmean(mean, inputs.axis)

    def after(bank: str, vectors: Array) -> Array:
      fresh = jax.lax.stop_gradient(whole(vectors, inputs.axis))
      return contrast.renewed(state[bank], whole(example, inputs.axis), fresh, keep=keep)

    of_student, teacher_mean = part(student, 'teacher')
    of_teacher, student_mean = part(teacher, 'student')
    return {
      'cross_entropy': cross_entropy(inputs.student['weak'], inputs),
      'student_contrast': of_student,
      'teacher_contrast': of_teacher,
    }, {
      'student': after('student', student),
      'teacher': after('teacher', teacher),
      'student_mean': student_mean,
      'teacher_mean': teacher_mean,
    }

  return Method(init=init, loss=loss)
