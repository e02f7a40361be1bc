"""A linear probe: what a linear classifier gets from frozen features."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # C, the inverse of the penalty


_NEVER = -1e6  # a logit


class Linear(NamedTuple):
  """A classifier of features f32[N, D]: features @ kernel + bias are its logits."""

  kernel: np.ndarray  # f32[D, K]
  bias: np.ndarray  # f32[K]
  strength: float  # C, as it was chosen

  def classified(self, features: np.ndarray) -> np.ndarray:
    """Return the class of each row, i64[N]."""
    return (features @ self.kernel + self.bias).argmax(1)


def linear(
  features: np.ndarray,
  labels: np.ndarray,
  *,
  classes: int,
  validation: tuple[np.ndarray, np.ndarray] | None = None,
  strengths: Sequence[float] = STRENGTHS,
  steps: int = 200,
) -> Linear:
  """Fit a multinomial logistic regression with an L2 penalty, by L-BFGS, to features of mean 0 and
  deviation 1.

  Args:
    features: f32[N, D].
    labels: i32[N], from 0; two classes at least.
    validation: features and labels that choose C; None: the third of `strengths` is taken, or the
      only one.
    classes: K; one that has no example is never chosen.
    strengths: the values of C to choose from.
    steps: of L-BFGS, at most.
  """
  from sklearn.exceptions import ConvergenceWarning
  from sklearn.linear_model import LogisticRegression

  mean, deviation = features.mean(0), features.std(0)
  deviation = np.where(deviation > 1e-6, deviation, 1)
  standard = (features - mean) / deviation
  tried = strengths if validation else strengths[2:3] or strengths[:1]
  best, highest = None, -1.0
  for strength in tried:
    model = LogisticRegression(C=strength, max_iter=steps)
    with warnings.catch_warnings():
      # After so many steps the accuracy no longer moves.
      warnings.simplefilter('ignore', ConvergenceWarning)
      model.fit(standard, labels)
    made = _folded(model, mean, deviation, classes, strength)
    right = float((made.classified(validation[0]) == validation[1]).mean()) if validation else 0.0
    if right > highest:
      best, highest = made, right
  assert best is not None
  return best


def _folded(
  model: Any, mean: np.ndarray, deviation: np.ndarray, classes: int, strength: float
) -> Linear:
  """Return a model of standardised features as one of the features themselves."""
  kernel = np.zeros((len(mean), classes), np.float32)
  bias = np.full(classes, _NEVER, np.float32)
  weights, intercept = model.coef_, model.intercept_
  if len(model.classes_) == 2:  # one column for both
    weights, intercept = np.concatenate([-weights, weights]) / 2, np.array([-1, 1]) * intercept / 2
  scaled = weights / deviation
  kernel[:, model.classes_] = scaled.T
  bias[model.classes_] = intercept - scaled @ mean
  return Linear(kernel, bias, strength)
