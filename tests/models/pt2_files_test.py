"""A .pt2 of a stranger: each way by which torch would run code of it is refused before it does."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kd_jax.models import programs, pt2_files
from kd_jax.types import FileError
from tests.pickles import call, text

MKDIR = "__import__('os').mkdir('hacked')"
SYMBOL = "Symbol('s77', positive=True, integer=True)"


def program(**changed) -> dict:
  """What a file's models/model.json is like."""
  node = {'target': 'torch.ops.aten.relu.default', 'metadata': {'stack_trace': 'x.py, line 3'}}
  sizes = [{'as_expr': {'expr_str': SYMBOL, 'hint': None}}, {'as_int': 3}]
  whole = {'graph': {'nodes': [node | {'name': 'relu'}]}, 'sizes': sizes, 'guards_code': []}
  return whole | changed


def weights(**changed) -> dict:
  return {'config': {'w': {'path_name': 'weight_0', 'use_pickle': False} | changed}}


def write(path: Path, *entries: tuple[str, bytes], how: int = 0, **changed) -> Path:
  described = changed.pop('weights', weights())
  with zipfile.ZipFile(path, 'w', how) as archive:
    archive.writestr('net/models/model.json', json.dumps(program(**changed)))
    archive.writestr('net/data/weights/model_weights_config.json', json.dumps(described))
    archive.writestr('net/data/weights/weight_0', bytes(24))
    for name, content in entries:
      archive.writestr(f'net/{name}', content)
  return path


GOOD = (
  '2',
  SYMBOL,
  f'4*{SYMBOL}**2 + 1',
  'Mul(Integer(2), s77)',
  'FloorDiv(s77 - 3, 2) + 1',
  'Eq(Mod(s77, 2), 0) & (s77 > 1)'.replace('&', 'and'),
  "L['args'][0].size()[1] == 3",
)
EVIL = (
  MKDIR,
  f'Symbol({MKDIR!r}) + Integer({MKDIR!r})',
  f"Integer('{'1' * 9}')",
  "'s'*999999999",
  'Symbol.mro()',
  'os.mkdir(s77)',
  '(lambda: 1)()',
  'eval(s77)',
  '9**9',
  '((s77**8)**8)**8',
  's77**s77',
  '1 << 99999999999',
  '[1]*99999999999',
  's77 for s77 in s77',
  '1 +',
  '(' * 500,
  '1' * 2000,
  3,
)


def test_what_torch_writes_is_taken(tmp_path):
  for number, expression in enumerate(GOOD):
    sizes = [{'as_expr': {'expr_str': expression}}]
    plain = ('data/sample_inputs/model.pt', b''), ('archive_version', b'0'), ('extra/note', b'')
    pt2_files.checked(write(tmp_path / f'{number}.pt2', *plain, sizes=sizes))
    pt2_files.checked(write(tmp_path / f'{number}.pt2', guards_code=[expression]))


@pytest.mark.parametrize('expression', EVIL, ids=lambda text: str(text)[:20])
def test_what_would_be_evaluated_is_arithmetic(tmp_path, expression):
  for changed in ({'sizes': [{'expr_str': expression}]}, {'guards_code': [expression]}):
    with pytest.raises(FileError, match='which is no arithmetic: such a file could run any code'):
      pt2_files.checked(write(tmp_path / 'x.pt2', **changed))


@pytest.mark.parametrize(
  'name',
  [
    *('torch.os.system', 'torch.load', 'torch.hub.load', 'torch.ops.load_library'),
    *('torch.ops.aten.__class__.mro', 'torch.ops.__init__.x', 'torch.ops.aten.relu.default.x'),
    *('_operator.call', '_operator.attrgetter', '_operator.methodcaller', 'os.system'),
  ],
)
def test_an_operator_is_one_of_torchs(tmp_path, name):
  graph = {'nodes': [{'target': name}]}
  with pytest.raises(FileError, match='which is no operator'):
    pt2_files.checked(write(tmp_path / 'x.pt2', graph=graph))


