"""Tests run on eight pretended CPU devices, with rank promotion and warnings as errors
(pyproject.toml), and with the array shapes of annotations checked.
"""

import os

# Before jax starts: it reads these once.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = (
  f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'.strip()
)

import jax
import jaxtyping
import pytest

from tests import shapes

# Before these are imported. A worker is a process of its own: tests that start one check nothing.
CHECKED = ('kd_jax.losses', 'kd_jax.models', 'kd_jax.data')
jaxtyping.install_import_hook(CHECKED, f'{shapes.__name__}.checked')

jax.config.update('jax_numpy_rank_promotion', 'raise')


def _folder(variable: str, holds: str):
  path = os.environ.get(variable)
  if not path:
    pytest.skip(f'{variable} is not set: it names the folder of {holds}')
  return path


@pytest.fixture(scope='session')
def data_dir():
  return _folder('KD_JAX_DATA', 'prepared tensorflow_datasets data (cifar10)')


@pytest.fixture(scope='session')
def pretrained_dir():
  return _folder('KD_JAX_PRETRAINED', 'the networks published with the paper (.pth)')


@pytest.fixture(scope='session')
def reference_dir():
  return _folder('KD_JAX_REFERENCE', 'numbers computed with the published PyTorch code (.npz)')


@pytest.fixture(scope='session')
def teachers_dir():
  return _folder(
    'KD_JAX_TEACHERS',
    'networks of other public code and files of many forms (pretrained_elsewhere, '
    'pretrained_forms)',
  )


@pytest.fixture
def float64():
  """The test runs in float64."""
  with jax.enable_x64(True):
    yield
