"""The usual ways to take a network: the one by which it is right is found."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from kd_jax import models
from kd_jax.data.feed import Split
from kd_jax.runs import teacher_fit
from kd_jax.runs.teacher_fit import Try
from kd_jax.types import NetworkSpec, Source, Trained
from tests import tiny
from tests.knowing import knowing

# two blocks a stage: each place of the ReLUs is another network
COLOUR = NetworkSpec('thin_resnet14', 4, (8, 8, 3))
PAPERS, _, _, IMAGENETS, HALF = teacher_fit.USUAL[3]


def taken(spec, variables):
  return Trained(models.build(spec), variables)


@pytest.mark.parametrize(
  ('true', 'guess'),
  [
    (COLOUR._replace(mean=PAPERS[0], std=PAPERS[1], relu_placement='stage'), COLOUR),
    (
      COLOUR._replace(mean=IMAGENETS[0], std=IMAGENETS[1]),
      COLOUR._replace(mean=PAPERS[0], std=PAPERS[1], relu_placement='stage'),
    ),
    (COLOUR._replace(relu_placement='pool'), COLOUR._replace(mean=HALF[0], std=HALF[1])),
    (
      NetworkSpec('wrn10_1', 4, (8, 8, 1), mean=(0.1307,), std=(0.3081,)),
      NetworkSpec('wrn10_1', 4, (8, 8, 1)),
    ),
  ],
  ids=['paper', 'imagenet', 'none', 'mnist'],
)
def test_the_right_way_is_found(true, guess):
  variables, part = knowing(true)
  found = teacher_fit.fitted(taken(guess, variables), part, fixed={})
  assert found.network.spec == true and found.variables is variables
  ways = teacher_fit.tries(taken(guess, variables), part)
  assert ways[0].spec == guess and teacher_fit.best(ways).accuracy == 1
  assert teacher_fit.is_better(teacher_fit.best(ways), ways[0]) and not teacher_fit.is_better(
    ways[0], teacher_fit.best(ways)
  )
  assert len({each.spec for each in ways}) == len(ways)


def test_what_the_user_says_stays():
  true = COLOUR._replace(mean=PAPERS[0], std=PAPERS[1], relu_placement='stage')
  variables, part = knowing(true)
  guess = COLOUR._replace(mean=HALF[0], std=HALF[1])
  means = teacher_fit.fitted(
    taken(guess, variables), part, fixed={'mean': HALF[0], 'std': HALF[1]}
  ).network.spec
  places = teacher_fit.fitted(
    taken(guess, variables), part, fixed={'relu_placement': 'block'}
  ).network.spec
  all_ = teacher_fit.fitted(
    taken(guess, variables), part, fixed=dict.fromkeys(('mean', 'std', 'relu_placement'))
  ).network.spec
  assert (means.mean, means.std) == HALF and places.relu_placement == 'block' and all_ == guess


def test_few_images_of_the_part_alone_are_tried(monkeypatch):
  asked, real = [], teacher_fit._one
  monkeypatch.setattr(
    teacher_fit,
    '_one',
    lambda spec, apply, variables, image, label: (
      asked.append(image)
      or real(spec, lambda variables, image: np.zeros((len(image), 4)), variables, image, label)
    ),
  )
  source = Source(
    np.random.default_rng(0).integers(0, 256, (700, 8, 8, 3), np.uint8), np.arange(700) % 4
  )
  part = Split(source, np.arange(100, 600, dtype=np.int32))
  for _ in range(2):
    teacher_fit._tried.clear()
    first, *others = teacher_fit.tries(
      taken(COLOUR, tiny.variables(models.build(COLOUR))), part, placements=False
    )
    assert first.right.shape == (teacher_fit.IMAGES,) and {
      each.spec.relu_placement for each in others
    } == {'block'}
  assert all(np.array_equal(image, asked[0]) for image in asked)
  inside = {image.tobytes() for image in source.image[part.index]}
  assert all(image.tobytes() in inside for image in asked[0])
  assert len({image.tobytes() for image in asked[0]}) == teacher_fit.IMAGES


def test_images_of_one_grey_are_no_hindrance():
  part = Split(
    Source(np.zeros((3, 8, 8, 3), np.uint8), np.zeros(3, np.int32)), np.arange(3, dtype=np.int32)
  )
  found = teacher_fit.tries(
    taken(COLOUR, tiny.variables(models.build(COLOUR))), part, placements=False
  )
  assert len(found) == 1 + len(teacher_fit.USUAL[3])


def test_one_way_is_better_beyond_chance_alone():
  def way(right, loss):
    return Try(COLOUR, np.asarray([bool(int(digit)) for digit in right]), loss)

  few, many = way('0' * 20, 2.0), way('1' * 10 + '0' * 10, 1.0)
  # 10 > 3 √10, 9 = 3 √9
  assert teacher_fit.is_better(many, few) and not teacher_fit.is_better(
    way('1' * 9 + '0' * 11, 1.0), few
  )
  assert not teacher_fit.is_better(many._replace(loss=3.0), few)
  lost = way('0' * 10 + '1' * 10, 2.0)
  assert not teacher_fit.is_better(many, lost)


def test_a_way_that_overflows_is_the_worst():
  image, label = np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, np.int32)
  assert (
    teacher_fit._one(
      COLOUR, lambda variables, image: np.full((len(image), 4), np.inf), None, image, label
    ).loss
    == math.inf
  )


def test_the_losses_are_the_cross_entropy():
  label = np.asarray([0, 1, 2], np.int32)
  logits = np.asarray([[2.0, 0, 0, 0], [0, 500, 0, 0], [0, 0, 0, 1]])
  found = teacher_fit._one(
    COLOUR, lambda variables, image: logits, None, np.zeros((3, 8, 8, 3), np.uint8), label
  )
  each = [math.log(math.exp(2) + 3) - 2, 0, math.log(math.e + 3)]
  assert found.loss == pytest.approx(sum(each) / 3) and found.right.tolist() == [True, True, False]


def test_no_two_usual_normalisations_are_one():
  for usual in teacher_fit.USUAL.values():
    for one, other in itertools.combinations(usual, 2):
      assert not np.allclose(one, other, rtol=0, atol=teacher_fit._CLOSE)
