"""What a card says where less is known; cards of real runs are in tests/commands/export_test.py."""

from __future__ import annotations

import ast

import numpy as np
import pytest
from PIL import Image

from kd_jax.data import pictures
from kd_jax.deploy import card

CARD = {
  'training': {'test_accuracy': 0.9, 'test_examples': 10_000, 'selection': 'validation'},
  'config': {},
  'network': {'compute_dtype': 'float32'},
  'runtime': 'jax 1',
}


def said(**changed):
  row = (
    {**CARD['training'], **changed.pop('row', {})}
    if changed.get('training') is None
    else changed['training']
  )
  return ' '.join(card.caveats({**CARD, **changed, 'training': row}))


def test_an_accuracy_has_its_interval():
  assert (
    '10,000 test images: by their choice alone, the 95 % interval of an accuracy of 90.0% is 89.4 '
    'to 90.6 %' in said()
  )
  assert 'an accuracy of 100.0% is 83.9 to 100.0 %' in said(
    row={'test_accuracy': 1.0, 'test_examples': 20}
  )


@pytest.mark.parametrize('mode', ['L', 'RGB'])
@pytest.mark.parametrize('kind', ['RGB', 'RGBA', 'LA', 'turned'])
def test_its_program_sees_a_picture_as_training_does(kind, mode, tmp_path, monkeypatch):
  channels, exif = {'L': 1, 'RGB': 3}[mode], Image.Exif()
  drawn = np.random.default_rng(0).integers(0, 256, (20, 40, 4), np.uint8)
  picture = Image.fromarray(drawn).convert('RGB' if kind == 'turned' else kind)
  if kind == 'turned':
    exif[0x0112] = 6  # a quarter of a turn, as cameras note it
  picture.save(tmp_path / 'picture.png', exif=exif)
  monkeypatch.chdir(tmp_path)
  shape = (20, 10, channels) if kind == 'turned' else (10, 20, channels)
  known = {'runtime': '', 'load': 'classes = [0]', 'run': 'logits = [1]', 'mode': mode}
  known |= dict(zip(('height', 'width', 'channels'), shape, strict=True))
  for stored_size in (0, 27):
    scope = {'resizing': card.resizing(*shape[:2], stored_size)}
    exec(card._CODE.format(**known, **scope), scope)
    expected = pictures.read('picture.png', shape, stored_size=stored_size)
    np.testing.assert_array_equal(scope['image'][0], expected / np.float32(255))


@pytest.mark.parametrize(
  ('changed', 'present', 'absent'),
  [
    ({}, 'validation accuracy is optimistic', 'test accuracy is optimistic'),
    (
      {'row': {'selection': 'test'}},
      'test accuracy is optimistic',
      'validation accuracy is optimistic',
    ),
    ({'row': {'test_examples': None}}, 'was not recorded', '95 % interval'),
    ({'training': {}}, 'weights were imported', 'seed'),
    ({'config': {'eval_examples': 50}}, 'a subset', 'bfloat16'),
    ({'network': {'compute_dtype': 'bfloat16'}}, 'evaluated in bfloat16', 'a subset'),
  ],
)
def test_caveats(changed, present, absent):
  text = said(**changed)
  assert present in text and absent not in text and 'calibrated' in text and 'jax 1' in text


def test_a_teacher_that_the_format_cannot_have():
  student = {
    'role': 'student',
    'network': 's',
    'parameters': 1234,
    'bytes': 2_500_000,
    'latency': [
      {'batch': 1, 'median_ms': 0.12345, 'runs': 9},
      {'batch': 128, 'median_ms': 1234.5, 'runs': 3},
    ],
  }
  teacher = {'role': 'teacher', 'network': 'own:t', 'parameters': 5, 'bytes': None, 'latency': []}
  assert card.size_table([student, teacher]).splitlines()[2:] == [
    '| student: s | 1,234 | 2.50 | 0.123 (9) | 1,234 (3) |',
    '| teacher: own:t | 5 | – | – | – |',
  ]


def test_what_records_say_is_text():
  """A class may be called anything: it makes no heading, table, tag or code of its own."""
  odd = '<b>*x*|`y`\n# z'
  whole = {
    **CARD,
    'file': "x'), evil('.stablehlo",
    'format': 'stablehlo',
    'also': [],
    'sha256': 'aa',
    'source': odd,
    'network': {
      'name': odd,
      'classes': 2,
      'image_shape': (8, 8, 3),
      'compute_dtype': 'float32',
      'relu_placement': 'block',
    },
    'classes': ('a', odd),
    'input': dict.fromkeys(('dtype', 'layout', 'range', 'resize'), 'x') | {'shape': ('batch', 8)},
    'output': 'logits',
    'training': {},
    'teachers': [],
    'check': {
      'images': 4,
      'batches': (1, 3),
      'probabilities': 1e-7,
      'logits': 1e-6,
      'tolerance': 1e-4,
    },
    'sizes': [{'role': 'student', 'network': odd, 'parameters': 5, 'bytes': None, 'latency': []}],
    'timing': 'Medians.',
    'caveats': [odd],
    'versions': {'training': {}, 'export': {}},
  }
  text = card.render(whole)
  program = text.split('```')[1]
  assert f'classes = {["a", odd]}' in program
  names = {
    node.id
    for node in ast.walk(ast.parse(program.partition('\n')[2]))
    if isinstance(node, ast.Name)
  }
  assert 'open' in names and 'evil' not in names  # a file may be called anything, too
  for line in text.replace(program, '').splitlines():
    assert not line.startswith('# z') and '<b>' not in line.replace('\\<', '')
  assert text.count('\\<b>\\*x\\*\\|\\`y\\` # z') == 6
