"""SimKD's student predicts by the teacher's classifier, on every way from training to a user."""

from __future__ import annotations

import json
import os
import signal

import jax
import numpy as np
import pytest

import kd_jax
import kd_jax.runs.training
from kd_jax import config as configuration
from kd_jax import models
from kd_jax.commands import main
from kd_jax.deploy import formats, runners
from kd_jax.deploy.export import export
from kd_jax.files import records, run_records
from kd_jax.methods import classifier
from kd_jax.methods.simkd import by_windows
from kd_jax.models import predicting, reach
from kd_jax.runs import inference, network_files, preparation
from kd_jax.runs import run as runs
from kd_jax.runs.evaluation import logits
from kd_jax.train import loop
from kd_jax.types import ConfigError, KdJaxError, NetworkSpec
from tests import own_code, tiny

TRAINED, BATCH = 64, 16
SMALL = 'simkd_nets:small'
# conv 3×3×1×4, norm, and a classifier of 4 × 10
BODY, HEAD = 9 * 4 + 8, 4 * 10 + 10
PROJECTOR = (4 * 2 + 4) + (9 * 2 * 2 + 4) + (2 * 4 + 8)


@pytest.fixture(scope='module', autouse=True)
def networks(tmp_path_factory):
  with own_code.importable(tmp_path_factory.mktemp('networks'), 'simkd_nets'):
    yield


def config(**changed):
  keys = {
    'dataset': 'digits',
    'validation_examples': 40,
    'train_examples': TRAINED,
    'eval_examples': 40,
    'crop_padding': 2,
    'flip': False,
    'student': SMALL,
    'teacher': SMALL,
    'epochs': 2,
    'teacher_epochs': 1,
    'batch_size': BATCH,
    'method': 'simkd',
    'baseline': False,
    'log_every': 1,
    **changed,
  }
  return configuration.resolve(configuration.default(**keys))


def trained(folder, **changed):
  with tiny.quick_compilation():
    return runs.run(config(**changed), folder, say=lambda line: None)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp('whole') / 'run'
  return trained(folder), folder


@pytest.fixture(scope='module')
def program(whole, tmp_path_factory):
  with tiny.quick_compilation(), pytest.MonkeyPatch.context() as patch:
    patch.setattr(runners, '_SECONDS', 0.01)
    out = tmp_path_factory.mktemp('export')
    return export(whole[1], 'stablehlo', out=out, say=lambda line: None)


@pytest.fixture(scope='module')
def test_images():
  with tiny.quick_compilation():
    return preparation.prepare(config()).parts.test


