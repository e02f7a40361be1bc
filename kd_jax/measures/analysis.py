"""What predictions tell of networks: confusions, calibration, and how two networks agree.

Arrays in, numbers out; no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kd_jax.measures import statistics

BINS = 15
TEMPERATURES = (0.05, 20.0)  # where the best one is looked for
SHOWN = 12  # images of a kind
_DRAWS = 200


class Bin(NamedTuple):
  """The images whose confidence falls into one of BINS equal parts of (0, 1]."""

  confidence: float  # the mean
  accuracy: float
  share: float  # of all images


class Reliability(NamedTuple):
  """How accuracy follows confidence, the probability of the predicted class."""

  bins: tuple[Bin, ...]  # those that are not empty
  ece: float  # Σ share · |accuracy − confidence|
  cross_entropy: float  # mean over the images, in nats


class Calibration(NamedTuple):
  """A network on the test images.

  `temperature` and `after` are None where there are no validation images to fit it on.
  """

  before: Reliability
  temperature: float | None
  after: Reliability | None
  # the ECE, on average, of a network with the last of these confidences that are all deserved
  by_chance: float


class Agreement(NamedTuple):
  """Two networks on the same n images, in numbers of images."""

  both: int  # right
  first: int  # the first alone is right
  second: int
  neither: int
  equal: int  # predictions; all of `both`, and those errors that the two share
  difference: statistics.Difference  # of their accuracies, by the choice of images alone

  @property
  def n(self) -> int:
    return self.both + self.first + self.second + self.neither


def log_probabilities(logits: np.ndarray) -> np.ndarray:
  """Return log softmax of [n, K], in float64."""
  shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def mean_of(several: Sequence[np.ndarray]) -> np.ndarray:
  """Return the log of the mean of several networks' probabilities: the logits of their ensemble.

  All are [n, K]. A mean of divergences to each of them, as MKD has it, is least for these logits.
  Of one network, they are its own.
  """
  if len(several) == 1:
    return several[0]
  mean = np.mean([np.exp(log_probabilities(logits)) for logits in several], 0)
  return np.log(np.maximum(mean, np.finfo(np.float64).tiny))


def divergence(target: np.ndarray, logits: np.ndarray) -> float:
  """Return the mean over images of KL(softmax(target) ‖ softmax(logits)), in nats.

  Both are [n, K].
  """
  p, q = log_probabilities(target), log_probabilities(logits)
  return float((np.exp(p) * (p - q)).sum(-1).mean())


def right(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
  """Return bool[n]: whether the largest of [n, K] logits is the label's."""
  return logits.argmax(-1) == label


def confusion(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
  """Return i64[K, K]: how many images of the class of a row are taken for that of a column."""
  classes = logits.shape[-1]
  cell = label.astype(np.int64) * classes + logits.argmax(-1)
  return np.bincount(cell, minlength=classes**2).reshape(classes, classes)


def among_best(logits: np.ndarray, label: np.ndarray, count: int) -> float:
  """Return the share of the images whose label's logit is one of the `count` largest of [n, K].

  Of equal logits those of the smaller classes count as larger, as in `argmax`.
  """
  own = np.take_along_axis(logits, label[:, None], axis=1)
  before = np.arange(logits.shape[-1]) < label[:, None]
  larger = (logits > own) | ((logits == own) & before)
  return float((larger.sum(1) < count).mean())


def class_accuracies(counts: np.ndarray) -> list[float | None]:
  """Return the share of each class's images that are right, of a confusion; None without images."""
  images = counts.sum(1)
  return [
    float(right / n) if n else None for right, n in zip(counts.diagonal(), images, strict=True)
  ]


def macro_f1(counts: np.ndarray) -> float:
  """Return the mean over the classes of 2 TP / (2 TP + FP + FN), of a confusion.

  A class that is neither there nor predicted counts as 0, as in scikit-learn's `f1_score` with
  average='macro', all labels, and zero_division=0.
  """
  both = counts.sum(0) + counts.sum(1)
  return float(np.where(both, 2 * counts.diagonal() / np.maximum(both, 1), 0).mean())


def calibration(
  test: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray] | None
) -> Calibration:
  """Return a network's calibration on test images before and after temperature scaling.

  Args:
    test: logits [n, K] and labels i32[n].
    validation: the same of the images that the temperature is fitted on; None where there are none.

  References:
    Guo et al. 2017, "On Calibration of Modern Neural Networks"; 15 bins of equal width, as there.
  """
  logits, label = test
  before = reliability(logits, label)
  if validation is None:
    return Calibration(before, None, None, _by_chance(logits))
  temperature = fitted(*validation)
  scaled = logits / temperature
  return Calibration(before, temperature, reliability(scaled, label), _by_chance(scaled))


