"""The command `kd-jax predict`, with a network folder and with an exported file."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from kd_jax import models, text
from kd_jax.commands import main
from kd_jax.data import pictures
from kd_jax.deploy import export, formats, predict, runners
from kd_jax.files.networks import save_network
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import specs as torch_specs
from kd_jax.pytorch import writer as torch_writer
from kd_jax.runs import network_files
from kd_jax.types import NetworkSpec, Trained
from tests import forks, tiny
from tests.deploy.formats_test import skip_without

SPEC = NetworkSpec('thin_resnet8', 4, (8, 8, 3), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
CLASSES = ('cat', 'dog', 'tawny owl', 'Überläufer')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A network under run/networks/student, and images/: three of its size, one of another in grey,
  and a text.
  """
  top = tmp_path_factory.mktemp('predict')
  variables = tiny.variables(models.build(SPEC))
  save_network(top / 'run' / 'networks' / 'student', SPEC, variables, {'classes': CLASSES})
  draw = np.random.default_rng(0)
  (top / 'images').mkdir()
  for number in range(3):
    Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(
      top / 'images' / f'{number}.png'
    )
  Image.fromarray(draw.integers(0, 256, (20, 30), np.uint8)).save(top / 'images' / 'grey.jpg')
  (top / 'images' / 'notes.txt').write_text('no image')
  return top


@pytest.fixture(scope='module')
def expected(folder):
  """{file's name: probabilities f64[K]}."""
  found = network_files.find(folder / 'run')
  paths = sorted(path for path in (folder / 'images').iterdir() if path.suffix != '.txt')
  images = np.stack([pictures.read(path, SPEC.image_shape) for path in paths])
  return dict(
    zip(
      [path.name for path in paths],
      runners.softmax(runners.in_jax(found.trained).run(np.float32(images) / 255)),
      strict=True,
    )
  )


@pytest.fixture(scope='module')
def exported(folder):
  """Writes the network in a format, once, with its card."""

  def make(name):
    skip_without(name)
    path = folder / 'exported' / f'student{formats.FORMATS[name].suffixes[0]}'
    return (
      path
      if path.exists()
      else export.export(folder / 'run', name, out=folder / 'exported', say=lambda line: None)
    )

  return make


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
  monkeypatch.setattr(runners, '_SECONDS', 0.01)


def call(capsys, *arguments):
  """Exit code, what was printed, and the error."""
  try:
    code = main.call('predict', [str(argument) for argument in arguments])
  except SystemExit as exit:
    code = exit.code
  return code, *capsys.readouterr()


def is_right(printed, expected, *, top):
  """Whether JSON holds the `top` classes of each image, in order."""
  found = {entry['image'].rpartition('/')[2]: entry['classes'] for entry in json.loads(printed)}
  assert list(found) == list(expected)
  for name, classes in found.items():
    order = np.argsort(-expected[name])[:top]
    assert [each['class'] for each in classes] == [CLASSES[place] for place in order]
    np.testing.assert_allclose(
      [each['probability'] for each in classes], expected[name][order], atol=1e-5
    )


@pytest.mark.parametrize('what', ['run', 'run/networks/student', *formats.FORMATS])
def test_all_forms_of_a_network_say_the_same(what, folder, expected, exported, capsys):
  network = exported(what) if what in formats.FORMATS else folder / what
  code, out, error = call(capsys, network, folder / 'images', '--format=json', '--top=4')
  assert (code, error) == (0, '')
  is_right(out, expected, top=4)


def test_text(folder, expected, capsys):
  code, out, _ = call(
    capsys, folder / 'run', folder / 'images' / '1.png', folder / 'images' / 'grey.jpg', '--top=2'
  )
  lines = out.splitlines()
  assert code == 0 and len(lines) == 2
  for line, name in zip(lines, ('1.png', 'grey.jpg'), strict=True):
    first, second = np.argsort(-expected[name])[:2]
    assert line.split('  ', 1)[0] == str(folder / 'images' / name)
    percent = 100 * expected[name]
    assert line.endswith(
      f'  {CLASSES[first]} {percent[first]:.1f} %,  {CLASSES[second]} {percent[second]:.1f} %'
    )


def test_names_of_files_are_printed_whatever_their_bytes(folder, tmp_path, monkeypatch):
  path = os.fsencode(tmp_path) + b'/\xff\xfe.png'
  shutil.copy(folder / 'images' / '1.png', path)
  monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BytesIO(), encoding='utf-8'))
  assert main.call('predict', [str(folder / 'run'), os.fsdecode(path)]) == 0
  sys.stdout.flush()
  assert sys.stdout.buffer.getvalue().startswith(path)


def test_csv(folder, expected, capsys):
  _, out, _ = call(capsys, folder / 'run', folder / 'images', '--format=csv')
  rows = list(csv.DictReader(io.StringIO(out)))
  assert len(rows) == 4 * 3 and [row['rank'] for row in rows] == ['1', '2', '3'] * 4
  for row in rows:
    name = row['image'].rpartition('/')[2]
    assert float(row['probability']) == pytest.approx(
      expected[name][CLASSES.index(row['class'])], abs=1e-6
    )


def test_many_images_go_in_batches(folder, expected, capsys, monkeypatch):
  monkeypatch.setattr(predict, '_BATCH', 3)
  monkeypatch.setattr(text, 'EVERY', 0.0)
  code, out, error = call(capsys, folder / 'run', folder / 'images', '--format=json', '--top=1')
  is_right(out, expected, top=1)
  assert code == 0 and [line.partition(', about')[0] for line in error.splitlines()] == [
    'images: 3 of 4',
    'images: 4 of 4',
  ]


