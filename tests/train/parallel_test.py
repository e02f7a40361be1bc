"""One device or eight, jit or pmap: the same training."""

from __future__ import annotations

import contextlib
import functools

import chex
import jax
import numpy as np
import pytest

from kd_jax import methods
from kd_jax.train import parallel
from kd_jax.types import KdJaxError
from tests import tiny

STEPS = 5


class Kd(tiny.Case):
  """kd with a teacher on batch statistics, which no recipe of kd has: its BatchNorm, too, gathers over the devices."""

  def method(self, **chosen):
    return super().method(**chosen)._replace(teacher_statistics='batch')


CASES = [case for case in tiny.cases() if case.recipe == 'written' or case.method().teacher_statistics == 'batch']
CASES.append(Kd('kd', 'batch statistics', 1))


@pytest.fixture(autouse=True, scope='module')
def quick():
  with tiny.quick_compilation():
    yield


@functools.cache
def trained(case: tiny.Case, kind: str, devices: int, dtype: str):
  """State and metrics after some steps with crops and flips, all from the same weights."""
  with jax.enable_x64(True) if dtype == 'float64' else contextlib.nullcontext():
    ready = tiny.ready(case.method(), teachers=case.teachers, kind=kind, devices=devices, dtype=dtype, placement=case.placement)
    return ready.take(STEPS)


def largest_difference(ours, theirs) -> float:
  return max(np.abs(x.astype(np.float64) - y).max() for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True))


@pytest.mark.parametrize('case', CASES, ids=str)
class TestAgreement:
  """Params, statistics and momentum after five steps on 16 images, unlabelled ones unevenly spread, against jit on one device."""

  @pytest.mark.parametrize('kind', ['jit', 'pmap'])
  def test_eight_devices_in_float64(self, case, kind):
    (one, measured_once), (eight, measured) = trained(case, 'jit', 1, 'float64'), trained(case, kind, 8, 'float64')
    assert largest_difference((eight.params, eight.stats), (one.params, one.stats)) <= 1e-8
    chex.assert_trees_all_close(measured, measured_once, rtol=1e-7, atol=1e-9)
    chex.assert_trees_all_equal_dtypes(eight, one)

  def test_float32(self, case):
    """Rounding alone parts float32 on eight devices from float64 on one."""
    (exact, _), (rounded, _) = trained(case, 'jit', 1, 'float64'), trained(case, 'pmap', 8, 'float32')
    assert largest_difference((rounded.params, rounded.stats), (exact.params, exact.stats)) <= 1e-5
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves((rounded.params, rounded.stats)))