def fitted(logits: np.ndarray, label: np.ndarray) -> float:
  """Return the temperature in TEMPERATURES that makes the cross-entropy of [n, K] logits least."""
  from scipy import optimize

  def loss(log_temperature: float) -> float:
    return _cross_entropy(log_probabilities(logits / np.exp(log_temperature)), label)

  # The loss is convex in 1 / T, and so falls, then rises.
  found = optimize.minimize_scalar(
    loss, bounds=np.log(TEMPERATURES), method='bounded', options={'xatol': 1e-5}
  )
  return float(np.exp(found.x))


def reliability(logits: np.ndarray, label: np.ndarray) -> Reliability:
  """Return how accuracy follows confidence of [n, K] logits."""
  log_probability = log_probabilities(logits)
  confidence = np.exp(log_probability.max(-1))
  place = _bin(confidence)
  count = np.bincount(place, minlength=BINS)
  certain = np.bincount(place, weights=confidence, minlength=BINS)
  correct = np.bincount(place, weights=right(logits, label).astype(np.float64), minlength=BINS)
  each = zip(count.tolist(), certain.tolist(), correct.tolist(), strict=True)
  bins = tuple(Bin(c / n, r / n, n / len(label)) for n, c, r in each if n)
  ece = sum(b.share * abs(b.accuracy - b.confidence) for b in bins)
  return Reliability(bins, ece, _cross_entropy(log_probability, label))


def agreement(first: np.ndarray, second: np.ndarray, label: np.ndarray) -> Agreement:
  """Compare two networks by their logits, [n, K] each, on the same images."""
  one, other = right(first, label), right(second, label)
  return Agreement(
    both=int((one & other).sum()),
    first=int((one & ~other).sum()),
    second=int((~one & other).sum()),
    neither=int((~one & ~other).sum()),
    equal=int((first.argmax(-1) == second.argmax(-1)).sum()),
    difference=statistics.on_same_images(one.tolist(), other.tolist()),
  )


def differing(student: np.ndarray, teacher: np.ndarray, label: np.ndarray) -> dict[str, list[int]]:
  """Return places of images on which two networks predict different classes.

  They are under 'teacher', 'student' or 'neither', by who is right. Of each kind there are at most
  SHOWN, first those on which the two are surest (the sum of their predictions' probabilities).
  """
  one, other = right(student, label), right(teacher, label)
  differ = student.argmax(-1) != teacher.argmax(-1)
  sure = log_probabilities(student).max(-1), log_probabilities(teacher).max(-1)
  order = np.argsort(-np.exp(sure).sum(0), kind='stable')
  kinds = {'teacher': ~one & other, 'student': one & ~other, 'neither': differ & ~one & ~other}
  return {kind: order[is_of[order]][:SHOWN].tolist() for kind, is_of in kinds.items()}


def _cross_entropy(log_probability: np.ndarray, label: np.ndarray) -> float:
  return -float(log_probability[np.arange(len(label)), label].mean())


def _bin(confidence: np.ndarray) -> np.ndarray:
  return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _by_chance(logits: np.ndarray) -> float:
  """Return the mean ECE over simulated labels.

  It is a sum of absolute values, so that the choice of images alone keeps it from 0.
  """
  confidence = np.exp(log_probabilities(logits).max(-1))
  place = _bin(confidence)
  draw = np.random.default_rng(0)
  gaps = [
    np.bincount(place, weights=(draw.random(len(place)) < confidence) - confidence, minlength=BINS)
    for _ in range(_DRAWS)
  ]
  return float(np.abs(gaps).sum(-1).mean() / len(place))
