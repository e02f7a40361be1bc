from __future__ import annotations

import math

import numpy as np

from kd_jax.verify.numbers import Check, difference, largest


def test_no_place_hides_what_is_no_number():
  for errors in ([math.nan, 1e-9], [1e-9, math.nan], {'a': 1e-9, 'b': {'c': np.float64('nan')}}):
    assert math.isnan(largest(errors)) and not Check('what', largest(errors), 1.0).passed
  assert largest({'a': 1e-9, 'b': [3.0]}) == 3


def test_other_shapes_are_no_agreement():
  assert math.isnan(difference(np.zeros((1, 3)), np.zeros(3))) and math.isnan(difference([], []))
  assert difference([1.0, 2.0], [1.5, 2.0]) == 0.5
