"""Bad input of tables of embeddings, of probes, and of programs of other runtimes: the cases, and
what their files are made of. No tests here.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

PICTURES = 25
OF_PICTURES = '--config.unlabelled_dataset=pictures25 --config.image_size=8'
GOOD = f'--table=rows25.csv {OF_PICTURES} --config.student=thin_resnet8 --config.batch_size=8'
OTHERS = {
  'embeddings': [
    ('', 'the following arguments are required: --table'),
    ('--table=nosuch.csv', 'the table of embeddings nosuch.csv does not exist'),
    ('--table=rows.txt', 'rows.txt is no table of embeddings'),
    ('--table=words.csv', 'words.csv has on line 2 what is no number'),
    ('--table=ragged.csv', 'ragged.csv has 1 numbers on line 2 and 2 before it'),
    ('--table=infinite.csv', 'infinite.csv holds embeddings that are not finite'),
    ('--table=bytes.csv', 'bytes.csv cannot be read as CSV'),
    ('--table=twice.csv', "twice.csv has the name '0.png' twice"),
    ('--table=half_rows.npz', 'half_rows.npz is no table of embeddings, or is damaged'),
    ('--table=object_rows.npz', 'object_rows.npz is no table of embeddings, or is damaged'),
    ('--table=logits_rows.npz', 'logits_rows.npz is a table of logits'),
    ('--table=bare_rows.npz', "has 'embedding' and no 'name'"),
    ('--table=seedless_rows.npz', 'does not state how its views are drawn'),
    ('--table=good.pth', 'good.pth holds no vectors of one length'),
    ('--table=text.pth', 'cannot be read as a PyTorch checkpoint'),
    ('--table=s3://bucket/t.csv', '--table=s3://bucket/t.csv is a URL'),
    (f'--table=rows24.csv {OF_PICTURES}', "has no row for 1 of the 25 pictures, such as '24.png'"),
    (f'--table=other_rows.npz {OF_PICTURES}', 'are not those that other_rows.npz was made of'),
    ('--table=rows25.csv --config.unlabelled_dataset=./nosuch', 'nosuch does not exist'),
    (f'{GOOD} --config.method=kd', 'asks its teacher for its logits'),
    (f'{GOOD} --config.method=uda', 'does not learn from the embedding of one view'),
    (f'{GOOD} --config.method_options=objective=cos', 'embedding.objective is one of cosine'),
    (f'{GOOD} --config.method_options=objectiv=mse', "'objectiv'"),
    (f'{GOOD} --config.mixup=1', 'a table has seen them as they are'),
    (f'{GOOD} --config.teacher_dtype=bfloat16', 'a table has seen them as they are'),
    (f'{GOOD} --config.batch_size=64', 'a batch of 64 needs at least as many images'),
    (f'{GOOD} --config.crop_padding=9', 'crop_padding is 9 pixels'),
    (f'{GOOD} --config=paper/digits', '--config is a study'),
    (f'{GOOD} --workdir=s3://bucket/run', '--workdir=s3://bucket/run is a URL'),
    (f'{GOOD} --tabel=x', "Unknown command line flag 'tabel'"),
  ],
  'tables of embeddings': [
    (
      '--config=digits_kd --out=t.npz --views=3 --teacher=network',
      '--views is of a table of --emb',
    ),
    ('--config=digits_kd --out=t.txt --embeddings --teacher=network', 'call it t.npz'),
    ('--config=digits_kd --out=t.npz --embeddings --teacher=function.jax', 'gives logits alone'),
    ('--config=digits_kd --out=t.npz --embeddings --teacher=text.pth', 'cannot be read as a PyT'),
    (
      f'--config=digits_kd --out=t.npz --embeddings --teacher=network {OF_PICTURES}',
      'network is for images of (16, 16, 1), and those of unlabelled_dataset pictures25 are (8, 8, ',
    ),
    ('--config=digits_kd --out=t.npz --teacher=program.onnx', 'onnxruntime'),
    ('--config=digits_kd --out=t.npz --teacher=program.pt2', 'torch'),
    ('--config=digits_kd --out=t.npz --teacher=nosuch.pt2', 'nosuch.pt2 does not exist'),
  ],
  'probes': [
    ('', 'the following arguments are required: NETWORK, --config'),
    ('network', 'the following arguments are required: --config'),
    ('network --config=paper/digits', '--config is a study'),
    ('nosuch --config=digits_kd', 'nosuch does not exist'),
    ('empty --config=digits_kd', 'holds no finished network'),
    ('text.pth --config=digits_kd', 'cannot be read as a PyTorch checkpoint'),
    ('network --config=digits_kd --config.dataset=digits32', 'network takes images of (16, 16, 1)'),
    ('network --config=digits_kd --config.epoch=3', "unknown configuration key 'epoch'"),
    ('network --config=digits_kd --save=s3://bucket/x', '--save=s3://bucket/x is a URL'),
    ('network --config=digits_kd --out=s3://bucket/x', '--out=s3://bucket/x is a URL'),
  ],
}
COMMANDS = {
  'embeddings': 'kd-jax embed',
  'tables of embeddings': 'kd-jax table',
  'probes': 'kd-jax probe',
}
LAUNCH = [
  ('--config.teacher_checkpoint=program.onnx', 'onnxruntime'),
  ('--config.teacher_checkpoint=program.pt2', 'torch'),
  ('--config.teacher_checkpoint=nosuch.pt2', 'nosuch.pt2 does not exist'),
  (
    '--config.teacher_checkpoint=program.onnx --config.mixup=1',
    'mixup makes pictures that no table of logits can hold',
  ),
  ('--config.teacher_checkpoint=damaged_embeddings.npz', 'damaged_embeddings.npz is damaged'),
]


def _npz(**arrays: np.ndarray) -> Callable[[Path, Path], None]:
  return lambda path, stock: np.savez(path, **arrays)


def _half(path: Path, stock: Path) -> None:
  out = io.BytesIO()
  np.savez(out, name=np.array(['a']), embedding=np.zeros((1, 99), np.float16))
  path.write_bytes(out.getvalue()[:500])


def _text(content: str) -> Callable[[Path, Path], None]:
  return lambda path, stock: path.write_text(content)


def _rows(count: int) -> str:
  return ''.join(f'{number}.png,{number},1.5\n' for number in range(count))


def _pictures(path: Path, stock: Path) -> None:
  from tests.bad_files import picture

  path.mkdir()
  for number in range(PICTURES):
    (path / f'{number}.png').write_bytes(picture())


_NAMES = np.array([f'{number}.png' for number in range(PICTURES)])
_VECTORS = np.ones((PICTURES, 2), np.float16)
FILES = {
  'pictures25': _pictures,
  'rows25.csv': _text(_rows(25)),
  'rows24.csv': _text(_rows(24)),
  'rows.txt': _text('0.png,1\n'),
  'words.csv': _text('0.png,1,2\n1.png,one,2\n'),
  'ragged.csv': _text('0.png,1,2\n1.png,1\n'),
  'infinite.csv': _text('0.png,1,inf\n'),
  'bytes.csv': lambda path, stock: path.write_bytes(b'\xff\xfe,1\n'),
  'twice.csv': _text('0.png,1\n0.png,2\n'),
  'half_rows.npz': _half,
  'object_rows.npz': _npz(name=_NAMES.astype(object), embedding=_VECTORS),
  'logits_rows.npz': _npz(fingerprint=np.zeros((1, 2), np.uint32), logits=np.zeros((1, 2))),
  'bare_rows.npz': _npz(embedding=_VECTORS),
  'seedless_rows.npz': _npz(name=_NAMES, embedding=np.ones((PICTURES, 3, 2), np.float16)),
  'other_rows.npz': _npz(
    name=_NAMES, embedding=_VECTORS, fingerprint=np.zeros((PICTURES, 2), np.uint32)
  ),
  'program.onnx': _text('no program\n'),
  'program.pt2': _text('no program\n'),
  'damaged_embeddings.npz': _npz(
    fingerprint=np.array([[0, 1]], np.uint32),
    logits=np.zeros((1, 10), np.float32),
    image_shape=np.array([16, 16, 1]),
    embedding=np.zeros((1, 2), np.float32),
  ),
}
