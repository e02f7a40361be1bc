"""Precomputed logits: written for all pictures of a run, looked up in it, and refused where one
would be missing.
"""

from __future__ import annotations

import dataclasses
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import config as configuration
from kd_jax import models
from kd_jax.files.networks import load_network, save_network
from kd_jax.models import precomputed
from kd_jax.runs import logits_table
from kd_jax.runs.preparation import check, prepare
from kd_jax.types import KdJaxError, LogitsOnly
from tests import own_code, tiny

DATA = {
  'dataset': 'digits',
  'validation_examples': 40,
  'train_examples': 64,
  'eval_examples': 40,
  'crop_padding': 1,
  'flip': True,
}
RUN = {
  **DATA,
  'epochs': 2,
  'batch_size': 32,
  'student': 'table_nets:small',
  'teacher': 'table_nets:small',
}
PICTURES = 64 * 9 * 2 + 40 + 40


def trained(folder, **changed):
  return own_code.trained(folder, RUN | changed)


def fails(said, folder, **changed):
  own_code.refuses(said, folder, RUN | changed)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A folder with the module table_nets."""
  folder = tmp_path_factory.mktemp('tables')
  with own_code.importable(folder, 'table_nets'):
    yield folder


@pytest.fixture(scope='module')
def teacher(place):
  """A network in a folder, and a function of it on stored pixels."""
  spec = models.NetworkSpec('table_nets:small', 10, (16, 16, 1), mean=(0.3,), std=(0.4,))
  network = models.build(spec)
  variables = tiny.variables(network)
  save_network(
    place / 'network',
    spec,
    variables,
    {'row': {}, 'classes': list('0123456789'), 'dataset': 'digits'},
  )
  apply = jax.jit(
    lambda image: (
      network.module.apply(variables, image.astype(jnp.float32) / 255, train=False).logits
    )
  )
  return place / 'network', lambda images: np.asarray(apply(images))


@pytest.fixture(scope='module')
def table(place, teacher):
  said = []
  logits_table.write(place / 'teacher.npz', teacher[1], say=said.append, **DATA)
  assert said[-1].endswith(f'{len(np.load(place / "teacher.npz")["logits"]):,} pictures.')
  return place / 'teacher.npz'


@pytest.mark.system
def test_teaches_as_the_network_that_it_is_of(place, teacher, table):
  rows, said = trained(place / 'looked_up', teacher_checkpoint=str(table))
  computed, _ = trained(place / 'computed', teacher_checkpoint=str(teacher[0]))
  assert (
    re.fullmatch(r'teacher\.npz@[0-9a-f]{12}', rows[0]['student']) and rows[0]['parameters'] is None
  )
  assert [row['test_accuracy'] for row in rows] == [row['test_accuracy'] for row in computed]
  assert rows[0]['validation_accuracy'] == computed[0]['validation_accuracy']
  ours, theirs = (
    load_network(place / folder / 'networks' / 'student')[1] for folder in ('looked_up', 'computed')
  )
  chex.assert_trees_all_close(ours, theirs, atol=1e-5)


def test_holds_each_picture_once(table):
  with np.load(table) as file:
    words = precomputed.words(file['fingerprint'])
  # Digits have black margins, so that some crops of one image are alike.
  assert 0.5 * PICTURES < len(words) <= PICTURES and (words[1:] > words[:-1]).all()


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    ({'crop_padding': 2}, 'of the 3,200 pictures of 64 images that this run shows to its teacher'),
    ({'seed': 1}, 'that this run shows to its teacher: compute it anew'),
    ({'eval_examples': 80}, 'of 80 images that this run shows'),
    (
      {'method': 'uda'},
      "uda shows its teacher images under 'weak+randaugment:2:5', whose views no table can hold",
    ),
    ({'method': 'oh'}, 'asks a network for its features'),
    (
      {'dataset': 'digits32'},
      'is for images of (16, 16, 1) and 10 classes, and this run has (32, 32, 1) and 10',
    ),
  ],
)
def test_a_run_that_needs_other_pictures_is_refused(place, table, changed, said):
  fails(said, place / 'x', teacher_checkpoint=str(table), **changed)


def test_a_phase_that_draws_on_other_images_is_refused(table):
  with tiny.quick_compilation():
    prepared = prepare(
      configuration.resolve(configuration.default(**RUN | {'teacher_checkpoint': str(table)}))
    )
  (phase,) = prepared.phases
  drawing = dataclasses.replace(phase, shares={'train': 16, 'unlabelled': 16})
  with pytest.raises(
    KdJaxError,
    match='kd shows its teacher unlabelled images, which a table of logits does not hold',
  ):
    logits_table.check(
      prepared.imported, [drawing], prepared.parts, prepared.augmentation, prepared.mixing
    )


def test_a_run_that_needs_fewer_is_not(place, table):
  with tiny.quick_compilation():
    config = configuration.resolve(
      configuration.default(
        **RUN | {'teacher_checkpoint': str(table), 'crop_padding': 0, 'flip': False}
      )
    )
    check(prepare(config))


@pytest.mark.parametrize(
  ('logits', 'said'),
  [
    (lambda images: np.zeros((len(images), 9)), 'the function returned (256, 9) for 256 pictures'),
    (
      lambda images: np.full((len(images), 10), np.nan),
      'numbers that are not finite: it has to return finite logits [b, 10]',
    ),
  ],
)
def test_a_function_of_other_logits_is_refused(place, logits, said):
  with pytest.raises(KdJaxError, match=re.escape(said)):
    logits_table.write(place / 'x.npz', logits, **DATA | {'crop_padding': 0, 'train_examples': 256})
  assert not list(place.glob('x.npz*'))


def test_a_place_that_cannot_be_written_is_told(place):
  with pytest.raises(KdJaxError, match=r'x\.npz cannot be written \(No such file or directory\)'):
    logits_table.write(
      place / 'nowhere' / 'x.npz',
      lambda images: np.zeros((len(images), 10)),
      say=lambda line: None,
      **DATA,
    )


def test_another_kind_of_file_is_not_written(place):
  with pytest.raises(KdJaxError, match='call it x.npz'):
    logits_table.write(place / 'x.csv', lambda images: images, **DATA)


@pytest.mark.parametrize(
  ('change', 'said'),
  [
    (lambda fields: {}, 'is no table of precomputed logits, or is damaged (KeyError: '),
    (lambda fields: fields | {'logits': fields['logits'].astype(np.float64)}, 'holds other arrays'),
    (
      lambda fields: fields | {'logits': fields['logits'][:, 1:]},
      'and 9 classes, and this run has (16, 16, 1) and 10',
    ),
    (
      lambda fields: fields | {'logits': fields['logits'][1:]},
      'its rows are missing, not in order',
    ),
    (lambda fields: fields | {'logits': fields['logits'] + np.inf}, 'or not finite'),
    (lambda fields: fields | {'fingerprint': fields['fingerprint'][::-1]}, 'not in order'),
    (
      lambda fields: fields | {'fingerprint': fields['fingerprint'].astype(object)},
      'is no table of precomputed logits',
    ),
  ],
)
def test_a_damaged_file_is_refused(place, table, change, said):
  with np.load(table) as file:
    np.savez(place / 'changed.npz', **change(dict(file)))
  fails(said, place / 'x', teacher_checkpoint=str(place / 'changed.npz'))


def test_half_a_file_is_refused(place, table):
  (place / 'half.npz').write_bytes(table.read_bytes()[:5000])
  fails(
    'half.npz is no table of precomputed logits, or is damaged',
    place / 'x',
    teacher_checkpoint=str(place / 'half.npz'),
  )


def test_compressed_bytes_that_are_damaged_are_refused(place, table):
  with np.load(table) as file:
    np.savez_compressed(place / 'packed.npz', **file)
  data = bytearray((place / 'packed.npz').read_bytes())
  data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
  (place / 'packed.npz').write_bytes(data)
  fails(
    'packed.npz is no table of precomputed logits, or is damaged',
    place / 'x',
    teacher_checkpoint=str(place / 'packed.npz'),
  )


def murmur(images: np.ndarray) -> np.ndarray:
  """The fingerprint, once more: in Python's own integers, pixel by pixel."""
  sums = []
  for image in images.reshape(len(images), -1).tolist():
    for seed in (0x9E3779B9, 0x7F4A7C15):
      total = 0
      for place, pixel in enumerate(image):
        x = (place * 256 + pixel) ^ seed
        x = (x ^ x >> 16) * 0x85EBCA6B % 2**32
        x = (x ^ x >> 13) * 0xC2B2AE35 % 2**32
        total += x ^ x >> 16
      sums.append(total % 2**32)
  return np.array(sums, np.uint32).reshape(-1, 2)


