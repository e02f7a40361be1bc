"""What tests/fuzz.py draws, and the readers that it is given to. No tests here."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import ml_collections
import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import save

from kd_jax import config as configuration
from kd_jax import factories, models
from kd_jax.commands import command_line, config_file
from kd_jax.commands import run as launch
from kd_jax.data import layouts
from kd_jax.files import records, run_records, study_records
from kd_jax.methods import METHODS, plans
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import reader as torch_reader
from kd_jax.pytorch import writer as torch_writer
from kd_jax.report import run_table, study_notes, study_tables, tables
from kd_jax.runs import embedding_table
from kd_jax.types import KdJaxError, NetworkSpec
from tests.pickles import call, dictionary, group, integer, storage, streamed, tensor, text, zipped


class Kind(NamedTuple):
  """Cases of one kind."""

  draw: st.SearchStrategy
  # is given a folder, and what was drawn; raises KdJaxError where it refuses
  read: Callable[[Path, Any], Any]
  share: float  # of all cases
  write: Callable[[Path, Any], None] | None = None  # puts what was drawn into the folder first
  pure: bool = True  # whether Python may execute nothing meanwhile
  memory: Callable[[Any], float] | None = None  # the bytes that it may take


# Checkpoints of PyTorch.

VALUES = np.arange(6, dtype=np.float32).tobytes()
LONG = struct.pack('<q', 5)
STORED = {'0': VALUES, '1': LONG}
NUMBER_TYPE = (
  call('numpy', 'dtype', text('f4'), b'\x89', b'\x88') + group(integer(3), text('<')) + b'b'
)
WEIGHTS = [
  text('w'),
  tensor(storage('0', 6), (2, 3), (3, 1)),
  text('n'),
  tensor(storage('1', 1, 'Long'), (), ()),
]
GOOD = dictionary(
  model_state_dict=call('collections', 'OrderedDict')
  + b'('
  + b''.join(WEIGHTS)
  + b'u'
  + dictionary(_metadata=b'}')
  + b'b',
  rates=b'](G?\xf0\x00\x00\x00\x00\x00\x00K\x05eq\x01',
  best=call(
    'numpy.core.multiarray',
    'scalar',
    NUMBER_TYPE,
    call('_codecs', 'encode', text('abcd'), text('latin1')),
  ),
  parameter=call(
    'torch._utils', '_rebuild_parameter', tensor(storage('0', 6), (6,), (1,)), b'\x88', b'N'
  ),
)
HACK = text('touch hacked')
FORBIDDEN = [
  call('os', 'system', HACK),
  call('posix', 'system', HACK),
  call('builtins', 'eval', text('open("hacked", "w")')),
  call('builtins', 'exec', text('import os')),
  call('subprocess', 'Popen', HACK),
  call('shutil', 'rmtree', text('.')),
  call('builtins', 'getattr', b'cos\nsystem\n', text('x')),
  call('torch', 'load', text('other.pth')),
  call('runpy', 'run_path', text('a')),
  call('builtins', '__import__', text('os')),
  call('numpy', 'load', text('x')),
  b'(cos\nsystem\n' + HACK + b'o',
  b'(ios\nsystem\n' + HACK + b')R',
  b'\x8c\x02os\x8c\x06system\x93' + group(HACK) + b'R',
  b'c__main__\nNet\n)\x81}b',
  call('functools', 'partial', b'cos\nsystem\n', HACK),
  call('operator', 'attrgetter', text('system')),
  b'\x82\x01',
  b'Pfile\n',
]
OPCODES = [
  bytes([code])
  for code in b'.NJKMGX})]taeusqrhjcRbQ2\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x93\x94\x95BCIiopPl'
]
NUMBERS = [
  b'\xff' * 4,
  b'\x00\x00\x00\x80',
  b'\xff\xff\xff\x7f',
  bytes(4),
  struct.pack('<q', 2**40),
  struct.pack('<q', -1),
]
PIECES = [
  *(bytes([code]) for code in b'N}])(t\x85\x86\x87aesuQRb\x88'),
  b'h\x00',
  b'q\x00',
  b'h\x01',
  b'q\x01',
  b'\x94',
  *map(text, ('storage', '0', 'latin1', '<', 'f4', 'w', 'model_state_dict')),
  integer(6),
  integer(-1),
  integer(2**40),
  b'K\x01',
  storage('0', 6),
  storage('0', 2**40),
  storage('1', 1, 'Long'),
  b'ctorch\nFloatStorage\n',
  b'ctorch._utils\n_rebuild_tensor_v2\n',
  b'cnumpy\ndtype\n',
  b'c_codecs\nencode\n',
  NUMBER_TYPE,
  b'cnumpy.core.multiarray\nscalar\n',
  b'ccollections\nOrderedDict\n',
  *WEIGHTS,
  tensor(storage('0', 6), (2**40,), (0,)),
  tensor(storage('0', 6), (0, 2**40), (1, 1)),
  b']' * 70,
  b'\x85' * 70,
]
EDIT = st.tuples(
  st.sampled_from(['set', 'cut', 'drop', 'copy', 'number', 'opcode', 'piece', 'swap']),
  st.integers(0, 2**14),
  st.integers(0, 2**14),
  st.integers(0, 255),
)
EDITS = st.lists(EDIT, min_size=1, max_size=4)


def damaged(content: bytes, edits: list[tuple[str, int, int, int]]) -> bytes:
  """Bytes that were changed, lost, repeated, moved, or replaced by what means something."""
  given = bytearray(content)
  for how, at, other, value in edits:
    at, other = at % (len(given) + 1), other % (len(given) + 1)
    match how:
      case 'set':
        given[at : at + 1] = bytes([value])
      case 'cut':
        del given[at:]
      case 'drop':
        del given[at : at + value % 32 + 1]
      case 'copy':
        given[at:at] = given[other : other + value]
      case 'swap':
        given[at : at + 4], given[other : other + 4] = given[other : other + 4], given[at : at + 4]
      case 'number':
        number = NUMBERS[value % len(NUMBERS)]
        given[at : at + len(number)] = number
      case 'opcode':
        given[at : at + value % 2] = OPCODES[other % len(OPCODES)]
      case 'piece':
        pieces = PIECES + FORBIDDEN
        given[at:at] = pieces[other % len(pieces)]
  return bytes(given)


def rebuilt(entries: list[tuple[str, bytes, int]], comment: bytes) -> bytes:
  """An archive of entries, whose names may repeat, and lead elsewhere."""
  out = io.BytesIO()
  with warnings.catch_warnings(), zipfile.ZipFile(out, 'w') as archive:
    warnings.simplefilter('ignore')  # of names that repeat
    archive.comment = comment
    for name, content, compression in entries:
      archive.writestr(zipfile.ZipInfo(name), content, compression)
  return out.getvalue()


WHOLE = b'\x80\x02' + GOOD + b'.'
ENTRY = st.tuples(
  st.sampled_from(
    [
      'archive/data.pkl',
      'archive/data/0',
      'archive/data/1',
      'archive/byteorder',
      'other/data.pkl',
      'archive/data/../0',
      '/data.pkl',
      'data.pkl',
      'archive/version',
      'archive/',
      'archive/data/' + '9' * 300,
    ]
  ),
  st.sampled_from(
    [
      WHOLE,
      VALUES,
      LONG,
      b'little',
      b'big',
      b'',
      bytes(5000),
      *(b'\x80\x02' + each + b'.' for each in FORBIDDEN[:4]),
    ]
  ),
  st.sampled_from([zipfile.ZIP_STORED] * 3 + [zipfile.ZIP_DEFLATED]),
)
SOUND = [('archive/data.pkl', WHOLE, 0), ('archive/data/0', VALUES, 0), ('archive/data/1', LONG, 0)]
ARCHIVES = st.one_of(
  st.builds(damaged, st.just(zipped(GOOD, STORED)), EDITS),
  st.builds(
    lambda more, left, comment: rebuilt(SOUND[left:] + more, comment),
    st.lists(ENTRY, max_size=4),
    st.integers(0, 2),
    st.binary(max_size=9),
  ),
  st.builds(
    lambda more, edits: damaged(rebuilt(SOUND + more, b''), edits),
    st.lists(ENTRY, max_size=2),
    EDITS,
  ),
)
STREAMS = st.builds(damaged, st.just(streamed(GOOD, {'0': (6, VALUES), '1': (1, LONG)})), EDITS)
PICKLES = st.builds(lambda edits: zipped(damaged(GOOD, edits), STORED), EDITS)
PROGRAMS = st.builds(
  lambda pieces, frame: zipped(
    {
      'bare': b''.join(pieces),
      'value': b'}' + text('a') + b''.join(pieces) + b's',
      'entry': dictionary(w=b''.join(pieces)),
    }[frame],
    STORED,
  ),
  st.lists(
    st.one_of(
      st.sampled_from(PIECES),
      st.sampled_from(PIECES),
      st.sampled_from(FORBIDDEN),
      st.integers(-(2**70), 2**70).map(integer),
      st.text(max_size=5).map(text),
    ),
    min_size=1,
    max_size=14,
  ),
  st.sampled_from(['bare', 'value', 'entry']),
)


def _pth(folder: Path, content: bytes) -> None:
  (folder / 'a.pth').write_bytes(content)


def _read(folder: Path, content: bytes) -> None:
  # Not a Path: it interns its parts, and the table of interned texts may be enlarged meanwhile.
  assert type(torch_reader.read(f'{folder}/a.pth')) is dict


SPEC = NetworkSpec('thin_resnet8', 10, (16, 16, 1))


def _state() -> dict[str, np.ndarray]:
  """Arrays of the names and shapes of a thin_resnet8."""
  from tests import tiny

  return torch_names.to_torch(tiny.variables(models.build(SPEC)), SPEC)


SHAPES = st.lists(st.integers(0, 12), max_size=5).map(tuple)
TYPES = st.sampled_from(['float64', 'float32', 'float16', 'int64', 'int8', 'bool'])
NOTES = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
  lambda inner: st.lists(inner, max_size=3),
)
STATES = st.fixed_dictionaries(
  {
    'lost': st.lists(st.integers(0, 99), max_size=1),
    'renamed': st.lists(st.tuples(st.integers(0, 99), st.text(max_size=20)), max_size=1),
    'reshaped': st.lists(st.tuples(st.integers(0, 99), SHAPES, TYPES), max_size=1),
    'value': st.sampled_from([0.0, np.nan, np.inf]),
    'prefix': st.sampled_from(['', 'module.', 'model.', 'net.']),
    'note': st.none()
    | st.text(max_size=20)
    | st.fixed_dictionaries(
      {},
      optional={
        'name': st.sampled_from(['thin_resnet8', 'resnet8', 'own:net', '']),
        'classes': NOTES | st.just(10),
        'image_shape': NOTES | st.just([16, 16, 1]),
        'relu_placement': st.sampled_from(['block', 'pool', 'nowhere']),
        'mean': NOTES,
        'std': NOTES,
        'compute_dtype': NOTES,
      },
    ),
  }
)


def edited(state: dict[str, np.ndarray], case: dict) -> dict[str, np.ndarray]:
  """Arrays of which some are of another shape or type, of another name, or lost."""
  state = dict(state)
  names = list(state)
  for number, shape, kind in case['reshaped']:
    state[names[number % len(names)]] = np.full(
      shape, case['value'] if 'float' in kind else 0, kind
    )
  for number, name in case['renamed']:
    if (old := names[number % len(names)]) in state:
      state[name] = state.pop(old)
  for number in case['lost']:
    state.pop(names[number % len(names)], None)
  return state


def _write_state(folder: Path, case: dict) -> None:
  if not hasattr(_write_state, 'state'):
    _write_state.state = _state()
  state = edited(_write_state.state, case)
  note = case['note']
  notes = (
    {} if note is None else {'kd_jax_network': note if isinstance(note, str) else json.dumps(note)}
  )
  torch_writer.write(
    folder / 'a.pth', {case['prefix'] + name: array for name, array in state.items()}, notes=notes
  )


# Configurations.

NAMES = configuration.names()
WORDS = [
  'kd',
  'oh',
  'ab',
  'dual',
  'mkd',
  'takd',
  'kd+0.5*oh',
  'kd+nan*oh',
  'resnet8',
  'thin_resnet8',
  'wrn16_1',
  'own:net',
  ':',
  'test',
  'validation',
  'published',
  'official',
  'pmap',
  'bfloat16',
  'host',
  'pool',
  'digits',
  '',
  'true',
  'None',
  'nan',
  'inf',
  '-inf',
  '1e400',
  '-1',
  '0',
  '1',
  '4',
  '1.5',
  '0x10',
  '9' * 400,
  '9' * 5000,
  '(.5,.6)',
  '(1',
  '()',
  '[1]',
  '{}',
  '{1:2}',
  '"a"',
  "('a',)",
  '1,2',
  'weak+cutout:3',
  'first:2',
  '²',
  '\x00',
  '\x1b[31m',
  '\u202e',
  '\ud800',
  '\n',
  'a\nb',
  '~nobody_of_that_name',
  '/',
  '..',
  '${x}',
  '%s',
  '@',
  '__class__',
]
KEYS_ALONE = {name: field.default for name, field in configuration.KEYS.items()}
SOUND_KEYS = KEYS_ALONE | {
  f'{method}.{option}': value
  for method in METHODS
  for option, value in configuration.options_of(method).items()
}
KEYS = st.one_of(
  st.sampled_from(NAMES),
  st.sampled_from(NAMES),
  st.text(max_size=12),
  st.sampled_from(['kd', 'kd.alhpa', 'epochs.x', '.', 'options']),
)
TEXTS = st.one_of(
  st.sampled_from(WORDS),
  st.text(st.characters(exclude_categories=()), max_size=30),
  st.integers().map(str),
  st.floats().map(str),
)
PLAUSIBLE = st.sampled_from(
  [(key, str(value)) for key, value in SOUND_KEYS.items()] + [('method', name) for name in METHODS]
)
OVERRIDES = st.lists(
  st.one_of(PLAUSIBLE, PLAUSIBLE, st.tuples(KEYS, TEXTS)), min_size=1, max_size=4
)
LEAVES = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(),
  st.integers(0, 300),
  st.floats(),
  st.sampled_from(WORDS),
  st.text(max_size=8),
  st.binary(max_size=4),
  st.builds(pow, st.just(10), st.just(5000)),
)
THINGS = st.recursive(
  LEAVES,
  lambda inner: st.one_of(
    st.lists(inner, max_size=3),
    st.lists(inner, max_size=3).map(tuple),
    st.dictionaries(st.text(max_size=5), inner, max_size=2),
  ),
  max_leaves=5,
)
OPTIONS = sorted({name.split('.')[1] for name in NAMES if '.' in name})
SECTIONS = st.dictionaries(st.sampled_from(OPTIONS), LEAVES | THINGS, max_size=2)
FIELDS = st.one_of(
  st.sampled_from(list(KEYS_ALONE.items()) + [('method', name) for name in METHODS]),
  st.tuples(st.sampled_from(list(configuration.KEYS)), THINGS),
  st.tuples(st.sampled_from(list(configuration.KEYS)), LEAVES),
  st.tuples(st.sampled_from(list(METHODS)), SECTIONS | THINGS),
  st.tuples(st.text(max_size=8) | st.integers(), THINGS),
)
LOOSE = st.lists(FIELDS, min_size=1, max_size=4).map(dict)
PLAIN = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(),
  st.floats(allow_nan=False, allow_infinity=False),
  st.text(max_size=8),
  st.sampled_from([1e308, 10**400, -1, 0, 0.5, 1, 'a', 'final']),
)
JSON = st.recursive(
  PLAIN,
  lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=2)
  ),
  max_leaves=5,
)


def _parse(folder: Path, overrides: list[tuple[str, str]]) -> None:
  """The command up to the run's phases. Its line and exit code 2 are a refusal, too."""
  argv = [
    'launch.py',
    '--config=digits_kd',
    *(f'--config.{key}={value}' for key, value in overrides),
  ]
  said = io.StringIO()
  sys.argv, kept = argv, sys.argv
  try:
    with contextlib.redirect_stderr(said):
      given, rest = _parser().parse_known_args(argv[1:])
      try:
        config, _ = config_file.parse(given.config, rest, command='launch.py')
      except KdJaxError as error:
        command_line.complain('launch.py', str(error))
        sys.exit(2)
  except SystemExit as stopped:
    line = said.getvalue()
    assert stopped.code == 2 and line.startswith('launch.py: '), f'exit code {stopped.code}: {line}'
    assert line.endswith('\n') and line[:-1].isprintable() and len(line) < 1200, (
      f'no line: {line!r}'
    )
    raise KdJaxError(line.strip()) from None
  finally:
    sys.argv = kept
    sys.modules.pop('config_config', None)
  _settle(config)


