"""The command `kd-jax export`, on a run that was really trained."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kd_jax import config as configuration
from kd_jax import models
from kd_jax.commands import main
from kd_jax.deploy import classifier, export, formats, runners
from kd_jax.files import hashes
from kd_jax.files.networks import save_network
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import specs as torch_specs
from kd_jax.pytorch import writer as torch_writer
from kd_jax.report.tables import interval
from kd_jax.runs import network_files, run
from kd_jax.types import NetworkSpec
from tests import forks, tiny

DIGITS = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 50,
  'crop_padding': 2,
  'flip': False,
  'student': 'thin_resnet8',
  'teacher': 'thin_resnet14',
  'epochs': 1,
  'batch_size': 32,
  'seed': 7,
}
SUFFIX = {name: each.suffixes[0] for name, each in formats.FORMATS.items()}
INSTALLED = {
  name: all(importlib.util.find_spec(package) for package in (*each.writer, *each.runtime))
  for name, each in formats.FORMATS.items()
}


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  run.run(configuration.resolve(configuration.default(**DIGITS)), folder, say=lambda line: None)
  return folder


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
  monkeypatch.setattr(runners, '_SECONDS', 0.01)


def skip_without(name):
  if not INSTALLED[name]:
    pytest.skip(f"what {name} needs is not installed: pip install -e '.[{name}]'")


def call(capsys, *arguments):
  """Exit code, what was printed, and the error."""
  try:
    code = main.call('export', [str(argument) for argument in arguments])
  except SystemExit as exit:
    code = exit.code
  return code, *capsys.readouterr()


@pytest.mark.parametrize('name', formats.FORMATS)
def test_a_run(name, workdir, tmp_path, capsys):
  """Files, card, and the card's own program on a real digit."""
  skip_without(name)
  code, out, error = call(capsys, workdir, f'--format={name}', f'--out={tmp_path}')
  assert (code, error) == (0, '')
  file = tmp_path / f'student{SUFFIX[name]}'
  also = [f'student{suffix}' for suffix in formats.FORMATS[name].suffixes[1:]]
  assert {path.name for path in tmp_path.iterdir()} == {
    file.name,
    f'{file.name}.md',
    f'{file.name}.json',
    *also,
  }
  card, text = (
    json.loads((tmp_path / f'{file.name}.json').read_text()),
    (tmp_path / f'{file.name}.md').read_text(),
  )
  row = network_files.find(workdir).row
  assert (
    card['training'] == row
    and card['classes'] == list('0123456789')
    and card['config']['seed'] == 7
  )
  assert (
    card['check']['probabilities'] <= 1e-5
    and card['check']['logits'] <= 1e-5
    and card['sha256'] == hashes.of_file(file)
  )
  student, teacher = card['sizes']
  assert (student['network'], student['parameters'], student['bytes']) == (
    'thin_resnet8',
    77754,
    file.stat().st_size,
  )
  assert (teacher['network'], teacher['parameters']) == ('thin_resnet14', 174970) and teacher[
    'bytes'
  ] > student['bytes']
  assert [timed['batch'] for timed in student['latency'] + teacher['latency']] == [1, 128] * 2
  assert all(
    timed['median_ms'] > 0 and timed['runs'] >= 5
    for timed in student['latency'] + teacher['latency']
  )
  assert (
    set(card['versions']) == {'training', 'export'}
    and card['versions']['training']['libraries']['jax']
  )
  accuracy = row['test_accuracy']
  between = interval(accuracy, 50, decimals=2)  # Wilson's
  for said in (
    'digits',
    'method kd',
    'thin_resnet14 (',
    'written',
    f'{100 * accuracy:.2f} ({between}, 95 %',
    '| seed | 7 |',
    'validation images',
    'one seed',
    'eval_examples',
    'calibrated',
    'threads',
    '77,754',
    'jax 0.',
  ):
    assert said in text, said
  assert (
    'thin_resnet8' in out and 'ms for 128 images' in out and 'threads' in out and str(file) in out
  )

  image, label = digit(tmp_path / 'picture.png')
  program = re.search('```python\n(.*?)```', text, re.DOTALL)[1]
  program += (
    "\nimport sys\nassert 'kd_jax' not in sys.modules\nprint(np.asarray(logits).ravel().tolist())"
  )
  ran = subprocess.run(
    [sys.executable, '-c', program], cwd=tmp_path, capture_output=True, text=True
  )
  assert ran.returncode == 0, ran.stderr
  said, logits = ran.stdout.splitlines()[-2:]
  expected = runners.in_jax(network_files.float32(network_files.find(workdir).trained)).run(image)[
    0
  ]
  np.testing.assert_allclose(json.loads(logits), expected, atol=1e-5)
  assert said == str(expected.argmax())


