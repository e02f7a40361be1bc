"""Tables of embeddings: every kind of file, names, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from kd_jax.pytorch import writer as torch_writer
from kd_jax.runs import embedding_table
from kd_jax.runs.embedding_table import EmbeddingTable
from kd_jax.types import DataError, FileError, KdJaxError

NAMES = ('a/1.png', 'b/1.png', 'b/two.jpeg')
VECTORS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
DRAWN = {'seed': 3, 'crop_padding': 2, 'flip': True, 'augment': ''}


def as_csv(path, *, titles=True, rows=VECTORS):
  lines = [f'{name},{",".join(map(str, row))}' for name, row in zip(NAMES, rows, strict=True)]
  path.write_text('\n'.join([*(['file,0,1,2,3'] if titles else []), *lines]) + '\n')


def by_name():
  return dict(zip(NAMES, VECTORS, strict=True))


MADE = {
  'titles.csv': as_csv,
  'bare.csv': lambda path: as_csv(path, titles=False),
  'names.pth': lambda path: torch_writer.write(path, by_name(), notes={}),
  'names.safetensors': lambda path: save_file(by_name(), path),
  'names.npz': lambda path: np.savez(path, **by_name()),
  'pair.npz': lambda path: np.savez(path, filenames=np.array(NAMES), features=VECTORS),
}


@pytest.mark.parametrize('name', MADE)
def test_every_kind_is_read(tmp_path, name):
  MADE[name](tmp_path / name)
  table = embedding_table.read(tmp_path / name)
  order = embedding_table.aligned(table, NAMES, where=name)
  np.testing.assert_array_equal(table.embedding[order, 0], VECTORS.astype(np.float16))
  assert table.embedding.shape == (3, 1, 4) and not table.views


def test_what_is_written_is_read_and_takes_2_bytes_a_value(tmp_path):
  halves = np.random.default_rng(1).normal(size=(3, 50, 40)).astype(np.float16)
  prints = np.arange(6, dtype=np.uint32).reshape(3, 2)
  table = EmbeddingTable(NAMES, halves, prints, DRAWN)
  embedding_table.write(tmp_path / 't.npz', table)
  found = embedding_table.read(tmp_path / 't.npz')
  assert found.names == NAMES and found.views == DRAWN
  np.testing.assert_array_equal(found.embedding, halves)
  np.testing.assert_array_equal(found.fingerprint, prints)
  assert (tmp_path / 't.npz').stat().st_size < 3 * 50 * 40 * 2 + 2000


@pytest.mark.parametrize(
  ('names', 'pictures', 'expected'),
  [
    (('b', 'a'), ('x/a.png', 'y/b.jpg'), [1, 0]),
    (('b.jpg', 'a.png'), ('x/a.png', 'y/b.jpg'), [1, 0]),
    (('y\\b.jpg', 'x\\a.png'), ('x/a.png', 'y/b.jpg'), [1, 0]),
    # a whole path goes before a file's name
    (('x/a.png', 'y/a.png', 'c'), ('y/a.png', 'x/a.png'), [1, 0]),
    (('photos/y/b.jpg', 'photos/x/a.png'), ('x/a.png', 'y/b.jpg'), [1, 0]),
  ],
)
def test_names_are_matched(names, pictures, expected):
  table = EmbeddingTable(names, np.zeros((len(names), 1, 2), np.float16))
  assert embedding_table.aligned(table, pictures, where='t').tolist() == expected


@pytest.mark.parametrize(
  ('names', 'pictures', 'said'),
  [
    (('a',), ('a.png', 'b.png'), "has no row for 1 of the 2 pictures, such as 'b.png'"),
    # of two files of one name neither is meant
    (('x/a.png', 'y/a.png'), ('z/a.png',), 'has no row for 1 of the 1'),
    (('a.png',), ('x/a.png', 'y/a.png'), "has the row 'a.png' for 2 pictures"),
  ],
)
def test_pictures_without_a_row_of_their_own_are_refused(names, pictures, said):
  table = EmbeddingTable(names, np.zeros((len(names), 1, 2), np.float16))
  with pytest.raises(DataError, match=said):
    embedding_table.aligned(table, pictures, where='t')


def ours(path, **changed):
  fields = {
    'name': np.array(NAMES),
    'embedding': VECTORS.astype(np.float16)[:, None],
    'fingerprint': np.zeros((3, 2), np.uint32),
    'views': np.array(''),
  } | changed
  np.savez(path, **{k: v for k, v in fields.items() if v is not None})


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    ({'name': None}, "has 'embedding' and no 'name'"),
    ({'name': np.array(NAMES[:2])}, 'has 3 rows and not as many names'),
    ({'name': np.arange(3)}, 'not as many names'),
    ({'name': np.array(['a', 'b', 'a'])}, "the name 'a' twice"),
    ({'embedding': np.zeros((3, 4), int)}, 'to be of floating point'),
    ({'embedding': np.zeros((3, 1, 2, 2), np.float16)}, r'embeddings float16\[3, 1, 2, 2\]'),
    ({'embedding': np.zeros((3, 0), np.float16)}, 'to be of floating point'),
    ({'embedding': np.full((3, 4), np.nan)}, 'not finite'),
    ({'embedding': np.full((3, 4), 1e5)}, 'beyond the ±65504'),
    ({'embedding': np.zeros((3, 2, 4), np.float16)}, 'does not state how its views are drawn'),
    ({'fingerprint': np.zeros((2, 2), np.uint32)}, 'not as many pictures'),
    ({'views': np.array('{"seed": 1}')}, 'does not state how its views are drawn'),
    ({'views': np.array('[1]')}, 'does not state how its views are drawn'),
    ({'views': np.array('{')}, 'or is damaged'),
    ({'views': np.array(json.dumps(DRAWN | {'flip': 1}))}, 'does not state'),
    ({'logits': np.zeros((3, 2))}, 'is a table of logits'),
    ({'name': np.array(NAMES, object)}, 'is no table of embeddings, or is damaged'),
  ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path, changed, said):
  ours(tmp_path / 't.npz', **changed)
  with pytest.raises(KdJaxError, match=said):
    embedding_table.read(tmp_path / 't.npz')


@pytest.mark.parametrize(
  ('name', 'content', 'said'),
  [
    ('t.npz', b'PK\x03\x04no', 'or is damaged'),
    ('t.csv', b'', 'no vectors of one length'),
    ('t.csv', b'a,1,2\nb,1\n', 'has 1 numbers on line 2 and 2 before it'),
    ('t.csv', b'a,1,2\nb,1,x\n', 'has on line 2 what is no number'),
    ('t.csv', b'a,1,inf\n', 'not finite'),
    ('t.csv', b'a\nb\n', 'to be of floating point'),
    ('t.csv', b'\xff\xfe,1\n', 'cannot be read as CSV'),
    ('t.csv', b'"a,1\n', 'cannot be read as CSV'),
    ('t.pth', b'no', 'cannot be read as a PyTorch checkpoint'),
    ('t.txt', b'a,1\n', 'is no table of embeddings'),
  ],
)
def test_other_content_is_refused(tmp_path, name, content, said):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(KdJaxError, match=said):
    embedding_table.read(tmp_path / name)


def test_vectors_of_several_lengths_are_refused(tmp_path):
  save_file(
    {'a': np.zeros(3, np.float32), 'b': np.zeros(4, np.float32)}, tmp_path / 't.safetensors'
  )
  with pytest.raises(FileError, match='no vectors of one length'):
    embedding_table.read(tmp_path / 't.safetensors')


def test_a_missing_file_is_told(tmp_path):
  with pytest.raises(FileError, match='does not exist or is no file'):
    embedding_table.read(tmp_path / 't.csv')
