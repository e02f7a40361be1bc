from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from kd_jax import config as configuration
from kd_jax import models
from kd_jax.files.networks import save_network
from kd_jax.models import predicting
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import writer as torch_writer
from kd_jax.runs import teachers
from kd_jax.types import KdJaxError, NetworkSpec
from tests import pickles, tiny
from tests.knowing import knowing

SPEC = NetworkSpec('thin_resnet8', 10, (16, 16, 1), 'stage', (0.3,), (0.4,))
# What a run on the digits asks for; normalisation and ReLUs are the file's own.
WANTED = SPEC._replace(relu_placement='block', mean=(0.1,), std=(0.2,), compute_dtype='bfloat16')


def config(*paths, method='kd', **changed):
  given = {
    'dataset': 'digits',
    'teacher': 'thin_resnet8',
    'method': method,
    'teacher_checkpoint': ','.join(map(str, paths)),
  }
  return configuration.resolve(configuration.default(**given | changed))


@pytest.fixture(scope='module')
def variables():
  return tiny.variables(models.build(SPEC))


@pytest.fixture(scope='module')
def workdir(tmp_path_factory, variables):
  folder = tmp_path_factory.mktemp('workdir')
  for phase, factor in (('student', 1), ('teacher', 2)):
    network = jax.tree.map(lambda leaf, factor=factor: factor * leaf, variables)
    save_network(folder / 'networks' / phase, SPEC, network, {})
  return folder


def assert_is(trained, variables, factor=1):
  """The weights as they are, in the file's own form, computing as the run does."""
  assert trained.network.spec == SPEC._replace(compute_dtype='bfloat16')
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(np.asarray(x), factor * y),
    trained.variables,
    variables,
  )


def test_none():
  assert teachers.load(config(), WANTED) == {}


def test_the_student_of_a_workdir(workdir, variables):
  loaded = teachers.load(config(workdir), WANTED)
  assert list(loaded) == ['teacher']
  assert_is(loaded['teacher'], variables)


def test_any_network_of_a_workdir(workdir, variables):
  assert_is(
    teachers.load(config(workdir / 'networks' / 'teacher'), WANTED)['teacher'], variables, 2
  )


def test_home_is_understood(workdir, variables, monkeypatch):
  monkeypatch.setenv('HOME', str(workdir.parent))
  assert_is(teachers.load(config(f'~/{workdir.name}'), WANTED)['teacher'], variables)


def test_a_pytorch_file(tmp_path, variables):
  torch_names.export_file(tmp_path / 'network.pth', variables, SPEC)
  assert_is(teachers.load(config(tmp_path / 'network.pth'), WANTED)['teacher'], variables)


class TestOfAFileThatStatesNothing:
  @pytest.fixture
  def path(self, tmp_path, variables):
    torch_writer.write(tmp_path / 'bare.pth', torch_names.to_torch(variables, SPEC))
    return tmp_path / 'bare.pth'

  def test_the_configuration_does(self, path, variables):
    given = config(path, teacher_mean=(0.3,), teacher_std=(0.4,), teacher_relu_placement='stage')
    assert_is(teachers.load(given, WANTED)['teacher'], variables)

  def test_the_rest_is_guessed(self, path):
    spec = teachers.load(config(path, teacher_relu_placement='pool'), WANTED)[
      'teacher'
    ].network.spec
    assert (spec.relu_placement, spec.mean, spec.std) == ('pool', (), ())
    spec = teachers.load(config(path, teacher_mean=(0.3,), teacher_std=(0.4,)), WANTED)[
      'teacher'
    ].network.spec
    assert (spec.relu_placement, spec.mean, spec.std) == ('block', (0.3,), (0.4,))

  def test_a_value_a_channel(self, path):
    with pytest.raises(
      KdJaxError, match='teacher_mean has values for 3 teachers, and teacher_checkpoint names 1'
    ):
      teachers.load(config(path, teacher_mean=(0.3,) * 3, teacher_std=(0.4,) * 3), WANTED)
    with pytest.raises(
      KdJaxError, match='teacher_mean has 2 values, and the images have 3 channels'
    ):
      colour = WANTED._replace(image_shape=(16, 16, 3))
      teachers.load(config(path, teacher_mean=(0.3,) * 2, teacher_std=(0.4,) * 2), colour)

  def test_others_state_it_themselves(self, workdir, tmp_path, variables):
    given = {'teacher_mean': (0.3,), 'teacher_std': (0.4,)}
    torch_names.export_file(tmp_path / 'network.pth', variables, SPEC)
    for paths in ([workdir], [tmp_path / 'network.pth'], [tmp_path / 'network.pth', workdir]):
      with pytest.raises(
        KdJaxError,
        match='teacher_mean is for a .pth that does not state it, and .* is none: take it out',
      ):
        teachers.load(config(*paths, method='mkd', **given), WANTED)

  def test_beside_others_it_alone_is_told(self, path, workdir, variables):
    given = config(workdir, path, method='mkd', teacher_mean=(0.7,), teacher_std=(0.8,))
    loaded = teachers.load(given, WANTED)
    assert_is(loaded['teacher1'], variables)
    assert loaded['teacher2'].network.spec.mean == (0.7,)