def digit(path):
  from kd_jax.data import sources

  test = sources.load('digits').test
  Image.fromarray(test.image[0, ..., 0]).save(path)
  return np.float32(test.image[:1]) / 255, test.label[0]


def test_teachers_of_one_network_keep_their_own_accuracies():
  rows = [
    {'name': name, 'role': role, 'student': network, 'test_accuracy': accuracy}
    for name, role, network, accuracy in (
      ('teacher1', 'teacher', 'resnet26', 0.91),
      ('teacher2', 'teacher', 'resnet26', 0.92),
      ('assistant', 'teacher', 'resnet20', 0.9),
      ('teacher3', 'teacher', 'resnet26', 0.93),
      ('boundary', 'stage', 'resnet26', 0.1),
    )
  ]
  named = export._accuracies(('resnet26', 'resnet20', 'resnet26', 'wrn16_1'), rows)
  assert [(one['network'], one['test_accuracy']) for one in named] == [
    ('resnet26', 0.92),
    ('resnet20', 0.9),
    ('resnet26', 0.93),
    ('wrn16_1', None),
  ]


def test_where_files_go(workdir, capsys, monkeypatch, tmp_path):
  code, out, _ = call(capsys, workdir / 'networks' / 'teacher')
  assert code == 0 and (workdir / 'networks' / 'teacher' / 'export' / 'teacher.stablehlo').exists()
  assert 'teacher: ' not in out  # a teacher has none
  found = network_files.find(workdir)
  torch_names.export_file(
    tmp_path / 'mine.pth', found.trained.variables, found.trained.network.spec
  )
  monkeypatch.chdir(tmp_path)
  code, _, _ = call(capsys, 'mine.pth', '--classes=' + ','.join('abcdefghij'))
  assert code == 0 and json.loads((tmp_path / 'export' / 'mine.stablehlo.json').read_text())[
    'classes'
  ] == list('abcdefghij')
  assert 'not known here' in (tmp_path / 'export' / 'mine.stablehlo.md').read_text()


def test_what_a_pytorch_file_does_not_state(tmp_path, capsys):
  spec = NetworkSpec('thin_resnet8', 4, torch_specs.IMAGE_SHAPE)
  torch_writer.write(
    tmp_path / 'bare.pth', torch_names.to_torch(tiny.variables(models.build(spec)), spec)
  )
  code, out, _ = call(
    capsys,
    tmp_path / 'bare.pth',
    f'--out={tmp_path}',
    '--mean=.5,.4,.3',
    '--std=.2,.25,.3',
    '--relu_placement=pool',
  )
  card = json.loads((tmp_path / 'bare.stablehlo.json').read_text())['network']
  assert code == 0 and "mean 0.5 0.4 0.3, std 0.2 0.25 0.3 and relu_placement 'pool'" in out
  assert (card['mean'], card['std'], card['relu_placement']) == (
    [0.5, 0.4, 0.3],
    [0.2, 0.25, 0.3],
    'pool',
  )


def test_the_choice_on_test_images_is_admitted(workdir, tmp_path, capsys):
  found = network_files.find(workdir)
  row = {**found.row, 'selection': 'test', 'teachers': []}
  spec = found.trained.network.spec._replace(compute_dtype='bfloat16')
  save_network(
    tmp_path / 'mine', spec, found.trained.variables, {'row': row, 'classes': found.classes}
  )
  assert call(capsys, tmp_path / 'mine')[0] == 0
  text = (tmp_path / 'mine' / 'export' / 'mine.stablehlo.md').read_text()
  assert 'optimistic' in text and 'evaluated in bfloat16; this file computes in float32' in text


def test_a_teacher_that_is_no_network_of_kd_jax_has_no_size(workdir, tmp_path, capsys):
  found = network_files.find(workdir)
  names = ['teacher.npz@762a9c108c34', 'not_there:network']
  spec, row = found.trained.network.spec, {**found.row, 'teachers': names}
  save_network(
    tmp_path / 'mine', spec, found.trained.variables, {'row': row, 'classes': found.classes}
  )
  assert call(capsys, tmp_path / 'mine')[0] == 0
  written = json.loads((tmp_path / 'mine' / 'export' / 'mine.stablehlo.json').read_text())
  assert [
    (size['network'], size['parameters'], size['bytes'], size['latency'])
    for size in written['sizes'][1:]
  ] == [(name, None, None, []) for name in names]
  assert (
    f'| teacher: {names[0]} | – | – |'
    in (tmp_path / 'mine' / 'export' / 'mine.stablehlo.md').read_text()
  )


