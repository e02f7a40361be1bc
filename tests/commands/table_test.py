"""`kd-jax table`, with teachers of several kinds."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import models
from kd_jax.commands import main
from kd_jax.data import sources
from kd_jax.deploy import classifier
from kd_jax.files import networks
from kd_jax.types import KdJaxError, NetworkSpec
from tests import tiny

PLAIN = ('--config=digits_kd', '--config.crop_padding=0')
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')


@pytest.fixture(scope='module')
def teachers(tmp_path_factory):
  """A network's folder, and the same as a function of jax.export."""
  folder = tmp_path_factory.mktemp('teachers')
  spec = NetworkSpec('thin_resnet8', 10, (16, 16, 1))
  network, variables = models.build(spec), tiny.variables(models.build(spec))
  names = [str(number) for number in range(10)]
  networks.save_network(folder / 'network', spec, variables, {'row': {}, 'classes': names})
  image = jax.ShapeDtypeStruct(jax.export.symbolic_shape('b, 16, 16, 1'), jnp.float32)
  program = jax.jit(lambda image: network.module.apply(variables, image, train=False).logits)
  (folder / 'teacher.jax').write_bytes(jax.export.export(program)(image).serialize())
  return folder


@pytest.fixture
def write(tmp_path, monkeypatch, capsys):
  def call(*arguments):
    monkeypatch.setattr(sys, 'argv', ['kd-jax'])
    monkeypatch.setattr(sys, 'dont_write_bytecode', True)
    code = main.call('table', [*arguments, f'--out={tmp_path / "table.npz"}'])
    sys.modules.pop('config_config', None)
    return code, *capsys.readouterr()

  return call


@pytest.mark.parametrize('name', ['network', 'teacher.jax'])
def test_the_table_says_what_the_teacher_says(write, teachers, tmp_path, name):
  code, out, error = write(*PLAIN, f'--teacher={teachers / name}')
  assert (code, error) == (0, '') and f'--config.teacher_checkpoint={tmp_path}/table.npz' in out
  table, teacher = (classifier.load(path) for path in (tmp_path / 'table.npz', teachers / name))
  images = sources.load('digits').test.image[:50]
  np.testing.assert_allclose(table.logits(images), teacher.logits(images), atol=1e-4)
  with pytest.raises(KdJaxError, match='no finite logits for 50 of 50 images: a table holds'):
    table.logits(255 - images)


def test_the_configuration_may_name_the_teacher(write, teachers):
  code, out, _ = write(*PLAIN, f'--config.teacher_checkpoint={teachers / "network"}')
  assert code == 0 and '1,797 pictures' in out