@functools.cache
def _parser() -> command_line.Parser:
  return launch.parser()


def _settle(given: ml_collections.ConfigDict) -> None:
  """What a run makes of a configuration before it asks for data."""
  config = configuration.resolve(given)
  json.dumps(config.for_json())
  names = config.student, config.teacher
  if any(factories.is_own(name, 'network') for name in names):  # whose code would run
    return
  student, teacher = (
    NetworkSpec(name, 10, (16, 16, 1), models.relu_placement(name, config.relu_placement))
    for name in names
  )
  plans.make(
    plans.PlanInputs(
      method=config.method,
      recipe=config.recipe,
      options=config.options,
      student=student,
      teacher=teacher,
      relu_placement=config.relu_placement,
      imported=(),
      baseline=config.baseline,
      epochs=config.epochs,
      teacher_epochs=config.teacher_epochs,
      batch_size=config.batch_size,
      optimiser=config.optimiser_spec(),
    )
  )


def _resolve(folder: Path, case: dict) -> None:
  try:
    given = ml_collections.ConfigDict(case)
  # a name with a dot in it, of which ml_collections makes no configuration, so that no file could
  # return it
  except ValueError:
    hypothesis.reject()
  _settle(given)


# Records of runs and studies.


def replaced(tree: Any, number: int, value: Any) -> Any:
  """A tree of JSON with another value at the place of that number, counted through all of it."""
  left = [number]

  def walk(node: Any) -> Any:
    left[0] -= 1
    if left[0] == -1:
      return value
    if isinstance(node, dict):
      return {key: walk(item) for key, item in node.items()}
    return [walk(item) for item in node] if isinstance(node, list) else node

  return walk(tree)


