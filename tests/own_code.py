"""A network of one's own as a user would write it, and ways to get it wrong. No tests here.

It compiles in a fraction of the time of the ResNets, so that tests of whole runs take it where the
network is of no concern.
"""

import contextlib
import re

import pytest

from kd_jax import config as configuration
from kd_jax.runs.run import run
from kd_jax.types import KdJaxError
from tests import tiny

TEXT = """
import flax.linen as nn
import jax.numpy as jnp

from kd_jax.models.layers import BatchNorm, normalise
from kd_jax.types import KdJaxError, LogitsOnly, Network, Outputs


class Net(nn.Module):
  classes: int
  width: int
  mean: tuple
  std: tuple
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image, *, train):
    x = normalise(image, self.mean, self.std, 'float32')
    x = nn.Conv(self.width, (3, 3), strides=4, use_bias=False, name='conv')(x)
    x = BatchNorm(axis_name=self.axis_name, name='norm')(x, train=train)
    embedding = nn.relu(x).mean((1, 2))
    logits = nn.Dense(self.classes, name='head')(embedding)
    return Outputs(logits, (x,), {'stage1_block1': x}, embedding)


class Bare(nn.Module):
  classes: int
  axis_name: str | None = None

  @nn.compact
  def __call__(self, image, *, train):
    return LogitsOnly(nn.Dense(self.classes, name='last')(image.reshape(image.shape[0], -1)))


def small(spec):
  return Network(spec, Net(spec.classes, WIDTH, spec.mean, spec.std), (('norm',),))


def without_norms(spec):
  return small(spec)._replace(norms=())


def bare(spec):
  return Network(spec, Bare(spec.classes), ())


WIDTH = 4
"""


def write(folder, module: str, *changes: tuple[str, str], more: str = ''):
  """Writes the text, with each of the changes made in it, as a module in the folder."""
  text = TEXT
  for old, new in changes:
    assert old in text
    text = text.replace(old, new)
  (folder / f'{module}.py').write_text(text + more)


@contextlib.contextmanager
def importable(folder, module: str):
  """The text as a module in the folder that can be imported while this lasts."""
  write(folder, module)
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(folder)
    yield


def trained(folder, keys: dict):
  """The rows of a run with these keys of the configuration, and what it said."""
  said = []
  with tiny.quick_compilation():
    return run(configuration.resolve(configuration.default(**keys)), folder, say=said.append), said


def refuses(said: str, folder, keys: dict) -> None:
  """Such a run is refused in one line that holds this, and writes nothing."""
  with pytest.raises(KdJaxError, match=re.escape(said)) as caught:
    trained(folder, keys)
  assert '\n' not in str(caught.value) and not folder.exists()
