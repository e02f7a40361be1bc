"""Networks of one's own and exported functions in whole runs: trained, saved, loaded, and teachers
of others.
"""

from __future__ import annotations

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import models
from kd_jax.deploy import formats
from kd_jax.files import packing, records
from kd_jax.files.networks import load_network, save_network
from kd_jax.types import Trained
from tests import own_code

SMALL = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 40,
  'crop_padding': 0,
  'flip': False,
  'epochs': 1,
  'batch_size': 32,
  'mean': (0.3,),
  'std': (0.4,),
  'student': 'own_nets:small',
  'teacher': 'own_nets:small',
}


def trained(folder, **changed):
  return own_code.trained(folder, SMALL | changed)


def fails(said, folder, **changed):
  own_code.refuses(said, folder, SMALL | changed)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A folder with the module own_nets, as the current one."""
  folder = tmp_path_factory.mktemp('own')
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    patch.setattr(sys, 'path', list(sys.path))
    patch.setattr(sys, 'dont_write_bytecode', True)
    own_code.write(folder, 'own_nets')
    own_code.write(folder, 'other_nets', ('WIDTH = 4', 'WIDTH = 6'))
    yield folder


@pytest.fixture(scope='module')
def own(place):
  """A run of an own student alone."""
  rows, _ = trained(place / 'own', method='nokd')
  return rows


def test_is_saved_with_its_name_and_read_again(place, own):
  (row,) = own
  spec, variables, info = load_network(place / 'own' / 'networks' / 'student')
  assert row['student'] == spec.name == 'own_nets:small' and info['classes'] == list('0123456789')
  assert (
    packing.fingerprint(variables) == row['best_sha256'] and row['parameters'] == 4 * 9 + 8 + 50
  )
  again, said = trained(place / 'own', method='nokd')
  assert again == own and any('finished before' in text for text in said)
  assert [c['name'] for c in records.read_json(place / 'own' / 'data.json')['classes']] == info[
    'classes'
  ]


@pytest.fixture(scope='module')
def taught(place, own):
  """Its student as the teacher of another."""
  rows, _ = trained(place / 'taught', student='own_nets:bare', teacher_checkpoint='own')
  return rows


def test_is_a_teacher(own, taught):
  assert [row['method'] for row in taught] == ['imported', 'kd'] and taught[1]['teachers'] == [
    'own_nets:small'
  ]
  assert (
    taught[0]['test_accuracy'] == own[0]['test_accuracy']
    and taught[1]['student'] == 'own_nets:bare'
  )


def test_whose_code_has_changed_is_none(place, own):
  saved = load_network(place / 'own' / 'networks' / 'student')
  save_network(place / 'changed', saved[0]._replace(name='other_nets:small'), *saved[1:])
  fails(
    'the weights in changed are not those of other_nets:small as it is now',
    place / 'x',
    teacher='other_nets:small',
    teacher_checkpoint='changed',
  )


@pytest.fixture(scope='module')
def variables(place, own):
  return load_network(place / 'own' / 'networks' / 'student')[1]


class TestExported:
  def export(
    self,
    path,
    variables,
    *,
    dtype=jnp.float32,
    shape='b, 16, 16, 1',
    name='own_nets:small',
    **options,
  ):
    network = models.build(models.NetworkSpec(name, 10, (16, 16, 1), mean=(0.3,), std=(0.4,)))

    def logits(image):
      image = image.astype(jnp.float32) / (255 if dtype == jnp.uint8 else 1)
      return network.module.apply(variables, image, train=False).logits

    image = jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape), dtype)
    path.write_bytes(jax.export.export(jax.jit(logits), **options)(image).serialize())

  @pytest.mark.parametrize('dtype', [jnp.float32, jnp.uint8])
  def test_teaches_as_the_network_that_it_is_of(self, place, variables, taught, dtype):
    kind = jnp.dtype(dtype).name
    self.export(place / f'{kind}.jax', variables, dtype=dtype)
    rows, said = trained(place / kind, student='own_nets:bare', teacher_checkpoint=f'{kind}.jax')
    assert (
      re.fullmatch(rf'{kind}\.jax@[0-9a-f]{{12}}', rows[0]['student'])
      and rows[0]['parameters'] is None
    )
    assert [row['test_accuracy'] for row in rows] == [row['test_accuracy'] for row in taught]
    assert rows[1]['flops_alone'] is None and rows[1]['teachers'] == [rows[0]['student']]
    one, other = (load_network(place / run / 'networks' / 'student')[1] for run in (kind, 'taught'))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), one, other)

  def test_a_student_that_was_exported_teaches(self, place, variables, taught):
    network = models.build(
      models.NetworkSpec('own_nets:small', 10, (16, 16, 1), mean=(0.3,), std=(0.4,))
    )
    formats.FORMATS['stablehlo'].write(Trained(network, variables), place / 'exported')
    rows, _ = trained(
      place / 'again', student='own_nets:bare', teacher_checkpoint='exported.stablehlo'
    )
    assert [row['test_accuracy'] for row in rows] == [row['test_accuracy'] for row in taught]

  def test_its_file_may_have_any_name(self, place, variables):
    network = models.build(
      models.NetworkSpec('own_nets:small', 10, (16, 16, 1), mean=(0.3,), std=(0.4,))
    )
    formats.FORMATS['stablehlo'].write(Trained(network, variables), place / 'at_12:30')
    _, said = trained(
      place / 'named', student='own_nets:bare', teacher_checkpoint='at_12:30.stablehlo'
    )
    assert any(
      'from at_12:30.stablehlo has' in text and text.endswith('on the test images.')
      for text in said
    )

  def test_teaches_logits_alone(self, place, variables):
    self.export(place / 'teacher.jax', variables)
    fails(
      'asks a network for its features', place / 'x', method='oh', teacher_checkpoint='teacher.jax'
    )
    fails(
      "changes the teacher's relu_placement, and teacher.jax@",
      place / 'x',
      method='oh',
      recipe='published',
      student='thin_resnet8',
      teacher_checkpoint='teacher.jax',
    )

  @pytest.mark.parametrize(
    ('options', 'said'),
    [
      ({'shape': '32, 16, 16, 1'}, 'is for 32 images at a time: export it for any number'),
      ({'shape': 'b, 32, 16, 1'}, 'takes images of 32×16, and these, of 16×16, have other'),
      ({'dtype': jnp.float16}, 'maps float16['),
      ({'platforms': ['tpu']}, 'was exported for tpu, and this machine computes on cpu'),
    ],
  )
  def test_that_do_not_fit(self, place, variables, options, said):
    self.export(place / 'odd.jax', variables, **options)
    fails(said, place / 'x', teacher_checkpoint='odd.jax')

  def test_no_function_at_all(self, place):
    (place / 'text.jax').write_text('not a function, but long enough to look into')
    fails(
      'text.jax cannot be read as a function of jax.export',
      place / 'x',
      teacher_checkpoint='text.jax',
    )
    (place / 'empty.jax').write_bytes(b'')
    fails(
      'empty.jax cannot be read as a function of jax.export',
      place / 'x',
      teacher_checkpoint='empty.jax',
    )
