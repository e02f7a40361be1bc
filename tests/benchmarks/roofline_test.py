"""Bounds from counts: which of the two limits it is, and that counts are of the step."""

from __future__ import annotations

import pytest

from benchmarks import bounds
from kd_jax.train import peaks


@pytest.mark.parametrize(
  ('flops', 'size', 'seconds', 'by'), [(2e12, 1e9, 2.0, 'arithmetic'), (1e12, 4e9, 4.0, 'memory')]
)
def test_the_bound_is_the_slower_of_the_two(flops, size, seconds, by):
  assert bounds.bound(flops, size, peaks.Peak(1e12, 1e9)) == (seconds, by)


@pytest.mark.parametrize(
  ('kind', 'flops'),
  [
    ('NVIDIA H100 80GB HBM3', 989e12),
    ('NVIDIA H100 PCIe', 756e12),
    ('TPU v5 lite', 197e12),
    ('TPU v5p', 459e12),
    ('cpu', None),
  ],
)
def test_a_device_is_known_by_its_kind(kind, flops):
  assert (peaks.of(kind) and peaks.of(kind).flops) == flops


def test_every_device_of_the_table_has_a_peak():
  assert all(peaks.of(kind) for kind in bounds.DEVICES.values())


@pytest.mark.system
def test_a_teacher_s_pass_is_counted():
  """A ResNet26 forward pass takes 122 MFLOP an image."""
  (alone, _), (taught, size) = bounds.counted('nokd', 8), bounds.counted('kd', 8)
  assert taught - alone == pytest.approx(8 * 122e6, rel=0.1) and size > 1e6
