"""Bad files of networks from elsewhere: safetensors, what lies beside them, families for pictures,
foreign objects. tests/bad_files.py has the others. No tests here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.numpy

from kd_jax.pytorch import writer as torch_writer
from tests import bad_files, bad_later, pickles
from tests.bad_files import Make, data, folder, text

_GOLDENS = Path(__file__).parent / 'goldens' / 'networks_families.npz'
State = dict[str, np.ndarray]


def header(entries: dict[str, object], values: bytes = b'') -> bytes:
  """The bytes of a file of safetensors."""
  written = json.dumps(entries).encode()
  return struct.pack('<Q', len(written)) + written + values


def array(kind: str, shape: list[int], end: int) -> dict[str, object]:
  """The entry of an array in a header."""
  return {'dtype': kind, 'shape': shape, 'data_offsets': [0, end]}


def timm(name: str, change: Callable[[State], State]) -> Make:
  """A checkpoint of zeros under the names of a network of timm, changed."""

  def make(path: Path, stock: Path) -> None:
    with np.load(_GOLDENS) as goldens:
      lines = str(goldens[f'timm_{name}__state']).splitlines()
    shapes = {}
    for entry, sides in (line.split(' ') for line in lines):
      if 'tracked' not in entry:
        shapes[entry] = tuple(map(int, sides.split('x')))
    state = {entry: np.zeros(shape, np.float16) for entry, shape in shapes.items()}
    torch_writer.write(path, change(state))

  return make


def less(*starts: str) -> Callable[[State], State]:
  """A change that leaves out what begins so."""
  return lambda state: {
    name: values for name, values in state.items() if not name.startswith(starts)
  }


def published(config: str, **more: str) -> Make:
  """A folder of weights of a thin_resnet8, as they are published, with a config.json."""

  def weights(path: Path, stock: Path) -> None:
    with np.load(stock / 'state.npz') as state:
      safetensors.numpy.save_file(dict(state), path)

  beside = {'config.json': text(config), **{name: text(each) for name, each in more.items()}}
  return folder(**{'model.safetensors': weights}, **beside)


FILES: dict[str, Make] = {
  'short.safetensors': data(b'\x10\x00'),
  'no_json.safetensors': data(struct.pack('<Q', 8) + b'{"a": 1x'),
  'long.safetensors': data(struct.pack('<Q', 2**62) + b'{}'),
  'beyond.safetensors': data(header({'w.weight': array('F32', [4], 16)}, bytes(8))),
  'quantised.safetensors': data(header({'w.weight': array('F8_E4M3', [4], 4)}, bytes(4))),
  'of_kd_jax.safetensors': data(header({'params/head/kernel': array('F32', [1], 4)}, bytes(4))),
  'no_weights.safetensors': data(header({'tokens': array('I64', [1], 8)}, bytes(8))),
  'config_text_beside': published('{'),
  'config_list_beside': published('[]'),
  'config_of_0_classes': published('{"num_classes": 0}'),
  'config_of_7_classes': published('{"num_classes": 7}'),
  'config_without_spread': published('{"pretrained_cfg": {"mean": [0.5], "std": [0]}}'),
  'config_of_no_size': published('{"pretrained_cfg": {"input_size": [1, -16, 16]}}'),
  'images_text_beside': published('{}', **{'preprocessor_config.json': 'x'}),
  'second_convnext.pth': timm(
    'convnext_atto',
    lambda state: state | {'stages.0.blocks.0.mlp.grn.weight': np.zeros(160, np.float16)},
  ),
  'convnext_body.pth': timm('convnext_atto', less('head.')),
  'short_convnext.pth': timm('convnext_atto', less('stages.3.')),
  'wide_mobilenet.pth': timm(
    'mobilenetv3_small_100',
    lambda state: state | {'blocks.1.0.conv_dw.weight': np.zeros((80, 1, 3, 3), np.float16)},
  ),
  'no_stem.pth': timm('mobilenetv3_small_100', less('conv_stem.')),
  'mobilenet.pth': timm('mobilenetv3_small_100', dict),
  'flat_stem.pth': timm(
    'mobilenetv3_small_100', lambda state: state | {'conv_stem.weight': np.zeros((), np.float16)}
  ),
  'arguments.pth': data(
    pickles.zipped(pickles.dictionary(args=pickles.call('argparse', 'Namespace')), {})
  ),
}
MAKERS = bad_files.FILES | FILES | bad_later.FILES
