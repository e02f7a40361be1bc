"""What is said of an imported teacher, and that what it says to set is right."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from kd_jax import models
from kd_jax.data.feed import Split
from kd_jax.data.roles import Roles
from kd_jax.pytorch.contents import Facts
from kd_jax.runs import teacher_doubts, teacher_fit
from kd_jax.runs.teachers import Origin
from kd_jax.types import NetworkSpec, Source, Trained
from tests.knowing import knowing

PAPERS = teacher_fit.USUAL[3][0]
TRUE = NetworkSpec('wrn10_1', 4, (8, 8, 3), mean=PAPERS[0], std=PAPERS[1])
GUESS = TRUE._replace(mean=(), std=())


@pytest.fixture(scope='module')
def right():
  """Weights, and images with the labels that they give them, taken as TRUE says."""
  return knowing(TRUE)


def labelled(*labels):
  label = np.asarray(labels, np.int32)
  return Split(
    Source(np.zeros((len(label), 8, 8, 3), np.uint8), label), np.arange(len(label), dtype=np.int32)
  )


def said(
  variables,
  part,
  accuracy,
  *,
  spec=GUESS,
  test=None,
  copies=('raw',),
  stated=None,
  whole=False,
  guess='names',
  weights='raw',
):
  return list(
    teacher_doubts.remarks(
      Trained(models.build(spec), variables),
      accuracy,
      dataset='digits',
      parts=Roles(part, None, test or part),
      origin=Origin(Path('of/a.pth'), guess, weights),
      facts=Facts(whole, stated, copies),
    )
  )


def test_chance_is_the_commonest_label_s_share():
  assert teacher_doubts.chance(labelled(*range(10))) == 0.1
  assert teacher_doubts.chance(labelled(0, 0, 0, 1)) == 0.75
  assert teacher_doubts.chance(labelled(0, 0, 0, 1)._replace(index=np.asarray([0, 3]))) == 0.5


@pytest.mark.parametrize(
  ('classes', 'little', 'enough'),
  [(10, 0.499, 0.501), (2, 0.72, 0.725), (100, 0.449, 0.451), (2, 0.5, 0.9)],
)
def test_little_is_relative_to_chance(classes, little, enough):
  assert teacher_doubts.is_little(little, 1 / classes) and not teacher_doubts.is_little(
    enough, 1 / classes
  )


@pytest.mark.parametrize(
  ('accuracy', 'stated', 'images', 'below'),
  [
    (0.347, 0.926, 10_000, True),
    (0.911, 0.926, 10_000, False),
    (0.89, 0.926, 10_000, True),
    (0.89, 0.926, 200, False),
    (0.95, 0.926, 10_000, False),
    (0.1, None, 10_000, False),
  ],
)
def test_far_below_the_stated_accuracy(accuracy, stated, images, below):
  assert teacher_doubts.is_below(accuracy, stated, images) == below


@pytest.mark.parametrize('stated', [None, 0.97])
def test_what_to_set_is_said_and_is_right(right, stated):
  variables, part = right
  what, warning = said(variables, part, 0.3, stated=stated)
  assert what.startswith(
    'a.pth does not state how its images were normalised nor where its ReLUs stand'
  )
  assert (
    "nor its pooling, activation, BatchNorm's ε or strides (taken as in wrn10_1 of kd_jax)" in what
  )
  assert ('it states an accuracy of 97.0%' in what) == (stated is not None)
  assert warning.startswith(
    'Warning: the teacher wrn10_1 is right on 30.0% of the test images only, and '
  )
  assert ('its file states 97.0%' if stated else 'chance is ') in warning
  assert re.search(
    r'Tried on 200 training images, it is right on \d+\.\d% as it is taken, and on 100\.0% with mean 0\.4914',
    warning,
  )
  assert warning.endswith(
    "set, in another --workdir, --config.teacher_mean='(0.4914, 0.4822, 0.4465)' "
    "--config.teacher_std='(0.2023, 0.1994, 0.201)' or --config.teacher_guess=fit"
  )


def test_another_way_that_is_better_is_named_though_the_accuracy_is_no_little(right):
  variables, part = right
  _, warning = said(variables, part, 0.8)
  assert warning.startswith('Warning: the teacher wrn10_1 may be taken wrongly. Tried on')


def test_nothing_is_amiss(right):
  variables, part = right
  (what,) = said(variables, part, 0.98, spec=TRUE, stated=0.98)
  assert what.startswith('a.pth does not state')


def test_what_no_usual_way_makes_right_is_named(right):
  """Labels that no way of taking the network explains: another activation, another pooling."""
  variables, part = right
  draw = np.random.default_rng(1)
  other = part._replace(source=Source(part.source.image, draw.permutation(part.source.label)))
  _, warning = said(variables, other, 0.3, spec=TRUE)
  assert (
    'no usual way to take it is right. It may differ from wrn10_1 of kd_jax in pooling, '
    "activation, BatchNorm's ε or " in warning
  )
  assert (
    'or be no network for digits with the classes in this order' in warning
    and '--config' not in warning
  )


def test_two_classes_at_chance(right):
  variables, _ = right
  draw = np.random.default_rng(2)
  part = Split(
    Source(draw.integers(0, 256, (60, 8, 8, 3), np.uint8), np.arange(60) % 2),
    np.arange(60, dtype=np.int32),
  )
  for whole in (True, False):
    warning = said(variables, part, 0.5, whole=whole)[-1]
    assert warning.startswith(
      'Warning: the teacher wrn10_1 is right on 50.0% of the test images only, and chance is 50.0%.'
    )
  assert said(variables, part, 0.9, whole=True) == []


def test_a_network_that_states_itself_is_not_tried(right, monkeypatch):
  variables, part = right
  monkeypatch.setattr(
    teacher_fit, 'tries', lambda *rest, **more: pytest.fail('it says all of this itself')
  )
  (warning,) = said(variables, part, 0.2, whole=True)
  assert (
    warning.endswith('Is it a network for digits, with the classes in this order?')
    and '--config' not in warning
  )


def test_which_weights_are_taken(right):
  variables, part = right
  for weights, words in (('raw', 'the raw ones are taken'), ('ema', 'the averages are taken')):
    what, *_ = said(variables, part, 0.98, spec=TRUE, copies=('raw', 'ema'), weights=weights)
    assert words in what and '(teacher_weights)' in what
  assert 'EMA' not in said(variables, part, 0.98, spec=TRUE)[0]


def test_what_was_fitted_is_said(right):
  variables, part = right
  assert 'fitted to training images' in said(variables, part, 0.98, spec=TRUE, guess='fit')[0]


@pytest.mark.parametrize(
  ('spec', 'flags'),
  [
    (
      TRUE._replace(mean=(), std=()),
      "--config.teacher_mean='(0, 0, 0)' --config.teacher_std='(1, 1, 1)'",
    ),
    (
      TRUE._replace(image_shape=(8, 8, 1), mean=(0.5,), std=(0.25,)),
      "--config.teacher_mean='(0.5,)' --config.teacher_std='(0.25,)'",
    ),
    (TRUE._replace(relu_placement='stage'), '--config.teacher_relu_placement=stage'),
  ],
)
def test_flags_have_what_differs(spec, flags):
  assert teacher_doubts._setting(spec, TRUE) == flags
