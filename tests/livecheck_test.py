"""Training beside PyTorch agrees, and a deliberately wrong constant shows."""

from __future__ import annotations

import pytest

from kd_jax import livecheck
from kd_jax.types import Optimiser

pytest.importorskip('torch', reason="torch is not installed: pip install -e '.[torch]'")
pytestmark = pytest.mark.filterwarnings('ignore::UserWarning')  # torch's, of arrays that it shares with numpy


@pytest.mark.parametrize('name', livecheck.METHODS)
def test_both_sides_agree(name):
  assert livecheck.compare(name, steps=3, batch=8).error() <= 1e-9


def _momentum(student):
  student.bn1.momentum = 0.2


def _epsilon(student):
  student.bn1.eps = 1e-4


def _kernel(student):
  student.layer2[0].conv2.weight.data = student.layer2[0].conv2.weight.data.transpose(2, 3).contiguous()


def _class(student):
  student.linear.weight.data = student.linear.weight.data.flip(0)


@pytest.mark.parametrize('fault', [
  {'options': {'alpha': 0.5001}}, {'options': {'temperature': 5.1}}, {'optimiser': livecheck.OPTIMISER._replace(weight_decay=5.1e-4)},
  {'alter': _momentum}, {'alter': _epsilon}, {'alter': _kernel}, {'alter': _class},
])  # fmt: skip
def test_a_wrong_constant_shows(fault):
  assert livecheck.compare('kd', steps=3, batch=8, **fault).error() > 1e-6


def test_the_table_says_where_the_curves_part():
  curves = livecheck.compare('nokd', steps=3, batch=8, optimiser=Optimiser(learning_rate=0.06, drops=(0.5,)))
  assert curves.parted(1e-6) == 2  # the first step is taken from the same weights
