"""Bad input of what came later: every option of every method, teachers side by side, forms of an
export, files and folders of strangers. The cases, and what their files are made of. No tests here.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kd_jax import config
from kd_jax.methods import METHODS
from tests.bad_tables import GOOD as EMBEDDED

TWO = '--config.teacher_checkpoint=network,good.pth --config.method=mkd'


ELSEWHERE = {('takd', 'assistants'), ('oh', 'weight'), ('ab', 'boundary_share')}
# what is said where something else is wrong before it
EARLIER = {('stl', 'policy'): 'unlabelled_dataset stl10 have 3 channels'}


def every_option() -> list[tuple[str, str]]:
  """A value that cannot be, of every option of every method but those that bad_cases has."""
  cases = []
  for method in METHODS:
    for option, default in config.options_of(method).items():
      if (method, option) in ELSEWHERE:
        continue
      wrong = {bool: 'perhaps', str: 'nosuch', tuple: '(-1'}.get(type(default), 'nan')
      said = EARLIER.get((method, option), wrong if wrong == 'nosuch' else option)
      cases.append((f'--config.method={method} --config.{method}.{option}={wrong}', said))
  return cases


LAUNCH = {
  'every option': every_option(),
  'later keys': [
    ('--config.test_every_epoch=perhaps', 'is neither True nor False'),
    ('--config.teacher_epochs=-1', 'teacher_epochs'),
    ('--config.patience=-1', 'patience'),
    ('--config.nesterov=2', 'is neither True nor False'),
    ('--config.learning_rate_factor=nan', 'learning_rate_factor'),
    ('--config.deterministic=x', 'is neither True nor False'),
    ('--config=cifar100/resnet56_resnet21', 'resnet56_resnet2'),
    ('--config=cifar100', 'cifar100'),
    ('--config=cifar100/vgg13_vgg8 --config.data_dir=nosuch', 'nosuch does not exist'),
    ('--config=cifar100/vgg13_vgg8 --rows=nosuch', "the study has no row 'nosuch'"),
    ('--config=paper/digits --rows=KD --sweep=kd.alpha=', 'kd.alpha'),
    ('--config=paper/digits --rows=KD --sweep=kd.alhpa=1', 'kd.alhpa'),
    ('--config=paper/digits --rows=KD --sweep=kd.alpha=nan', 'kd.alpha'),
    ('--sweep=seed=1,2', "row 'kd' sweeps seed, and runs have their own"),
    ('--sweep=kd.alpha', 'kd.alpha'),
    ('--config.unlabelled_dataset=s3://bucket/x --config.method=uda', 's3://bucket/x is a URL'),
  ],
  'teachers side by side': [
    (f'{TWO} --config.teacher_image_size=(16,16,16)', 'teacher_image_size'),
    (f'{TWO} --config.teacher_weights=raw,ema,raw', 'teacher_weights'),
    (f'{TWO} --config.teacher=a,b,c', 'teacher'),
    (f'{TWO} --config.teacher_mean=(.5,.5,.5)', 'teacher_mean'),
    (f'{TWO} --config.teacher_relu_placement=block,nowhere', 'nowhere'),
    ('--config.teacher_checkpoint=network,nosuch.pth --config.method=mkd', 'nosuch.pth does not'),
    (f'{TWO.replace("=mkd", "=kd")}', 'kd'),
  ],
  'files of strangers': [
    ('--config.teacher_checkpoint=bomb.npz', 'it states arrays of more than 100 times its size'),
    ('--config.teacher_checkpoint=code.npz', 'code.npz is no table of precomputed logits'),
    ('--config.teacher_checkpoint=long_header.safetensors', 'header of safetensors is damaged'),
    ('--config.teacher_checkpoint=overlapping.safetensors', 'does not fit its data'),
    ('--config.teacher_checkpoint=twice.safetensors', 'does not fit its data'),
    ('--config.teacher_checkpoint=rows.safetensors', 'a shape that no array can have'),
  ],
  'links': [
    ('--workdir=linked_run', 'linked_run/networks is a symbolic link to ../network, outside'),
    ('--workdir=linked_record', 'linked_record/results.json is a symbolic link'),
    ('--workdir=linked_lock', 'linked_lock/.lock is a symbolic link'),
    ('--config=paper/digits --workdir=linked_phases', 'linked_phases/phases is a symbolic link'),
  ],
}
OTHERS = {
  'reports': [
    ('linked_run', 'linked_run/networks is a symbolic link'),
    ('linked_answer', 'linked_answer/answer.md is a symbolic link'),
  ],
  'exports': [
    ('linked_run', 'linked_run/networks is a symbolic link'),
    ('network --int8', '--int8 is a form of --format=onnx'),
    ('network --format=torch --int8', '--int8 is a form of --format=onnx'),
    ('network --data_dir=empty', '--data_dir is for the accuracy of --int8'),
    ('network --relu_placement=nowhere', 'nowhere'),
  ],
  'predictions': [
    ('bomb.npz image.png', 'bomb.npz is no table of precomputed logits'),
    ('long_header.safetensors image.png', 'header of safetensors is damaged'),
    ('network image.png --relu_placement=nowhere', 'nowhere'),
  ],
  'embeddings': [
    ('--table=bomb.npz', 'it states arrays of more than 100 times its size'),
    ('--table=rows.safetensors', 'a shape that no array can have'),
    (f'{EMBEDDED} --config.embedding.weight=nan', 'weight'),
  ],
  'tables of embeddings': [
    ('--config=digits_kd --out=t.npz --embeddings --views=-1 --teacher=network', 'at least 0'),
    ('--config=digits_kd --out=nosuch/t.npz --embeddings --teacher=network', 'nosuch/t.npz cannot'),
  ],
  'probes': [('bomb.npz --config=digits_kd', 'bomb.npz')],
}


def _zip(name: str, content: bytes, how: int) -> Callable[[Path, Path], None]:
  def write(path: Path, stock: Path) -> None:
    with zipfile.ZipFile(path, 'w', how) as archive:
      archive.writestr(name, content)

  return write


def _objects(path: Path, stock: Path) -> None:
  np.savez(path, logits=np.array([print], object), fingerprint=np.zeros((1, 2), np.uint32))


def _zeros() -> bytes:
  out = io.BytesIO()
  header = {'descr': '|u1', 'fortran_order': False, 'shape': (1 << 28,)}
  np.lib.format.write_array_header_1_0(out, header)
  return out.getvalue() + bytes(1 << 28)


def _safetensors(header: str, *, size: int | None = None) -> Callable[[Path, Path], None]:
  given = header.replace("'", '"').encode()
  length = struct.pack('<Q', len(given) if size is None else size)
  return lambda path, stock: path.write_bytes(length + given + bytes(8)) and None


def _linked(name: str, to: str, *others: str) -> Callable[[Path, Path], None]:
  def write(path: Path, stock: Path) -> None:
    path.mkdir()
    for other in others:
      (path / other).write_text('{}')
    (path / name).symlink_to(to)

  return write


FILES = {
  'bomb.npz': lambda path, stock: _zip('logits.npy', _zeros(), zipfile.ZIP_DEFLATED)(path, stock),
  'code.npz': _objects,
  'long_header.safetensors': _safetensors('{}', size=1 << 63),
  'overlapping.safetensors': _safetensors(
    "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},"
    "'b':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}}"
  ),
  'twice.safetensors': _safetensors(
    "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},"
    "'a':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}}"
  ),
  'rows.safetensors': _safetensors(
    "{'w':{'dtype':'F32','shape':[4611686018427387904,0],'data_offsets':[0,0]},"
    "'v':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}}"
  ),
  'linked_run': _linked('networks', '../network', 'config.json'),
  'linked_record': _linked('results.json', '/etc/hostname'),
  'linked_lock': _linked('.lock', '/nosuch/lock'),
  'linked_phases': _linked('phases', '/tmp'),
  'linked_answer': _linked('answer.md', '/etc/hostname', 'study.json'),
}