FILES = ['study.json', 'results.json', 'sweeps.json', 'config.json', 'versions.json']
EDITED = st.lists(
  st.tuples(st.sampled_from(FILES), st.integers(0, 400), JSON), min_size=1, max_size=2
)


def _records(made: Callable[[Path], Any]) -> Callable[[Path, list], None]:
  """A function that writes the records of a folder that is made once, edited."""
  kept: dict[str, Any] = {}

  def write(folder: Path, edits: list[tuple[str, int, Any]]) -> None:
    if not kept:
      made(folder)
      kept.update({path.name: json.loads(path.read_text()) for path in folder.glob('*.json')})
    changed = dict(kept)
    for name, number, value in edits:
      name = name if name in changed else 'results.json'
      changed[name] = replaced(changed[name], number, value)
    for name, value in changed.items():
      (folder / name).write_text(json.dumps(value))

  return write


def _made_study(folder: Path) -> None:
  from tests.report import study_report_test

  study_report_test.made(folder)


def _made_run(folder: Path) -> None:
  from tests.report import run_report_test

  run_report_test.made(folder)


def _read_study(folder: Path, case: Any) -> None:
  read = study_records.read(folder)
  for found in (
    study_tables.results(read),
    study_tables.comparisons(read),
    study_tables.sweeps(read),
  ):
    tables.markdown(found)
  study_notes.warnings(read)