@pytest.mark.filterwarnings('ignore:Duplicate name')
@pytest.mark.parametrize(
  ('entry', 'more', 'said'),
  [
    (('data/aotinductor/model/x.so', b''), {}, "holds 'net/data/aotinductor/model/x.so'"),
    (('data/constants/custom_obj_0', b''), {}, 'holds .*custom_obj_0'),
    (('data/constants/opaque_obj_0', b''), {}, 'holds .*opaque_obj_0'),
    (('models/../../x', b''), {}, 'no array and no program'),
    (('archive_version', b'0'), {'weights': weights(use_pickle=True)}, 'holds a pickle'),
    (('models/model.json', b'{}'), {}, 'holds two entries of one name'),
    (('archive_version', b'0'), {'weights': weights(path_name='../x')}, "holds '../x'"),
    (('archive_version', b'0' * 99), {'how': zipfile.ZIP_DEFLATED}, 'no array and no program'),
  ],
  ids=['native', 'custom', 'opaque', 'elsewhere', 'pickle', 'twice', 'path', 'compressed'],
)
def test_an_entry_is_an_array_or_the_program(tmp_path, entry, more, said):
  with pytest.raises(FileError, match=said):
    pt2_files.checked(write(tmp_path / 'x.pt2', entry, **more))


def test_torch_load_reads_arrays_alone_meanwhile(monkeypatch):
  name = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
  monkeypatch.delenv(name, raising=False)
  with pt2_files.no_pickles():
    assert os.environ[name] == '1'
  assert name not in os.environ
  monkeypatch.setenv(name, '0')
  with pt2_files.no_pickles():
    assert os.environ[name] == '1'
  assert os.environ[name] == '0'


# With torch ---------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def sound(tmp_path_factory):
  """The entries of a program that torch has written."""
  torch = pytest.importorskip('torch')

  class Net(torch.nn.Module):
    def forward(self, image):
      return image.mean((2, 3)) * 2, image.sum((1, 2, 3))[:, None]

  path = tmp_path_factory.mktemp('pt2') / 'x.pt2'
  sizes = ({0: torch.export.Dim('batch')},)
  shown = (torch.zeros(2, 3, 4, 4),)
  torch.export.save(torch.export.export(Net(), shown, dynamic_shapes=sizes), path)
  with zipfile.ZipFile(path) as archive:
    return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def hostile(sound, path: Path, *, of: str, change) -> Path:
  """The program with one entry changed."""
  with zipfile.ZipFile(path, 'w') as archive:
    for name, content in sound.items():
      archive.writestr(name, change(content) if name.endswith(of) else content)
  return path


def code(folder: Path) -> bytes:
  """A file of torch.save whose pickle makes a folder."""
  out = io.BytesIO()
  with zipfile.ZipFile(out, 'w') as archive:
    made = call('os', 'mkdir', text(str(folder / 'hacked')))
    archive.writestr('archive/data.pkl', b'\x80\x02' + made + b'.')
    archive.writestr('archive/version', b'3')
  return out.getvalue()


def test_the_sound_one_runs(sound, tmp_path):
  loaded = programs.load(hostile(sound, tmp_path / 'x.pt2', of='none', change=bytes))
  assert loaded.image_shape == (4, 4, 3) and loaded.batch is None


@pytest.mark.parametrize(
  ('of', 'change'),
  [
    ('model.json', lambda c, f: c.replace(b"Symbol('s", f"{evil(f)} or Symbol('s".encode())),
    ('model.json', lambda c, f: c.replace(b'"guards_code": []', guard(f))),
    ('sample_inputs/model.pt', lambda c, f: code(f)),
  ],
  ids=['size', 'guard', 'sample inputs'],
)
def test_no_code_of_a_file_runs(sound, tmp_path, of, change, monkeypatch):
  path = hostile(sound, tmp_path / 'x.pt2', of=of, change=lambda content: change(content, tmp_path))
  with pytest.raises(FileError, match='export it again') as caught:
    programs.load(path)
  assert '\n' not in str(caught.value) and not (tmp_path / 'hacked').exists()
  # without the check it would
  monkeypatch.setattr(pt2_files, 'checked', str)
  monkeypatch.setattr(pt2_files, 'no_pickles', contextlib.nullcontext)
  with contextlib.suppress(Exception):
    programs.load(path).run(np.zeros((2, 4, 4, 3), np.float32))
  assert (tmp_path / 'hacked').exists()


def evil(folder: Path) -> str:
  return f"__import__('os').mkdir('{folder}/hacked')"


def guard(folder: Path) -> bytes:
  return f'"guards_code": [{json.dumps(evil(folder))}]'.encode()
