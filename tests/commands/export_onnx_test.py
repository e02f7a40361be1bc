"""`kd-jax export --format=onnx`: what the file says of itself, and its int8 form."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pytest

from kd_jax import config as configuration
from kd_jax.commands import main
from kd_jax.data import sources
from kd_jax.deploy import classifier, formats, runners
from kd_jax.runs import run

DIGITS = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 50,
  'crop_padding': 2,
  'flip': False,
  'method': 'nokd',
  'student': 'thin_resnet8',
  'epochs': 1,
  'batch_size': 32,
}
PACKAGES = (*formats.FORMATS['onnx'].writer, *formats.FORMATS['onnx'].runtime)
INSTALLED = all(importlib.util.find_spec(package) for package in PACKAGES)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  run.run(configuration.resolve(configuration.default(**DIGITS)), folder, say=lambda line: None)
  return folder


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
  monkeypatch.setattr(runners, '_SECONDS', 0.01)


def call(capsys, *arguments):
  """Exit code, what was printed, and the error."""
  try:
    code = main.call('export', [str(argument) for argument in arguments])
  except SystemExit as exit:
    code = exit.code
  return code, *capsys.readouterr()


@pytest.mark.system
@pytest.mark.skipif(not INSTALLED, reason="pip install -e '.[onnx]'")
def test_int8_has_its_accuracy_and_size_in_the_card(workdir, tmp_path, capsys):
  code, out, error = call(capsys, workdir, '--format=onnx', '--int8', f'--out={tmp_path}')
  assert (code, error) == (0, '')
  assert {path.name for path in tmp_path.iterdir()} == {
    'student.onnx',
    'student.onnx.md',
    'student.onnx.json',
    'student.int8.onnx',
  }
  card = json.loads((tmp_path / 'student.onnx.json').read_text())
  text = (tmp_path / 'student.onnx.md').read_text()
  student, small = card['sizes'][:2]
  assert small['role'] == 'student, int8' and small['bytes'] < student['bytes'] / 2
  assert small['bytes'] == (tmp_path / 'student.int8.onnx').stat().st_size
  assert [timed['batch'] for timed in small['latency']] == [1, 128]
  int8 = card['int8']
  # The check had one of each class.
  assert card['check']['test_images'] == 10 and 'random and 10 test images' in out
  assert 'and 10 test images of its run' in text
  # Its images are those of the run's own row.
  assert int8['images'] == card['training']['test_examples'] == 50
  assert int8['float32_accuracy'] == pytest.approx(card['training']['test_accuracy'])
  assert int8['text'] in out and '## int8' in text and 'of 50 test images' in text
  # Without the card the file names its classes.
  shutil.move(tmp_path / 'student.onnx.json', tmp_path / 'elsewhere')
  test = sources.load('digits').test
  for file in ('student.onnx', 'student.int8.onnx'):
    network = classifier.load(tmp_path / file)
    assert network.classes == tuple('0123456789')
    assert network.logits(test.image[:3]).shape == (3, 10)


@pytest.mark.parametrize(
  ('arguments', 'text'),
  [
    (['--int8'], '--int8 is a form of --format=onnx, and the format is stablehlo'),
    (['--format=onnx', '--data_dir=x'], '--data_dir is for the accuracy of --int8'),
  ],
)
def test_mistakes(arguments, text, tmp_path, capsys):
  code, out, error = call(capsys, tmp_path, *arguments)
  assert code == 2 and text in error and error.count('\n') == 1 and not out
  assert not list(tmp_path.iterdir())