@pytest.fixture(scope='module')
def images():
  return np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)


def test_fingerprints(images):
  np.testing.assert_array_equal(precomputed.fingerprint(images), murmur(images))


def test_what_differs_has_another_fingerprint(images):
  changed = images.copy()
  changed[0, 2, 3, 1] ^= 1  # one bit
  changed[1] = changed[1, ::-1]
  changed[2] = changed[2, :, ::-1]
  changed[3, 0, 0], changed[3, 0, 1] = images[3, 0, 1], images[3, 0, 0]  # two pixels exchanged
  changed[4, 0, 0, 0] += 1
  changed[4, 0, 0, 1] -= 1
  same = (
    np.asarray(precomputed.fingerprint(images)) == np.asarray(precomputed.fingerprint(changed))
  ).any(-1)
  assert same.tolist() == [False] * 5 + [True]


@pytest.mark.parametrize('rows', [1, 2, 3, 64, 100])
def test_every_row_is_found_and_no_other(rows):
  draw = np.random.default_rng(rows)
  images = draw.integers(0, 256, (rows + 20, 4, 4, 1), np.uint8)
  prints = np.asarray(precomputed.fingerprint(images))
  known, logits = prints[:rows], draw.normal(size=(rows, 3)).astype(np.float32)
  order = np.argsort(precomputed.words(known))
  variables = {'table': {'fingerprint': known[order], 'logits': logits[order]}}
  found = precomputed.Table(rows, 3).apply(
    jax.device_put(variables), jnp.asarray(images, jnp.float32) / 255, train=False
  )
  assert isinstance(found, LogitsOnly)
  np.testing.assert_array_equal(found.logits[:rows], logits)
  assert np.isnan(found.logits[rows:]).all()


def test_statistics_of_a_batch_are_refused():
  with pytest.raises(KdJaxError, match='take teacher_statistics=running'):
    precomputed.Table(1, 2).init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)), train=True)


@pytest.mark.parametrize(
  'changed', [{'augment': 'cutout:2'}, {'mixup': 1.0}, {'cutmix': 0.5}], ids=lambda c: next(iter(c))
)
def test_pictures_without_number_are_refused(table, changed):
  config = configuration.default(**RUN | {'teacher_checkpoint': str(table)} | changed)
  with tiny.quick_compilation():
    prepared = prepare(configuration.resolve(config))
  with pytest.raises(KdJaxError, match=f'{next(iter(changed))} makes pictures that no table'):
    logits_table.check(
      prepared.imported, prepared.phases, prepared.parts, prepared.augmentation, prepared.mixing
    )