def by_hand(folder, part) -> np.ndarray:
  """The logits of the teacher's classifier, read from the teacher's own file."""
  student, variables = network_files.find(folder).trained
  head = network_files.find(folder / 'networks' / 'teacher').trained.variables['params']['head']
  body = {k: v for k, v in variables.items() if k != 'method'}
  image = part.source.image[part.index].astype(np.float32) / 255
  outputs = predicting.bare(student).module.apply(body, image, train=False)
  x, own = np.maximum(outputs.features[-1], 0), variables['method']
  for number in (1, 2, 3):
    kernel, norm = own['params'][f'conv{number}']['kernel'], own['params'][f'norm{number}']
    side, (height, width) = kernel.shape[0], x.shape[1:3]
    x = np.pad(x, ((0, 0), *[(side // 2,) * 2] * 2, (0, 0)))
    x = sum(
      x[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(side) for j in range(side)
    )
    kept = own['state'][f'norm{number}']
    x = (x - kept['mean']) / np.sqrt(kept['var'] + 1e-5) * norm['scale'] + norm['bias']
    x = np.maximum(x, 0)
  return x.mean((1, 2)) @ head['kernel'] + head['bias']


def test_the_saved_network_predicts_by_the_teachers_classifier(whole, test_images):
  rows, folder = whole
  expected = by_hand(folder, test_images)
  found = logits(network_files.find(folder).trained, test_images)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  label = test_images.source.label[test_images.index]
  assert (expected.argmax(-1) == label).mean() == pytest.approx(rows[-1]['test_accuracy'])


def test_validation_selects_by_the_same_predictions(whole):
  rows, folder = whole
  history = records.read_history(folder / 'phases/student/history.csv')
  with tiny.quick_compilation():
    found, lacking = inference.predict(run_records.read(folder), say=lambda line: None)
  split = found.splits['validation']
  right = (split.logits['student'].argmax(-1) == split.label).mean()
  assert not lacking and right == pytest.approx(rows[-1]['validation_accuracy'])
  assert right == pytest.approx(history[rows[-1]['best_epoch'] - 1]['validation_accuracy'])


def test_a_python_user_gets_the_same(whole, test_images):
  network = kd_jax.load_network(whole[1])
  image = test_images.source.image[test_images.index]
  np.testing.assert_allclose(
    network.logits(image), by_hand(whole[1], test_images), rtol=1e-4, atol=1e-5
  )
  assert network.parameters == BODY + PROJECTOR + HEAD


def test_the_parameters_are_those_of_body_projector_and_classifier(whole):
  """Its own classifier, which predicts nothing, does not count, and stays as it was drawn."""
  rows, folder = whole
  assert rows[-1]['parameters'] == BODY + PROJECTOR + HEAD
  assert rows[0]['parameters'] == BODY + HEAD  # the teacher's
  trained_head = network_files.find(folder).trained.variables['params']['head']
  assert not np.array_equal(trained_head['kernel'], by_teacher(folder)['kernel'])


def by_teacher(folder):
  return network_files.find(folder / 'networks' / 'teacher').trained.variables['params']['head']


def test_stablehlo_has_the_prediction(whole, program, test_images):
  image = test_images.source.image[test_images.index].astype(np.float32) / 255
  np.testing.assert_allclose(
    formats.load(program).run(image), by_hand(whole[1], test_images), rtol=1e-4, atol=1e-5
  )


def test_the_card_counts_the_projector(whole, program):
  card = program.with_name(f'{program.name}.md').read_text()
  described = json.loads(program.with_name(f'{program.name}.json').read_text())
  assert described['sizes'][0]['parameters'] == BODY + PROJECTOR + HEAD
  assert f'| {BODY + PROJECTOR + HEAD} |' in card and 'simkd' in card


def test_the_command_predict_takes_the_folder_and_the_file(whole, program, capsys):
  folder = whole[1]
  pictures = sorted(map(str, (folder / 'examples').glob('*.png')))
  printed = []
  for source in (folder, program):
    assert main.call('predict', [str(source), *pictures, '--format=json']) == 0
    found = json.loads(capsys.readouterr().out)
    printed.append([entry['classes'][0] for entry in found])
  for one, other in zip(*printed, strict=True):
    assert one['class'] == other['class']
    assert one['probability'] == pytest.approx(other['probability'], abs=1e-5)


@pytest.mark.parametrize('name', ['torch', 'onnx'])
def test_formats_that_have_the_network_alone_are_refused_in_a_line(whole, tmp_path, name):
  for package in formats.FORMATS[name].writer + formats.FORMATS[name].runtime:
    pytest.importorskip(package)
  with pytest.raises(KdJaxError, match='predicts through its method.*--format=stablehlo') as caught:
    export(whole[1], name, out=tmp_path, say=lambda line: None)
  assert '\n' not in str(caught.value) and not list(tmp_path.iterdir())


def test_interrupted_and_resumed_it_ends_with_the_same_bits(tmp_path, whole, monkeypatch):
  rows, _ = whole
  record = kd_jax.runs.training.Monitor.step

  def step(self, step, means, images):
    record(self, step, means, images)
    if step == TRAINED // BATCH + 1:  # the teacher has one epoch
      os.kill(os.getpid(), signal.SIGINT)

  monkeypatch.setattr(kd_jax.runs.training.Monitor, 'step', step)
  with pytest.raises(loop.Interrupted):
    trained(tmp_path / 'run')
  monkeypatch.undo()
  resumed = trained(tmp_path / 'run')
  for name in ('best_sha256', 'last_sha256', 'test_accuracy', 'test_accuracy_last'):
    assert resumed[-1][name] == rows[-1][name]


def test_it_teaches_by_its_predictions_but_lends_no_classifier(tmp_path, whole):
  """Its own classifier is not what it predicts by."""
  found = trained(tmp_path / 'kd', method='kd', teacher_checkpoint=str(whole[1]), epochs=1)
  assert found[0]['test_accuracy'] == pytest.approx(whole[0][-1]['test_accuracy'])
  for method in ('simkd', 'srrl'):
    with pytest.raises(ConfigError, match=f'{method} takes the teacher.*predicts otherwise'):
      trained(tmp_path / method, method=method, teacher_checkpoint=str(whole[1]), epochs=1)


# What the teacher's classifier sees ---------------------------------------------------------------


def of(name: str, side: int = 32, dtype: str = 'float32'):
  network = models.build(NetworkSpec(name, 10, (side, side, 3), compute_dtype=dtype))
  shapes = models.output_shapes(network)
  return network, shapes.features[-1].shape, shapes.embedding.shape[-1], 'simkd'


@pytest.mark.parametrize(
  ('network', 'windows'),
  [
    (('resnet26',), (2, 2)),
    (('resnet26', 32, 'bfloat16'), (2, 2)),
    (('resnet26', 16), (1, 1)),
    (('thin_resnet20',), (1, 1)),
    (('wrn16_2',), (1, 1)),
    (('resnet18_gn',), (1, 1)),
  ],
)
def test_the_windows_of_the_last_map(network, windows):
  assert classifier.windows(*of(*network)) == windows


# the last map of the last one is 10×10, of which it pools 8×8
@pytest.mark.parametrize('network', [('mobilenet_v2',), ('vit_tiny',), ('resnet26', 40)])
def test_a_classifier_that_sees_something_else_is_refused(network):
  with pytest.raises(ConfigError, match='sees something else: take a resnet or wrn') as caught:
    classifier.windows(*of(*network))
  assert '\n' not in str(caught.value)


def test_windows_of_two_by_two_go_to_the_classifier_in_its_order():
  """What ResNets of the paper predict is what their maps give."""
  network, *_ = of('resnet8')
  variables = tiny.variables(network)
  image = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)
  with tiny.quick_compilation():
    outputs = jax.jit(lambda v, x: network.module.apply(v, x, train=False))(variables, image)
  head = variables['params']['head']
  kernel = head['kernel'].reshape(2, 2, 64, 10)
  found = by_windows(np.maximum(outputs.features[-1], 0), {'kernel': kernel, 'bias': head['bias']})
  np.testing.assert_allclose(found, outputs.logits, rtol=1e-4, atol=1e-5)


def test_a_network_without_a_method_has_all_its_parameters():
  network, *_ = of('thin_resnet8')
  shapes = models.shapes(network)
  count = reach.count_deployed(models.Trained(network, shapes))
  assert count == models.count_parameters(shapes['params'])
