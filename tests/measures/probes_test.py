"""The linear probe."""

from __future__ import annotations

import numpy as np
import pytest

from kd_jax.measures import probes

DRAW = np.random.default_rng(0)
CENTRES = DRAW.normal(size=(4, 6)) * 3


def drawn(n, classes):
  labels = np.arange(n) % classes
  return (CENTRES[labels] + DRAW.normal(size=(n, 6)) + 5).astype(np.float32), labels


@pytest.mark.parametrize('classes', [2, 4])
def test_what_is_linear_is_found_and_is_a_dense_layer_of_the_features_themselves(classes):
  from sklearn.linear_model import LogisticRegression

  features, labels = drawn(200, classes)
  features[:, 5] = 1  # which never changes
  made = probes.linear(features, labels, classes=classes)
  test, expected = drawn(400, classes)
  test[:, 5] = 1
  assert (made.classified(test) == expected).mean() > 0.95 and made.strength == 0.1
  mean, deviation = features.mean(0), features.std(0)
  deviation[5] = 1
  alone = LogisticRegression(C=0.1, max_iter=200).fit((features - mean) / deviation, labels)
  np.testing.assert_array_equal(made.classified(test), alone.predict((test - mean) / deviation))


def test_validation_images_choose_the_penalty():
  features, labels = drawn(40, 4)
  tried = {
    c: (
      probes.linear(features, labels, classes=4, strengths=(c,)).classified(features) == labels
    ).mean()
    for c in (1e-6, 1.0)
  }
  made = probes.linear(
    features, labels, classes=4, validation=(features, labels), strengths=(1e-6, 1.0)
  )
  assert made.strength == max(tried, key=tried.get)
  turned = (features, made.classified(features) * 0)  # validation that wants the first class alone
  assert (
    probes.linear(features, labels, classes=4, validation=turned, strengths=(1.0,)).strength == 1.0
  )


def test_a_class_without_examples_is_never_chosen():
  features, labels = drawn(60, 4)
  made = probes.linear(features, labels + (labels > 1), classes=6)
  assert made.kernel.shape == (6, 6) and not set(made.classified(features)) & {2, 5}