def test_a_file_that_computes_something_else_is_not_kept(workdir, tmp_path, capsys, monkeypatch):
  written = formats.FORMATS['stablehlo']

  def wrong(trained, stem):
    trained.variables['params']['head']['bias'][3] += 1e-3
    written.write(trained, stem)
    trained.variables['params']['head']['bias'][3] -= 1e-3

  monkeypatch.setitem(formats.FORMATS, 'stablehlo', written._replace(write=wrong))
  out = tmp_path / 'new' / 'folder'
  code, _, error = call(capsys, workdir, f'--out={out}')
  assert code == 2 and re.fullmatch(
    r'kd-jax export: student\.stablehlo was not kept: its \w+ differ by .*\n', error
  )
  assert not list(tmp_path.iterdir())
  out.mkdir(parents=True)
  (out / 'student.stablehlo').write_text('an earlier one')
  assert call(capsys, workdir, f'--out={out}')[0] == 2
  assert [path.read_text() for path in out.iterdir()] == ['an earlier one']


@pytest.mark.parametrize(
  ('arguments', 'text'),
  [
    ('nosuch', 'nosuch does not exist or may not be read; give a workdir'),
    ('.', 'holds no finished network of kd_jax'),
    ('file.txt', 'file.txt is no network'),
    ('file.pth', 'cannot be read as a PyTorch checkpoint'),
    ('unfinished', 'is not finished'),
    ('damaged', 'is damaged'),
    ('RUN --format=tflite', "invalid choice: 'tflite'"),
    ('RUN --out=file.txt/x', 'file.txt/x cannot be written (Not a directory)'),
    ('RUN --out=file.txt', 'file.txt cannot be written (File exists)'),
    ('RUN --classes=a,b', '2 names of classes are given, and the network has 10 classes'),
    ('RUN --fromat=torch', 'unrecognized arguments: --fromat=torch'),
    ('', 'the following arguments are required: RUN'),
  ],
)
def test_mistakes(arguments, text, workdir, tmp_path, monkeypatch, capsys):
  for file in ('file.txt', 'file.pth', 'unfinished/config.json', 'damaged/kd_jax_network.json'):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text('{}')
  before = sorted(tmp_path.rglob('*'))
  monkeypatch.chdir(tmp_path)
  code, out, error = call(capsys, *arguments.replace('RUN', str(workdir)).split())
  assert (
    code == 2 and text in error and error.startswith('kd-jax export: ') and error.count('\n') == 1
  )
  assert not out and sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize(
  ('name', 'package'), [('torch', 'torch'), ('onnx', 'torch'), ('onnx', 'onnxruntime')]
)
def test_a_missing_runtime(name, package, workdir, capsys, monkeypatch):
  if name == 'onnx' and package == 'onnxruntime':
    skip_without('torch')  # which is asked for first
  for missing in (package, *(['onnx', 'onnxscript'] if package == 'onnxruntime' else [])):
    monkeypatch.setitem(sys.modules, missing, None)
  code, _, error = call(capsys, workdir, f'--format={name}')
  assert (
    code == 2
    and f"pip install -e '.[{name}]'" in error
    and 'is not installed' in error
    and error.count('\n') == 1
  )


def test_as_a_command(workdir, tmp_path):
  helped = forks.python('-m', 'kd_jax.export', '--help')
  assert helped.returncode == 0 and '{stablehlo,torch,onnx}' in helped.stdout
  wrong = forks.python('-m', 'kd_jax.export', tmp_path)
  assert wrong.returncode == 2 and wrong.stderr.count('\n') == 1 and not wrong.stdout


@pytest.mark.system
@pytest.mark.parametrize('name', formats.FORMATS)
def test_the_published_student_keeps_its_accuracy(name, pretrained_dir, data_dir, tmp_path, capsys):
  """ResNet8, distilled: 9,100 of the 10,000 test images of CIFAR-10 are right."""
  from kd_jax.data import sources

  skip_without(name)
  code, *_ = call(
    capsys,
    f'{pretrained_dir}/resnet8_cifar10_distilled.pth',
    f'--format={name}',
    f'--out={tmp_path}',
  )
  assert code == 0
  network = classifier.load(tmp_path / f'resnet8_cifar10_distilled{SUFFIX[name]}')
  test, right = sources.load('cifar10', data_dir=data_dir).test, 0
  for start in range(0, 10_000, 500):
    found = network.predict(test.image[start : start + 500])
    right += int((found == test.label[start : start + 500]).sum())
  assert right == 9100
