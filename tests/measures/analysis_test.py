"""What predictions tell, against values worked out by hand and simulations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from kd_jax.measures import analysis


def drawn(n, *, classes=5, seed=0, scale=2.0):
  """Logits under which the labels are drawn: as calibrated as can be."""
  draw = np.random.default_rng(seed)
  logits = scale * draw.normal(size=(n, classes))
  label = (np.exp(analysis.log_probabilities(logits)).cumsum(-1) < draw.random((n, 1))).sum(-1)
  return logits, label.astype(np.int32)


def test_log_probabilities_do_not_overflow():
  found = analysis.log_probabilities(np.array([[1000.0, 0.0], [0.0, 0.0]], np.float32))
  np.testing.assert_allclose(found, [[0, -1000], [-np.log(2), -np.log(2)]])


def test_confusion_has_the_true_classes_as_rows():
  logits = np.eye(3)[[0, 1, 1, 2, 0]]
  np.testing.assert_array_equal(
    analysis.confusion(logits, np.array([0, 1, 2, 2, 2])), [[1, 0, 0], [0, 1, 0], [1, 1, 1]]
  )


def test_reliability_by_hand():
  """Confidences .9, .9, .7 and .6, of which the first, third and fourth are right; the last two
  share no bin with others.
  """
  confidence = np.array([0.9, 0.9, 0.7, 0.6])
  logits = np.log(np.stack([confidence, 1 - confidence], -1))
  found = analysis.reliability(logits, np.array([0, 1, 0, 0]))
  assert [(b.confidence, b.accuracy, b.share) for b in found.bins] == [
    pytest.approx(expected) for expected in ((0.6, 1, 0.25), (0.7, 1, 0.25), (0.9, 0.5, 0.5))
  ]
  assert found.ece == pytest.approx(0.25 * 0.4 + 0.25 * 0.3 + 0.5 * 0.4)
  assert found.cross_entropy == pytest.approx(-np.log([0.9, 0.1, 0.7, 0.6]).mean())


def test_every_image_is_in_a_bin():
  found = analysis.reliability(
    np.array([[50.0, 0.0], [0.0, 0.0], [-50.0, 0.0]]), np.array([0, 0, 0])
  )
  assert sum(b.share for b in found.bins) == pytest.approx(1) and found.bins[-1].confidence == 1


@pytest.mark.parametrize('factor', [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_factor(factor):
  logits, label = drawn(20_000)
  assert analysis.fitted(factor * logits, label) == pytest.approx(factor, rel=0.03)


def test_the_temperature_is_that_of_the_validation_images_alone():
  validation, test = drawn(5000), drawn(5000, seed=1)
  validation, wrong = (3 * validation[0], validation[1]), (test[0], np.roll(test[1], 1))
  found, other = analysis.calibration(test, validation), analysis.calibration(wrong, validation)
  assert found.temperature == other.temperature == pytest.approx(3, rel=0.05)
  assert found.after.ece > found.before.ece  # the test images were calibrated, and are so no more
  assert analysis.calibration(test, None)[1:3] == (None, None)


def test_a_network_that_is_always_right_gets_the_lowest_temperature():
  logits = np.eye(4)[np.arange(40) % 4]
  assert analysis.fitted(logits, np.arange(40) % 4) < 1.01 * analysis.TEMPERATURES[0]


def test_scaling_mends_what_is_overconfident():
  (test, label), (held, held_label) = drawn(10_000), drawn(5000, seed=1)
  found = analysis.calibration((4 * test, label), (4 * held, held_label))
  assert (
    found.before.ece > 5 * found.after.ece
    and found.after.cross_entropy < found.before.cross_entropy
  )


def test_by_chance_is_what_a_calibrated_network_has():
  eces = [analysis.reliability(*drawn(400, seed=seed)).ece for seed in range(40)]
  assert analysis.calibration(drawn(400), None).by_chance == pytest.approx(np.mean(eces), rel=0.1)


def test_the_mean_of_several_is_of_their_probabilities():
  first, second = drawn(50)[0], drawn(50, seed=1)[0]
  expected = (
    np.exp(analysis.log_probabilities(first)) + np.exp(analysis.log_probabilities(second))
  ) / 2
  np.testing.assert_allclose(
    np.exp(analysis.log_probabilities(analysis.mean_of([first, second]))), expected
  )
  assert analysis.mean_of([first]) is first


def test_agreement_by_hand():
  label = np.zeros(6, int)
  found = analysis.agreement(np.eye(3)[[0, 0, 0, 1, 1, 1]], np.eye(3)[[0, 0, 1, 0, 1, 2]], label)
  assert found[:5] == (2, 1, 1, 2, 3) and found.n == 6 and found.difference.value == 0


def test_differing_images_are_of_their_kind_and_the_surest_come_first():
  student, label = drawn(2000)
  teacher = drawn(2000, seed=2)[0]
  found = analysis.differing(student, teacher, label)
  of_student, of_teacher = student.argmax(-1), teacher.argmax(-1)
  sure = np.exp(analysis.log_probabilities(student).max(-1)) + np.exp(
    analysis.log_probabilities(teacher).max(-1)
  )
  kinds = {
    'teacher': of_teacher == label,
    'student': of_student == label,
    'neither': (of_student != label) & (of_teacher != label),
  }
  assert set(found) == set(kinds)
  for kind, places in found.items():
    of_kind = np.flatnonzero(kinds[kind] & (of_student != of_teacher))
    assert len(places) == analysis.SHOWN < len(of_kind) and set(places) <= set(of_kind)
    assert sure[places].tolist() == sorted(sure[of_kind], reverse=True)[: analysis.SHOWN]
  assert analysis.differing(student, student, label) == {
    'teacher': [],
    'student': [],
    'neither': [],
  }


class TestClasses:
  """Against scikit-learn, with a class that is not there and one that is never predicted."""

  draw = np.random.default_rng(5)
  logits = draw.normal(size=(300, 12))
  logits[:, 7] = -9.0
  label = draw.integers(0, 11, 300).astype(np.int32)
  logits[np.arange(300), label] += 1.0

  def test_macro_f1(self):
    from sklearn.metrics import f1_score

    expected = f1_score(
      self.label, self.logits.argmax(-1), average='macro', labels=range(12), zero_division=0
    )
    assert analysis.macro_f1(analysis.confusion(self.logits, self.label)) == pytest.approx(expected)

  @pytest.mark.parametrize('count', [1, 5, 11])
  def test_among_the_best(self, count):
    from sklearn.metrics import top_k_accuracy_score

    expected = top_k_accuracy_score(self.label, self.logits, k=count, labels=range(12))
    assert analysis.among_best(self.logits, self.label, count) == pytest.approx(expected)

  def test_equal_logits_count_as_in_argmax(self):
    even = np.zeros((3, 4))
    assert analysis.among_best(even, np.array([0, 1, 3]), 1) == pytest.approx(1 / 3)
    assert analysis.among_best(even, np.array([0, 1, 3]), 2) == pytest.approx(2 / 3)

  def test_class_accuracies(self):
    found = analysis.class_accuracies(analysis.confusion(self.logits, self.label))
    assert found[11] is None and len(found) == 12
    of = self.label == 3
    assert found[3] == pytest.approx((self.logits.argmax(-1)[of] == 3).mean())