def _read_run(folder: Path, case: Any) -> None:
  read = run_records.read(folder)
  run_table.table(read.rows)
  assert read.student and read.networks and isinstance(read.teachers, list)


HISTORY = (
  b'epoch,train_loss,term/cross_entropy,term/distillation\n1,0.5,0.25,0.25\n2,0.25,0.125,nan\n'
)
ANNOTATIONS = b'0.png\tcat\t0\t0\t9\t9\n1.png\tdog\t0\t0\t9\t9\n2.png\tcat\r\n'


def _annotate(folder: Path, case: bytes) -> None:
  for name in ('train/cat/0', 'train/dog/0', 'val/images/0', 'val/images/1', 'val/images/2'):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / f'{name}.png').touch()
  (folder / 'val' / 'val_annotations.txt').write_bytes(case)


def _list(folder: Path, case: bytes) -> None:
  layout = layouts.find(folder)
  classes = layouts.classes(folder, layout.splits)
  validation = layout.splits['validation']
  assert classes == ('cat', 'dog') and sum(map(len, validation.values())) == 3


def _tables_of_embeddings() -> dict[str, bytes]:
  """A good table of each kind, by its name."""
  rows = {f'{number}.png': np.full(3, number, np.float32) for number in range(4)}
  out = io.BytesIO()
  drawn = json.dumps({'seed': 1, 'crop_padding': 2, 'flip': True, 'augment': ''})
  np.savez(
    out,
    name=np.array([*rows]),
    embedding=np.zeros((4, 2, 3), np.float16),
    fingerprint=np.zeros((4, 2), np.uint32),
    views=np.array(drawn),
  )
  lines = ''.join(f'{name},{",".join(map(str, row))}\n' for name, row in rows.items())
  return {'a.npz': out.getvalue(), 'a.csv': lines.encode(), 'a.safetensors': save(rows)}


