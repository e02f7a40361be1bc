"""Files of safetensors, and the config.json beside them."""

from __future__ import annotations

import json
import struct

import jax
import numpy as np
import pytest
import safetensors.numpy

from kd_jax import models
from kd_jax.pytorch import names, tensors
from kd_jax.pytorch.reader import read
from kd_jax.types import KdJaxError, NetworkSpec
from tests import tiny

SPEC = NetworkSpec('thin_resnet8', 10, (32, 32, 3))
TIMM = {
  'architecture': 'resnet8',
  'num_classes': 10,
  'pretrained_cfg': {
    'mean': [0.485, 0.456, 0.406],
    'std': [0.229, 0.224, 0.225],
    'input_size': [3, 32, 32],
    'num_classes': 1000,
  },
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def path(tmp_path):
  state = names.to_torch(tiny.variables(models.build(SPEC)), SPEC)
  (tmp_path / 'model.safetensors').write_bytes(safetensors.numpy.save(state))
  return tmp_path / 'model.safetensors'


def bare(dtype: str, data: bytes, shape: tuple[int, ...]) -> bytes:
  entry = {'dtype': dtype, 'shape': shape, 'data_offsets': [0, len(data)]}
  header = json.dumps({'w': entry}).encode()
  header += b' ' * (-len(header) % 8)
  return struct.pack('<Q', len(header)) + header + data


def test_weights_are_read_as_from_a_checkpoint(path):
  spec, found = names.import_file(path)
  assert spec == SPEC._replace(mean=spec.mean, std=spec.std)
  jax.tree.map(np.testing.assert_array_equal, found, tiny.variables(models.build(SPEC)))
  assert names.facts(path) == (False, None, ('raw',), '')


@pytest.mark.parametrize(
  ('dtype', 'data', 'value'),
  [
    ('BF16', b'\x00\x00\xc0\x3f', [0, 1.5]),
    ('F16', np.asarray([0, 1.5], np.float16).tobytes(), [0, 1.5]),
    ('F64', np.asarray([0, 1.5]).tobytes(), [0, 1.5]),
    ('I64', np.asarray([0, 3]).tobytes(), [0, 3]),
    ('BOOL', b'\x00\x01', [False, True]),
  ],
)
def test_types(tmp_path, dtype, data, value):
  (tmp_path / 'a.bin').write_bytes(bare(dtype, data, (2,)))  # by its header, whatever its name
  np.testing.assert_array_equal(read(tmp_path / 'a.bin')['w'], value)


@pytest.mark.parametrize(
  ('content', 'said'),
  [
    (b'', 'damaged or cut off'),
    (b'cut', 'damaged or cut off'),
    (struct.pack('<Q', 2**60) + b'{}', 'damaged or cut off'),
    (struct.pack('<Q', 2) + b'{]', 'damaged'),
    (bare('F32', b'abcd', (2,)), 'does not fit its data'),
    (bare('F32', b'abcd', (1,)) + b'more', 'does not fit its data'),
    (bare('F8_E4M3', b'ab', (2,)), 'no weight'),
  ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, content, said):
  (tmp_path / 'model.safetensors').write_bytes(content)
  with pytest.raises(KdJaxError, match=said) as caught:
    read(tmp_path / 'model.safetensors')
  assert '\n' not in str(caught.value)


def test_a_network_of_kd_jax_elsewhere_is_named(tmp_path):
  data = safetensors.numpy.save({'params/head/bias': np.zeros(2, np.float32)})
  (tmp_path / 'model.safetensors').write_bytes(data)
  with pytest.raises(KdJaxError, match='give its folder'):
    read(tmp_path / 'model.safetensors')


@pytest.mark.parametrize(
  ('config', 'images', 'expected'),
  [
    (TIMM, None, (MEAN, STD, (32, 32, 3), 10)),
    ({'num_classes': 7, 'mean': MEAN, 'std': STD}, None, (MEAN, STD, None, 7)),
    (
      {'image_size': 224, 'num_channels': 3, 'id2label': {'0': 'a', '1': 'b'}},
      {'image_mean': [0.5] * 3, 'image_std': [0.5] * 3, 'do_normalize': True},
      ((0.5,) * 3, (0.5,) * 3, (224, 224, 3), 2),
    ),
    ({'image_size': [64, 32]}, {'do_normalize': False}, ((), (), (64, 32, 3), None)),
    ({'pretrained_cfg': 3}, None, ((), (), None, None)),
    (None, None, ((), (), None, None)),
  ],
)
def test_what_is_stated_beside_the_weights(tmp_path, config, images, expected):
  for name, value in (('config.json', config), ('preprocessor_config.json', images)):
    if value is not None:
      (tmp_path / name).write_text(json.dumps(value))
  assert tensors.beside(tmp_path / 'model.safetensors') == expected
  assert tensors.beside(tmp_path / 'model.pth') == ((), (), None, None)


def test_its_normalisation_is_taken_but_a_given_one_goes_before(path):
  path.with_name('config.json').write_text(json.dumps(TIMM))
  assert names.import_file(path)[0] == SPEC._replace(mean=MEAN, std=STD)
  given = {'mean': (0.5,) * 3, 'std': (0.25,) * 3}
  assert names.import_file(path, unstated=given)[0] == SPEC._replace(**given)
  assert names.facts(path).normalised == 'the config.json beside it'


@pytest.mark.parametrize(
  ('text', 'said'),
  [
    ('{', 'no JSON object'),
    ('[]', 'no JSON object'),
    ('[' * 100_000, 'no JSON object'),
    (' ' * (2 << 20), 'too long'),
    (json.dumps(TIMM | {'num_classes': 9}), 'states 9'),
    (json.dumps(TIMM | {'num_classes': 'x'}), 'classes'),
    (json.dumps({'mean': [0.5], 'std': []}), 'mean'),
    (json.dumps({'mean': [0.5] * 3, 'std': [0] * 3}), 'std'),
    (json.dumps({'mean': 'abc', 'std': [1] * 3}), 'mean'),
    (json.dumps({'mean': [10**400] * 3, 'std': [1] * 3}), 'mean'),
    (json.dumps({'input_size': [3, 32]}), 'size of its images'),
    (json.dumps({'image_size': -3}), 'size of its images'),
  ],
  ids=lambda value: value[:20],
)
def test_a_config_that_cannot_be_is_refused_in_one_line(path, text, said):
  path.with_name('config.json').write_text(text)
  with pytest.raises(KdJaxError, match=said) as caught:
    names.import_file(path)
  assert '\n' not in str(caught.value)
