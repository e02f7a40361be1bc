"""Tests run on eight pretended CPU devices, with rank and type promotion and warnings as errors
(pyproject.toml), and with the array shapes of annotations checked. What is compiled is kept for all
workers and runs; nobody's home is touched.
"""

import os
from pathlib import Path

# Before jax starts, here or in a process of a test: it reads these once.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = (
  f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'.strip()
)
# Matplotlib's list of fonts takes seconds.
os.environ.setdefault(
  'MPLCONFIGDIR', str(Path(__file__).resolve().parents[1] / '.pytest_cache' / 'matplotlib')
)

import jax
import jaxtyping
import pytest

from tests import shapes

# Before these are imported. A worker is a process of its own: tests that start one check nothing.
CHECKED = ('kd_jax.losses', 'kd_jax.models', 'kd_jax.data')
jaxtyping.install_import_hook(CHECKED, f'{shapes.__name__}.checked')

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_numpy_dtype_promotion', 'strict')
if not jax.config.jax_compilation_cache_dir:
  kept = Path(__file__).resolve().parents[1] / '.pytest_cache' / 'xla'
  jax.config.update('jax_compilation_cache_dir', str(kept))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


@pytest.fixture(scope='session', autouse=True)
def home(tmp_path_factory):
  """A home of the tests' own, for them and for the processes that they start."""
  with pytest.MonkeyPatch.context() as patch:
    folder = tmp_path_factory.mktemp('home')
    patch.setenv('HOME', str(folder))
    patch.setenv('XDG_CACHE_HOME', str(folder / '.cache'))
    yield folder


def _folder(variable: str, holds: str):
  path = os.environ.get(variable)
  if not path:
    pytest.skip(f'{variable} is not set: it names the folder of {holds}')
  return path


@pytest.fixture(scope='session')
def goldens() -> Path:
  """The folder of numbers that public code computed."""
  return Path(__file__).parent / 'goldens'


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
    'networks of other public code and files of many forms (pretrained_elsewhere, pretrained_forms)',
  )


@pytest.fixture
def float64():
  """The test runs in float64."""
  with jax.enable_x64(True):
    yield