def test_without_its_card_a_file_has_numbers_for_classes(folder, exported, tmp_path, capsys):
  (tmp_path / 'x.stablehlo').write_bytes(exported('stablehlo').read_bytes())
  code, out, _ = call(
    capsys, tmp_path / 'x.stablehlo', folder / 'images', '--format=csv', '--top=4'
  )
  assert code == 0 and {row['class'] for row in csv.DictReader(io.StringIO(out))} == set('0123')


def test_a_card_of_another_file_is_noticed(folder, exported, tmp_path, capsys):
  path = exported('stablehlo')
  other = Trained(models.build(SPEC), tiny.variables(models.build(SPEC), seed=1))
  formats.write(other, 'stablehlo', tmp_path / 'student')
  (tmp_path / 'student.stablehlo.json').write_text(
    path.with_name('student.stablehlo.json').read_text()
  )
  code, out, error = call(capsys, tmp_path / 'student.stablehlo', folder / 'images')
  assert (
    code == 2
    and not out
    and 'is not the file that student.stablehlo.json beside it describes' in error
  )


def test_what_a_pytorch_file_does_not_state(folder, tmp_path, capsys):
  spec = NetworkSpec(
    'thin_resnet8', 4, torch_specs.IMAGE_SHAPE, 'stage', (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
  )
  variables = tiny.variables(models.build(spec))
  torch_writer.write(tmp_path / 'bare.pth', torch_names.to_torch(variables, spec))
  torch_names.export_file(tmp_path / 'whole.pth', variables, spec)
  given = ('--mean=(.5, .4, .3)', '--std=.2,.25,.3', '--relu_placement=stage')
  code, right, _ = call(capsys, tmp_path / 'whole.pth', folder / 'images', '--format=csv')
  assert code == 0
  code, out, error = call(capsys, tmp_path / 'bare.pth', folder / 'images', '--format=csv', *given)
  assert (code, out) == (
    0,
    right,
  ) and "mean 0.5 0.4 0.3, std 0.2 0.25 0.3 and relu_placement 'stage'" in error
  code, out, _ = call(capsys, tmp_path / 'bare.pth', folder / 'images', '--format=csv')
  assert code == 0 and out != right
  code, _, error = call(capsys, tmp_path / 'whole.pth', folder / 'images', *given)
  assert (
    code == 2
    and 'mean is for a PyTorch checkpoint that does not state it' in error
    and error.count('\n') == 1
  )


def test_nor_has_a_program_anything_left_to_state(folder, exported, capsys):
  code, _, error = call(capsys, exported('stablehlo'), folder / 'images', '--relu_placement=stage')
  assert code == 2 and 'relu_placement is for a .pth that does not state it' in error


@pytest.mark.parametrize(
  ('arguments', 'text'),
  [
    ('run images --mean=.5,.5,.5', 'mean and std go together'),
    (
      'run images --mean=x --std=1',
      "argument --mean: numbers with commas between them, such as 0.5,0.5,0.5, not 'x'",
    ),
    (
      'run images --mean=nan --std=1',
      "argument --mean: numbers with commas between them, such as 0.5,0.5,0.5, not 'nan'",
    ),
    ('run images --mean=.5 --std=0', 'std holds 0; standard deviations are greater than 0'),
    ('run images --relu_placement=nowhere', "invalid choice: 'nowhere'"),
    ('run images --weights=ema', 'weights is for a PyTorch checkpoint'),
    ('nosuch.onnx images', 'kd-jax export RUN --format=onnx writes one into RUN/export'),
    ('nosuch images', 'nosuch does not exist or may not be read; give a workdir'),
    ('nosuch.onnx images', 'nosuch.onnx does not exist'),
    ('images images', 'holds no finished network'),
    ('images/0.png images', '0.png is no network'),
    ('bad.stablehlo images', 'bad.stablehlo cannot be read as stablehlo'),
    ('run nosuch.png', 'nosuch.png does not exist'),
    ('run run', 'run holds no image'),
    (
      'run images/notes.txt',
      'notes.txt is no image that can be read (of no kind that Pillow knows)',
    ),
    ('run images/notes.txt --format=csv', 'notes.txt is no image'),
    ('run images --top=0', '--top: at least 1, not 0'),
    ('run images --top=many', "invalid whole_number value: 'many'"),
    ('run images --format=xml', "invalid choice: 'xml'"),
    ('run', 'the following arguments are required: IMAGES'),
  ],
)
def test_mistakes(arguments, text, folder, monkeypatch, capsys):
  monkeypatch.chdir(folder)
  (folder / 'bad.stablehlo').write_bytes(b'not a network')
  code, out, error = call(capsys, *arguments.split())
  assert (
    code == 2
    and text in error
    and error.startswith('kd-jax predict: ')
    and error.count('\n') == 1
    and not out
  )


def test_as_a_command(folder):
  command = [sys.executable, '-m', 'kd_jax.predict']
  helped = forks.python(*command[1:], '--help')
  assert helped.returncode == 0 and 'RUN_OR_FILE' in helped.stdout
  ran = forks.python(*command[1:], 'run', 'images', '--top=1', cwd=folder)
  assert ran.returncode == 0 and len(ran.stdout.splitlines()) == 4 and not ran.stderr
  piped = subprocess.run(
    f'{" ".join(command)} run images | true', shell=True, capture_output=True, text=True, cwd=folder
  )
  assert not piped.stderr