class TestOfAFileOfRawAndAveragedWeights:
  @pytest.fixture
  def path(self, tmp_path, variables):
    raw, ema = (
      torch_names.to_torch(jax.tree.map(lambda leaf, f=f: f * leaf, variables), SPEC)
      for f in (1, 2)
    )
    (tmp_path / 'both.pth').write_bytes(
      pickles.saved({'state_dict': raw, 'state_dict_ema': ema, 'best_acc': 93.5})
    )
    return tmp_path / 'both.pth'

  def test_a_key_chooses(self, path, variables):
    known = {'teacher_mean': (0.3,), 'teacher_std': (0.4,), 'teacher_relu_placement': 'stage'}
    assert_is(teachers.load(config(path, **known), WANTED)['teacher'], variables)
    assert_is(
      teachers.load(config(path, teacher_weights='ema', **known), WANTED)['teacher'], variables, 2
    )

  def test_origins_and_facts(self, path, workdir):
    assert teachers.origins(config(workdir, path, method='mkd')) == {
      'teacher1': (workdir, 'names', 'raw'),
      'teacher2': (path, 'names', 'raw'),
    }
    assert teachers.origins(config()) == {}
    assert teachers.facts(path) == (False, 0.935, ('raw', 'ema'), '')
    assert teachers.facts(workdir) is None

  def test_there_have_to_be_some(self, workdir, tmp_path, variables):
    torch_names.export_file(tmp_path / 'network.pth', variables, SPEC)
    for place in (workdir, tmp_path / 'network.pth'):
      with pytest.raises(
        KdJaxError,
        match="teacher_weights is 'ema', and .* holds no moving averages .EMA. of weights: take it out",
      ):
        teachers.load(config(place, teacher_weights='ema'), WANTED)
    with pytest.raises(KdJaxError, match='nosuch.pth does not exist'):
      teachers.load(config(tmp_path / 'nosuch.pth', teacher_weights='ema'), WANTED)


class TestFittedToTrainingImages:
  TRUE = NetworkSpec('wrn10_1', 10, (16, 16, 1), 'block', (0.5,), (0.5,))

  @pytest.fixture
  def made(self, tmp_path):
    weights, part = knowing(self.TRUE)
    torch_writer.write(tmp_path / 'bare.pth', torch_names.to_torch(weights, self.TRUE))
    return tmp_path / 'bare.pth', part

  def test_only_where_it_is_asked_for(self, made):
    path, part = made
    wanted = self.TRUE._replace(mean=(0.1,), std=(0.2,))
    assert (
      teachers.load(config(path, teacher='wrn10_1'), wanted, training=part)[
        'teacher'
      ].network.spec.mean
      == ()
    )
    fitted = teachers.load(
      config(path, teacher='wrn10_1', teacher_guess='fit'), wanted, training=part
    )['teacher']
    assert fitted.network.spec == self.TRUE

  def test_not_what_states_itself(self, workdir):
    with pytest.raises(
      KdJaxError,
      match='teacher_guess is for a .pth that does not state it, and .* is none: take it out',
    ):
      teachers.load(config(workdir, teacher_guess='fit'), WANTED)


def test_a_missing_program_s_neighbours_are_named(tmp_path):
  with pytest.raises(
    KdJaxError,
    match='x.onnx does not exist or may not be read; give a workdir, .* .stablehlo or .npz file',
  ):
    teachers.load(config(tmp_path / 'x.onnx'), WANTED)
  (tmp_path / 'export').mkdir()
  (tmp_path / 'export' / 'student.stablehlo').write_bytes(b'')
  with pytest.raises(
    KdJaxError,
    match='x.stablehlo does not exist or may not be read; there is .*/export/student.stablehlo; or',
  ):
    teachers.load(config(tmp_path / 'x.stablehlo'), WANTED)


def test_a_workdir_s_other_networks_are_named(workdir):
  with pytest.raises(
    KdJaxError,
    match='a workdir means its student, and .*networks/student, .*networks/teacher are there by name;',
  ):
    teachers.load(config(workdir, teacher='thin_resnet14'), WANTED)


def test_several_teachers(workdir, variables):
  loaded = teachers.load(config(workdir, workdir / 'networks' / 'teacher', method='mkd'), WANTED)
  assert list(loaded) == ['teacher1', 'teacher2']
  assert_is(loaded['teacher1'], variables)
  assert_is(loaded['teacher2'], variables, 2)


def test_more_than_the_method_takes(workdir):
  with pytest.raises(
    KdJaxError, match="names 2 networks, and the method 'kd' learns from 1; name fewer"
  ):
    teachers.load(config(workdir, workdir), WANTED)


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    ({'classes': 7}, 'is for classes: 10, and this run needs 7'),
    (
      {'image_shape': (16, 16, 3)},
      'takes images of 1 channels, and these have 3; choose another file',
    ),
  ],
)
def test_another_network_than_the_run_needs(workdir, changed, said):
  with pytest.raises(KdJaxError, match=said):
    teachers.load(config(workdir), WANTED._replace(**changed))