def _read_embeddings(folder: Path, case: tuple[str, bytes]) -> None:
  table = embedding_table.read(folder / case[0])
  assert len(table.names) == len(table.embedding) and table.embedding.ndim == 3


EMBEDDINGS = st.builds(
  lambda pair, edits: (pair[0], damaged(pair[1], edits)),
  st.sampled_from([*_tables_of_embeddings().items()]),
  EDITS,
)
READ = {'read': _read, 'write': _pth, 'memory': lambda content: 1e6 + 400 * len(content)}
KINDS = {
  'zip': Kind(ARCHIVES, share=0.14, **READ),
  'stream': Kind(STREAMS, share=0.12, **READ),
  'pickle': Kind(PICKLES, share=0.14, **READ),
  'instructions': Kind(PROGRAMS, share=0.16, **READ),
  'network': Kind(
    STATES,
    lambda folder, case: torch_names.import_file(folder / 'a.pth', image_shape=(16, 16, 1)),
    0.01,
    _write_state,
    False,
  ),
  'flags': Kind(OVERRIDES, _parse, 0.1, pure=False),
  'values': Kind(LOOSE, _resolve, 0.14, pure=False),
  'stored': Kind(
    st.dictionaries(st.sampled_from([*configuration.KEYS, 'options', 'x']), JSON, max_size=4),
    lambda folder, case: configuration.from_json(case),
    0.05,
  ),
  'study': Kind(EDITED, _read_study, 0.04, _records(_made_study), False),
  'run': Kind(EDITED, _read_run, 0.04, _records(_made_run), False),
  'history': Kind(
    st.builds(damaged, st.just(HISTORY), EDITS),
    lambda folder, case: records.read_curves(folder / 'history.csv'),
    0.02,
    lambda folder, case: (folder / 'history.csv').write_bytes(case),
  ),
  'embeddings': Kind(
    EMBEDDINGS,
    _read_embeddings,
    0.02,
    lambda folder, case: (folder / case[0]).write_bytes(case[1]),
    pure=False,
  ),
  'annotations': Kind(
    st.builds(damaged, st.just(ANNOTATIONS), EDITS), _list, 0.02, _annotate, pure=False
  ),
}
