"""Which network a path means, and what is known of it."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kd_jax import models
from kd_jax.files import records
from kd_jax.files.networks import save_network
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import specs as torch_specs
from kd_jax.pytorch import writer as torch_writer
from kd_jax.runs import network_files
from kd_jax.types import KdJaxError, NetworkSpec
from tests import pickles, tiny

SPEC = NetworkSpec('thin_resnet8', 3, (8, 8, 1), 'stage', (0.3,), (0.4,))
CLASSES = ('hare', 'horse', 'hound')


@pytest.fixture(scope='module')
def variables():
  return tiny.variables(models.build(SPEC))


def save(place, variables, **row):
  save_network(place, SPEC, variables, {'row': {'name': place.name, **row}, 'classes': CLASSES})


def workdir(folder, variables, *names):
  for name in names:
    save(folder / 'networks' / name, variables)
  records.write_json(folder / 'config.json', {'epochs': 3})
  records.write_json(folder / 'versions.json', {'python': '3'})
  records.write_json(
    folder / 'results.json', [{'name': name, 'test_accuracy': 0.5} for name in names]
  )
  return folder


def test_a_workdir_means_its_student(tmp_path, variables):
  found = network_files.find(workdir(tmp_path, variables, 'teacher', 'student'))
  assert (found.name, found.classes, found.place) == (
    'student',
    CLASSES,
    tmp_path / 'networks' / 'student',
  )
  assert found.trained.network.spec == SPEC and found.row['name'] == 'student'
  assert (found.config, found.versions) == ({'epochs': 3}, {'python': '3'})
  assert found.others == ({'name': 'teacher', 'test_accuracy': 0.5},)
  jax.tree.map(np.testing.assert_array_equal, found.trained.variables, variables)


def test_a_network_folder_means_itself(tmp_path, variables):
  found = network_files.find(
    workdir(tmp_path, variables, 'teacher', 'student') / 'networks' / 'teacher'
  )
  assert (
    found.name == 'teacher'
    and found.config == {'epochs': 3}
    and found.others[0]['name'] == 'student'
  )


def test_the_file_of_a_network_means_its_folder(tmp_path, variables):
  place = workdir(tmp_path, variables, 'teacher', 'student') / 'networks' / 'teacher'
  found = network_files.find(place / 'network.safetensors')
  assert (found.name, found.place) == ('teacher', place)


def test_a_network_that_stands_alone(tmp_path, variables):
  save(tmp_path / 'copied' / 'mine', variables)
  records.write_json(tmp_path / 'config.json', {'epochs': 5})  # of something else
  found = network_files.find(tmp_path / 'copied' / 'mine')
  assert (found.name, found.config, found.versions, found.others) == ('mine', {}, {}, ())


def test_a_phase_of_a_study(tmp_path, variables):
  save(tmp_path / 'phases' / 'abc' / 'networks' / 'assistant', variables)
  records.write_json(tmp_path / 'versions.json', {'python': '3'})
  runs = [
    {
      'config': {'seed': seed},
      'histories': {'assistant': f'phases/{name}/phases/assistant/history.csv'},
    }
    for seed, name in enumerate(('abcd', 'abc', 'abc'))
  ]
  records.write_json(tmp_path / 'study.json', {'runs': runs})
  found = network_files.find(tmp_path / 'phases' / 'abc')
  assert (found.name, found.config, found.versions) == ('assistant', {'seed': 1}, {'python': '3'})


def test_a_pytorch_file(tmp_path, variables):
  torch_names.export_file(tmp_path / 'x.pth', variables, SPEC)
  found = network_files.find(tmp_path / 'x.pth')
  assert found.trained.network.spec == SPEC and (
    found.name,
    found.classes,
    found.row,
    found.others,
  ) == ('x', (), {}, ())


def test_of_a_pytorch_file_that_states_nothing_a_guess_is_told(tmp_path, variables):
  torch_names.export_file(tmp_path / 'x.pth', variables, SPEC)
  assert network_files.find(tmp_path / 'x.pth').assumed == ''
  spec = models.NetworkSpec('thin_resnet8', 3, torch_specs.IMAGE_SHAPE)
  torch_writer.write(
    tmp_path / 'x.pth', torch_names.to_torch(tiny.variables(models.build(spec)), spec)
  )
  said = network_files.find(tmp_path / 'x.pth').assumed
  assert said.startswith(f'{tmp_path / "x.pth"} states neither') and "and relu_placement '" in said
  assert (
    "pooling, activation, BatchNorm's ε or strides, which are taken as in thin_resnet8 of kd_jax"
    in said
  )
  assert '--mean, --std and --relu_placement' in said and 'EMA' not in said
  given = {'mean': (0.1, 0.2, 0.3), 'std': (0.4, 0.5, 0.6), 'relu_placement': 'pool'}
  found = network_files.find(tmp_path / 'x.pth', unstated=given)
  assert found.trained.network.spec == spec._replace(**given)
  assert "mean 0.1 0.2 0.3, std 0.4 0.5 0.6 and relu_placement 'pool'" in found.assumed


def test_which_weights_of_a_pytorch_file(tmp_path):
  spec = NetworkSpec('thin_resnet8', 3, torch_specs.IMAGE_SHAPE)
  weights = tiny.variables(models.build(spec))
  raw, ema = (
    torch_names.to_torch(jax.tree.map(lambda leaf, f=f: f * leaf, weights), spec) for f in (1, 2)
  )
  (tmp_path / 'x.pth').write_bytes(pickles.saved({'state_dict': raw, 'state_dict_ema': ema}))
  for kind, factor, words in (
    ('raw', 1, 'the raw ones are taken'),
    ('ema', 2, 'the averages are taken'),
  ):
    found = network_files.find(tmp_path / 'x.pth', weights=kind)
    jax.tree.map(
      lambda x, y, f=factor: np.testing.assert_array_equal(x, f * y),
      found.trained.variables,
      weights,
    )
    assert (
      words in found.assumed.splitlines()[1]
      and '--weights=raw and --weights=ema choose' in found.assumed
    )


def test_what_states_itself_is_not_told(tmp_path, variables):
  torch_names.export_file(tmp_path / 'x.pth', variables, SPEC)
  save(tmp_path / 'mine', variables)
  mean = {'mean': (0.1,), 'std': (0.1,)}
  for path, given, what in (
    ('x.pth', {'unstated': {'relu_placement': 'pool'}}, 'relu_placement'),
    ('mine', {'unstated': mean}, 'mean'),
    ('mine', {'weights': 'ema'}, 'weights'),
  ):
    with pytest.raises(
      KdJaxError,
      match=f'{what} is for a PyTorch checkpoint that does not state it, and .*: leave it out',
    ):
      network_files.find(tmp_path / path, **given)
  with pytest.raises(KdJaxError, match='holds no moving average'):
    network_files.find(tmp_path / 'x.pth', weights='ema')


def test_kinds_that_are_not_read_are_named(tmp_path):
  (tmp_path / 'model.msgpack').write_bytes(b'\x81\xa6params\x80')
  with pytest.raises(KdJaxError, match='it is a file of msgpack'):
    network_files.find(tmp_path / 'model.msgpack')


def test_networks_that_a_path_could_mean_are_named(tmp_path, variables):
  run = workdir(tmp_path / 'begun', variables, 'teacher')
  with pytest.raises(
    KdJaxError, match=f'is not finished.* under its networks/, such as {run}/networks/teacher'
  ):
    network_files.find(run)
  runs = [
    {
      'row': row,
      'seed': 4,
      'finished': row != 'MKD',
      'config': {},
      'histories': {
        name: f'phases/{row}{name}/phases/{name}/history.csv' for name in ('teacher', 'student')
      },
    }
    for row in ('KD', 'KD', 'MKD')
  ]
  (tmp_path / 'study').mkdir()
  records.write_json(tmp_path / 'study' / 'study.json', {'runs': runs})
  place = tmp_path / 'study' / 'phases' / 'KDstudent'
  with pytest.raises(KdJaxError, match=rf'under its phases/, such as {place} \(KD, seed 4\)$'):
    network_files.find(tmp_path / 'study')


def test_what_is_none(tmp_path, variables):
  def refused(path, text):
    with pytest.raises(KdJaxError, match=text) as caught:
      network_files.find(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)

  refused(tmp_path / 'nosuch', 'does not exist')
  refused(tmp_path, 'holds no finished network of kd_jax')
  (tmp_path / 'x.txt').write_text('x')
  refused(tmp_path / 'x.txt', 'is no network')
  (tmp_path / 'x.pth').write_text('x')
  refused(tmp_path / 'x.pth', 'cannot be read as a PyTorch checkpoint')
  # its teacher is, but was not asked for
  refused(workdir(tmp_path / 'begun', variables, 'teacher'), 'is not finished')
  (tmp_path / 'study').mkdir()
  records.write_json(tmp_path / 'study' / 'study.json', {})
  refused(tmp_path / 'study', 'holds a study')
  for name in ('a', 'b'):
    save(tmp_path / 'two' / 'networks' / name, variables)
  refused(tmp_path / 'two', 'holds 2 networks; name one')
  save(tmp_path / 'damaged', variables)
  (tmp_path / 'damaged' / 'network.safetensors').write_bytes(b'')
  refused(tmp_path / 'damaged', 'is damaged')


@pytest.mark.parametrize('dtype', ['bfloat16', 'float64'])
def test_it_is_deployed_in_float32(dtype, variables):
  wide = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float64 if dtype == 'float64' else np.float32), variables
  )
  spec = SPEC._replace(compute_dtype=dtype)
  network = network_files.float32(network_files.Trained(models.build(spec), wide))
  assert network.network.spec == SPEC
  assert {leaf.dtype for leaf in jax.tree.leaves(network.variables)} == {np.dtype('float32')}
