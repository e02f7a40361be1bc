"""What tests/fuzz.py draws of networks from elsewhere: safetensors, the config.json beside them,
state dicts of the families for pictures. No tests here.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import safetensors.numpy
from hypothesis import strategies as st

from kd_jax.pytorch import reader as torch_reader
from kd_jax.pytorch import recognition, tensors
from kd_jax.pytorch.specs import canonical, spec_from_state
from tests import fuzz_kinds
from tests.fuzz_kinds import EDITS, JSON, STATES, Kind, damaged, edited, replaced

GOOD = safetensors.numpy.save(
  {'w.weight': np.arange(6, dtype=np.float32).reshape(2, 3), 'n': np.ones(1, np.int64)}
)
# as timm's and as Hugging Face's
BESIDE = {
  'architecture': 'resnet8',
  'num_classes': 10,
  'pretrained_cfg': {'mean': [0.5], 'std': [0.2], 'input_size': [1, 16, 16], 'num_classes': 1000},
  'image_size': 16,
  'num_channels': 1,
  'id2label': {'0': 'a', '1': 'b'},
}
CONFIGS = st.one_of(
  JSON.map(lambda value: json.dumps(value).encode()),
  st.builds(
    lambda number, value: json.dumps(replaced(BESIDE, number, value)).encode(),
    st.integers(0, 20),
    JSON,
  ),
  st.builds(damaged, st.just(json.dumps(BESIDE).encode()), EDITS),
)
FAMILIES = ('timm_convnext_atto', 'timm_mobilenetv3_small_100', 'timm_efficientnet_b0')
GOLDENS = Path(__file__).parent / 'goldens' / 'networks_families.npz'


@functools.cache
def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
  with np.load(GOLDENS) as goldens:
    lines = str(goldens[f'{name}__state']).splitlines()
  entries = (line.split(' ') for line in lines if 'tracked' not in line)
  return {entry: tuple(map(int, sides.split('x'))) for entry, sides in entries}


def _write_safetensors(folder: Path, case: bytes) -> None:
  (folder / 'a.safetensors').write_bytes(case)


def _write_config(folder: Path, case: bytes) -> None:
  (folder / 'config.json').write_bytes(case)


def _read_family(folder: Path, case: tuple[str, dict, str]) -> None:
  name, edits, asked = case
  zero = np.zeros((), np.float32)
  state = {entry: np.broadcast_to(zero, shape) for entry, shape in shapes_of(name).items()}
  state = {edits['prefix'] + entry: array for entry, array in edited(state, edits).items()}
  spec = spec_from_state(state, image_shape=(64, 64, 3), name=asked or None)
  found = recognition.of_state(canonical(state)[0])
  assert asked or recognition.of_row(spec.name) == found


def _shared(kind: Kind, name: str) -> Kind:
  """A kind with a smaller share, where these take theirs."""
  return kind._replace(share=kind.share - 0.04) if name in ('instructions', 'values') else kind


KINDS: dict[str, Kind] = {
  **{name: _shared(kind, name) for name, kind in fuzz_kinds.KINDS.items()},
  'safetensors': Kind(
    st.builds(damaged, st.just(GOOD), EDITS) | st.binary(max_size=40),
    lambda folder, case: torch_reader.read(f'{folder}/a.safetensors'),
    0.03,
    _write_safetensors,
    memory=lambda content: 1e6 + 400 * len(content),
  ),
  'beside': Kind(
    CONFIGS, lambda folder, case: tensors.beside(folder / 'a.safetensors'), 0.03, _write_config
  ),
  'families': Kind(
    st.tuples(
      st.sampled_from(FAMILIES), STATES, st.sampled_from(['', 'convnext_atto', 'efficientnet_b0'])
    ),
    _read_family,
    0.02,
    pure=False,
  ),
}