def test_another_architecture_than_the_run_needs(workdir):
  with pytest.raises(KdJaxError, match='is a thin_resnet8, and this run needs thin_resnet14'):
    teachers.load(config(workdir, teacher='thin_resnet14'), WANTED)


def test_another_network_in_a_pytorch_file(tmp_path, variables):
  torch_names.export_file(tmp_path / 'network.pth', variables, SPEC)
  with pytest.raises(
    KdJaxError, match='cannot be imported: it holds .*thin_resnet8.* not thin_resnet14'
  ):
    teachers.load(config(tmp_path / 'network.pth', teacher='thin_resnet14'), WANTED)


@pytest.mark.parametrize(
  ('known', 'order'), [('AB', ()), ('ba', (1, 0)), ('Ba', (1, 0)), ('bc', ()), ('', ())]
)
def test_the_same_classes_in_another_order(tmp_path, variables, known, order):
  two = SPEC._replace(classes=2)
  save_network(tmp_path / 'teacher', two, tiny.variables(models.build(two)), {'classes': [*known]})
  network, _ = teachers.load(
    config(tmp_path / 'teacher'), WANTED._replace(classes=2), classes=['a', 'b']
  )['teacher']
  around = predicting.adaptation(network)
  assert (around.order if around else ()) == order


def test_a_programs_classes_in_another_order(tmp_path):
  program = tmp_path / 'teacher.stablehlo'
  with jax.enable_x64(False):
    function = jax.export.export(jax.jit(lambda image: image[:, 0, :2, 0]))(
      jax.ShapeDtypeStruct(jax.export.symbolic_shape('b, 16, 16, 1'), np.float32)
    )
  program.write_bytes(function.serialize())
  sha256 = hashlib.sha256(program.read_bytes()).hexdigest()
  described = {'classes': ['b', 'a'], 'sha256': sha256}
  program.with_name('teacher.stablehlo.json').write_text(json.dumps(described))
  network, weights = teachers.load(config(program), WANTED._replace(classes=2), classes=['a', 'b'])[
    'teacher'
  ]
  image = np.random.default_rng(0).random((3, 16, 16, 1), np.float32)
  logits = network.module.apply(weights, image, train=False).logits
  np.testing.assert_array_equal(logits, image[:, 0, 1::-1, 0])


def test_classes_that_differ_in_capitals_alone(tmp_path, variables):
  spec = SPEC._replace(classes=4)
  network = tiny.variables(models.build(spec))
  save_network(tmp_path / 'teacher', spec, network, {'classes': list('aAbB')})
  given, wanted = config(tmp_path / 'teacher'), WANTED._replace(classes=4)
  assert teachers.load(given, wanted, classes=list('aAbB')) and teachers.load(
    given, wanted, classes=list('cdef')
  )
  network, _ = teachers.load(given, wanted, classes=list('AabB'))['teacher']
  assert predicting.adaptation(network).order == (1, 0, 2, 3)


def test_a_program_that_is_not_the_described_one(tmp_path):
  (tmp_path / 'teacher.stablehlo').write_bytes(b'none')
  (tmp_path / 'teacher.stablehlo.json').write_text('{"classes": [], "sha256": ""}')
  with pytest.raises(
    KdJaxError, match='is not the file that teacher.stablehlo.json beside it describes'
  ):
    teachers.load(config(tmp_path / 'teacher.stablehlo'), WANTED)


def test_nothing_there(tmp_path):
  with pytest.raises(KdJaxError, match='nosuch does not exist or may not be read; give a workdir'):
    teachers.load(config(tmp_path / 'nosuch'), WANTED)


def test_a_run_that_is_not_finished(tmp_path):
  (tmp_path / 'networks' / 'teacher').mkdir(parents=True)
  with pytest.raises(KdJaxError, match='holds no finished network'):
    teachers.load(config(tmp_path), WANTED)


def test_no_network_at_all(tmp_path):
  path = tmp_path / 'notes.pth'
  path.write_text('not weights')
  with pytest.raises(KdJaxError, match='notes.pth.* cannot be read as a PyTorch checkpoint'):
    teachers.load(config(path), WANTED)


def test_a_published_network(pretrained_dir):
  """It brings the ReLU placement and normalisation that it was trained with."""
  wanted = NetworkSpec('resnet8', 10, (32, 32, 3), 'block', (0.5,) * 3, (0.5,) * 3)
  path = Path(pretrained_dir) / 'resnet8_cifar10.pth'
  spec = teachers.load(config(path, teacher='resnet8'), wanted)['teacher'].network.spec
  assert spec == wanted._replace(
    relu_placement='stage', mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)
  )
  with pytest.raises(KdJaxError, match='resnet8_cifar10.pth.* cannot be imported'):
    teachers.load(config(path, teacher='resnet26'), wanted)
