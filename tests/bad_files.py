"""What bad input is made of: every name that a case of bad_cases.py may mention, and what makes the
file or folder. No tests here.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from kd_jax.pytorch import writer as torch_writer
from tests import bad_tables, own_code, pickles

Make = Callable[[Path, Path], None]  # (where to, the stock: see `stock`)
HEADER = 'import ml_collections\n\nfrom kd_jax.config import default\nfrom kd_jax.study import Row, study\n\n\n'
STUDY = "  return study('T', question='Q', protocol='P', dataset='digits', student='thin_resnet8', teacher='thin_resnet8', "


def stock(folder: Path) -> None:
  """Makes what takes JAX: a network, its weights under PyTorch's names, exported functions, a run,
  a study, a started run.
  """
  import jax
  import jax.numpy as jnp

  from kd_jax import config as configuration
  from kd_jax import models
  from kd_jax.files.networks import save_network
  from kd_jax.pytorch import names as torch_names
  from kd_jax.types import NetworkSpec
  from tests import tiny
  from tests.report import run_report_test, study_report_test

  spec = NetworkSpec('thin_resnet8', 10, (16, 16, 1))
  variables = tiny.variables(models.build(spec))
  save_network(folder / 'network', spec, variables, {'row': {}, 'classes': list('0123456789')})
  np.savez(folder / 'state.npz', **torch_names.to_torch(variables, spec))
  for name, shape, classes, platforms in (
    ('function', 'b, 16, 16, 1', 10, ['cpu']),
    ('other_images', 'b, 8, 8, 3', 10, ['cpu']),
    ('other_classes', 'b, 16, 16, 1', 3, ['cpu']),
    ('four_at_a_time', '4, 16, 16, 1', 10, ['cpu']),
    ('for_tpu', 'b, 16, 16, 1', 10, ['tpu']),
  ):
    image = jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape), jnp.float32)
    made = jax.export.export(
      jax.jit(lambda x, k=classes: jnp.zeros((x.shape[0], k)) + x.mean()), platforms=platforms
    )(image)
    (folder / f'{name}.jax').write_bytes(made.serialize())
  pair = jax.ShapeDtypeStruct((3,), jnp.float32)
  (folder / 'two_arguments.jax').write_bytes(
    jax.export.export(jax.jit(jnp.add), platforms=['cpu'])(pair, pair).serialize()
  )
  run_report_test.made(folder / 'run')
  study_report_test.made(folder / 'study')
  started = configuration.default(
    dataset='digits',
    validation_examples=287,
    crop_padding=2,
    flip=False,
    teacher='thin_resnet14',
    student='thin_resnet8',
    method='kd',
    baseline=True,
    epochs=10,
    batch_size=64,
    log_every=10,
  )
  (folder / 'started').mkdir()
  (folder / 'started' / 'config.json').write_text(
    json.dumps(configuration.resolve(started).for_json())
  )


def text(content: str) -> Make:
  return lambda path, stock: path.write_text(content)


def data(content: bytes) -> Make:
  return lambda path, stock: path.write_bytes(content)


def folder(**files: Make | None) -> Make:
  """Slashes in names are written as they are; None leaves one out."""

  def make(path: Path, stock: Path) -> None:
    path.mkdir()
    for name, one in files.items():
      if one:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        one(path / name, stock)

  return make


def of_stock(name: str, **changes: Make) -> Make:
  """A file or a folder of the stock, with some files changed."""

  def make(path: Path, stock: Path) -> None:
    (shutil.copytree if (stock / name).is_dir() else shutil.copy)(stock / name, path)
    for inside, one in changes.items():
      (path / inside).parent.mkdir(parents=True, exist_ok=True)
      one(path / inside, stock)

  return make


def part(make: Make, share: float) -> Make:
  """The first share of a file."""

  def cut(path: Path, stock: Path) -> None:
    make(path, stock)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

  return cut


def locked(make: Make, mode: int = 0) -> Make:
  """Which may not be read; or, at another mode, not be written."""

  def lock(path: Path, stock: Path) -> None:
    make(path, stock)
    path.chmod(mode)

  return lock


def link(target: str) -> Make:
  return lambda path, stock: path.symlink_to(target)


def pipe(path: Path, stock: Path) -> None:
  os.mkfifo(path)


def changed_json(change: Callable[[object], object]) -> Make:
  """A JSON file that is there already, changed."""
  return lambda path, stock: path.write_text(json.dumps(change(json.loads(path.read_text()))))


def with_rows(**changes: object) -> Make:
  """The first of the rows of results.json with other values; a value of None leaves a key out."""

  def change(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in {**rows[0], **changes}.items() if v is not None}, *rows[1:]]

  return changed_json(change)


def in_study(key: str, **changes: object) -> Make:
  """study.json with other values in the first of its 'rows' or 'runs'; None leaves a key out."""

  def change(study: dict) -> dict:
    first, *others = study[key]
    return study | {
      key: [{k: v for k, v in {**first, **changes}.items() if v is not None}, *others]
    }

  return changed_json(change)


def pth(
  change: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]] = lambda state: state,
  **notes: str,
) -> Make:
  """A checkpoint of a thin_resnet8 for the digits, with its arrays changed."""

  def make(path: Path, stock: Path) -> None:
    with np.load(stock / 'state.npz') as arrays:
      torch_writer.write(path, change(dict(arrays)), notes=notes)

  return make


def without(state: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
  return {k: v for k, v in state.items() if k != name}


def archive(**files: bytes) -> bytes:
  out = io.BytesIO()
  with zipfile.ZipFile(out, 'w') as made:
    for name, content in files.items():
      made.writestr(name, content)
  return out.getvalue()


def picture(side: int = 8, *, mode: str = 'RGB', form: str = 'png', frames: int = 1) -> bytes:
  out = io.BytesIO()
  noise = np.random.default_rng(0).integers(0, 256, (frames, side, side, 3), np.uint8)
  first, *others = [
    Image.fromarray(pixels).convert(mode) if mode != 'I;16' else Image.new(mode, (side, side))
    for pixels in noise
  ]
  first.save(out, format=form, **({'save_all': True, 'append_images': others} if others else {}))
  return out.getvalue()


def black() -> bytes:
  out = io.BytesIO()
  Image.new('L', (8, 8)).save(out, format='png')
  return out.getvalue()


def bomb(side: int) -> bytes:
  """A PNG that says it has side² pixels, and has none."""

  def chunk(kind: bytes, content: bytes) -> bytes:
    return (
      struct.pack('>I', len(content))
      + kind
      + content
      + struct.pack('>I', zlib.crc32(kind + content))
    )

  return (
    b'\x89PNG\r\n\x1a\n'
    + chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0))
    + chunk(b'IDAT', zlib.compress(b''))
    + chunk(b'IEND', b'')
  )


PNG = data(picture())
PHOTOS = {f'{name}/{number}.png': PNG for name in ('cat', 'dog') for number in range(3)}


def photos(**changes: Make | None) -> Make:
  """Cats and dogs, three of each, with some files changed."""
  return folder(**PHOTOS | changes)


def splits(*names: str, **changes: Make | None) -> Make:
  """Folders of splits above the classes."""
  return folder(
    **{f'{split}/{name}': one for split in names for name, one in PHOTOS.items()} | changes
  )


def annotated(lines: str, *, encoding: str = 'utf-8') -> Make:
  """Training images by class, and three to validate on with a file of annotations."""
  images = {f'val/images/{number}.png': PNG for number in range(3)}
  return splits('train', **images, **{'val/val_annotations.txt': data(lines.encode(encoding))})


def configuration(body: str) -> Make:
  """A configuration file whose get_config() has this body."""
  return text(f'{HEADER}def get_config():\n{body}\n')


def own(*changes: tuple[str, str], more: str = '') -> Make:
  """A module of own networks, its text changed."""
  return lambda path, stock: own_code.write(path.parent, path.stem, *changes, more=more)


TOUCH = pickles.call('os', 'system', pickles.text('touch hacked'))
FILES: dict[str, Make] = {
  **bad_tables.FILES,
  # configuration files
  'syntax.py': text('def get_config(:\n'),
  'nothing.py': text('x = 1\n'),
  'empty.py': text(''),
  'number.py': configuration('  return 3'),
  'none.py': configuration('  pass'),
  'argument.py': text('def get_config(which):\n  return which\n'),
  'misspelt.py': configuration('  return default(epoch=3)'),
  'sets.py': configuration('  config = default()\n  config.epoch = 3\n  return config'),
  'sets_text.py': configuration("  config = default()\n  config.epochs = 'many'\n  return config"),
  'imports.py': text('import nosuch\n'),
  'divides.py': configuration('  return 1 / 0'),
  'endless.py': configuration('  return get_config()'),
  'binary.py': data(b'\x00\x01\x02\x7fELF'),
  'latin.py': data('x = "Überholung"\n'.encode('latin1')),
  'utf16.py': data('x = 1\n'.encode('utf-16')),
  'folder.py': folder(),
  'locked.py': locked(text('')),
  'loop.py': link('loop.py'),
  'loose_section.py': configuration("  return ml_collections.ConfigDict({'kd': 3})"),
  'loose_type.py': configuration("  return ml_collections.ConfigDict({'epochs': '3'})"),
  'loose_none.py': configuration("  return ml_collections.ConfigDict({'dataset': None})"),
  'loose_number.py': configuration('  return ml_collections.ConfigDict({1: 2})'),
  'loose_option.py': configuration("  return ml_collections.ConfigDict({'kd': {'alpha': 'half'}})"),
  'loose_option_key.py': configuration("  return ml_collections.ConfigDict({'kd': {'alhpa': .5}})"),
  'loose_study.py': configuration("  return ml_collections.ConfigDict({'study': 3})"),
  'huge.py': configuration('  return ml_collections.ConfigDict({"learning_rate": 10**5000})'),
  # studies
  'no_rows.py': configuration(f'{STUDY}rows=())'),
  'row_twice.py': configuration(f"{STUDY}rows=[Row('A'), Row('A')])"),
  'row_of_none.py': configuration(f"{STUDY}rows=[Row('A')], comparisons=[('A', 'B')])"),
  'row_key.py': configuration(f"{STUDY}rows=[Row('A', {{'epoch': 3}})])"),
  'row_type.py': configuration(f"{STUDY}rows=[Row('A', {{'epochs': 'many'}})])"),
  'row_range.py': configuration(f"{STUDY}rows=[Row('A', {{'kd.alpha': 2.0}})])"),
  'row_seeds.py': configuration(f"{STUDY}rows=[Row('A', seeds=0)])"),
  'row_batch.py': configuration(
    f"{STUDY}validation_examples=40, rows=[Row('A', {{'batch_size': 9999}})])"
  ),
  'sweep_of_two.py': configuration(
    f"{STUDY}rows=[Row('A', sweep={{'kd.alpha': (.5,), 'epochs': ()}})])"
  ),
  'sweep_of_none.py': configuration(f"{STUDY}rows=[Row('A', sweep={{'kd.alpha': ()}})])"),
  'sweep_late.py': configuration(f"{STUDY}rows=[Row('A', sweep={{'kd.alpha': (.5, 7.0)}})])"),
  # own networks
  'raises_at_import.py': own(more='1 / 0\n'),
  'imports_none.py': own(more='import nosuch_library\n'),
  'raises.py': own(more='def small(spec):\n  return spec.nosuch\n'),
  'no_network.py': own(more='def small(spec):\n  return Bare(spec.classes)\n'),
  'no_axis.py': own(('  axis_name: str | None = None\n', ''), ('axis_name=self.axis_name, ', '')),
  'no_stages.py': own(('(x,), {', '(), {')),
  'wrong_logits.py': own(('Dense(self.classes', 'Dense(3')),
  'no_outputs.py': own(('return Outputs(', 'return (')),
  'own.py': own(),
  # checkpoints of PyTorch
  'good.pth': pth(),
  'empty.pth': data(b''),
  'text.pth': text('not weights\n'),
  'cut_off.pth': part(pth(), 0.6),
  'pickle.pth': data(pickle.dumps({'a': 1})),
  'list.pth': data(pickles.zipped(b']', {})),
  'runs_code.pth': data(pickles.zipped(pickles.dictionary(w=TOUCH), {})),
  'old_runs_code.pth': data(pickles.streamed(pickles.dictionary(w=TOUCH), {})),
  'module.pth': data(pickles.zipped(b'c__main__\nMyNet\n)R', {})),
  'script.pth': data(
    archive(
      **{
        'net/data.pkl': b'\x80\x02c__torch__\nNet\n)\x81}b.',
        'net/constants.pkl': b'\x80\x02).',
        'net/code/__torch__.py': b'class Net(Module): pass\n',
        'net/version': b'3\n',
      }
    )
  ),
  'arrays.pth': data(archive(**{'a.npy': b'\x93NUMPY'})),
  'safetensors.pth': data(struct.pack('<Q', 2) + b'{}'),
  'deflated.pth': data(pickles.zipped(b'}', {'0': bytes(2**20)}, compression=zipfile.ZIP_DEFLATED)),
  'claims_much.pth': data(
    pickles.zipped(
      pickles.dictionary(w=pickles.tensor(pickles.storage('0', 2**40), (2**40,), (1,))), {'0': b''}
    )
  ),
  'nothing.pth': pth(lambda state: {}),
  'of_nobody.pth': pth(lambda state: {'features.0.weight': np.zeros((4, 3, 3, 3), np.float32)}),
  'no_head.pth': pth(lambda state: {k: v for k, v in state.items() if not k.startswith('linear')}),
  'lacks.pth': pth(lambda state: without(state, 'layer1.0.conv1.weight')),
  'more.pth': pth(
    lambda state: state | {'layer9.0.conv1.weight': np.zeros((2, 2, 1, 1), np.float32)}
  ),
  'shape.pth': pth(lambda state: state | {'linear.weight': np.zeros((10, 7), np.float32)}),
  'integers.pth': pth(lambda state: state | {'linear.weight': np.zeros((10, 64), np.int8)}),
  'nan.pth': pth(lambda state: state | {'linear.bias': np.full(10, np.nan, np.float32)}),
  'three_classes.pth': pth(
    lambda state: (
      state
      | {'linear.weight': np.zeros((3, 64), np.float32), 'linear.bias': np.zeros(3, np.float32)}
    )
  ),
  'note.pth': pth(kd_jax_network='{'),
  'huge_note.pth': pth(
    kd_jax_network=json.dumps(
      {
        'name': 'thin_resnet8',
        'classes': 10,
        'image_shape': [16, 16, 1],
        'mean': [10**400],
        'std': [1],
      }
    )
  ),
  'folder.pth': folder(),
  'locked.pth': locked(data(b'\x80\x02}.')),
  'loop.pth': link('loop.pth'),
  'pipe.pth': pipe,
  # functions of jax.export
  'function.jax': of_stock('function.jax'),
  'text.jax': text('not a function, but long enough to look into\n'),
  'empty.jax': data(b''),
  'cut_off.jax': part(of_stock('function.jax'), 0.5),
  'locked.jax': locked(of_stock('function.jax')),
  'two_arguments.jax': of_stock('two_arguments.jax'),
  'other_images.jax': of_stock('other_images.jax'),
  'other_classes.jax': of_stock('other_classes.jax'),
  'four_at_a_time.jax': of_stock('four_at_a_time.jax'),
  'for_tpu.jax': of_stock('for_tpu.jax'),
  'text.stablehlo': text('not a network\n'),
  'pair.stablehlo': of_stock('two_arguments.jax'),
  'four.stablehlo': of_stock('four_at_a_time.jax'),
  'card.stablehlo': of_stock('function.jax'),
  'card.stablehlo.json': text('['),
  'list.stablehlo': of_stock('function.jax'),
  'list.stablehlo.json': text('[1]'),
  'other.stablehlo': of_stock('function.jax'),
  'other.stablehlo.json': text('{"sha256": "0", "classes": ["a"]}'),
  # networks of kd_jax
  'network': of_stock('network'),
  'no_json': of_stock('network', **{'network.safetensors': text('{')}),
  'no_spec': of_stock('network', **{'network.safetensors': text('{}')}),
  # folders of images
  'photos': photos(),
  'a_file': text('mine\n'),
  'empty': folder(),
  'one_class': folder(**{'cat/0.png': PNG, 'cat/1.png': PNG}),
  'class_of_one': photos(**{'dog/1.png': None, 'dog/2.png': None}),
  'class_of_none': photos(**{'bird': folder()}),
  'with_heic': photos(**{'cat/3.HEIC': text('mine\n')}),
  'no_suffix': photos(**{'cat/3': PNG}),
  'loose': photos(**{'5.png': PNG}),
  'nested': photos(**{'cat/tabby/0.png': PNG}),
  'text_png': photos(**{'cat/1.png': text('not an image\n')}),
  'zero_png': photos(**{'cat/1.png': data(b'')}),
  'cut_off_png': photos(**{'cat/1.png': part(data(picture(64)), 0.5)}),
  'cut_off_gif': photos(**{'cat/3.gif': part(data(picture(64, form='gif', frames=3)), 0.2)}),
  'cut_off_tiff': photos(**{'cat/3.tif': part(data(picture(64, form='tiff')), 0.6)}),
  'damaged_tiff': photos(**{'cat/3.tif': data(picture(8, form='tiff')[:8] + b'\xff' * 99)}),
  'deep_tiff': photos(**{'cat/3.tif': data(picture(mode='I;16', form='tiff'))}),
  'cut_off_jpeg': photos(**{'cat/3.jpg': part(data(picture(64, form='jpeg')), 0.4)}),
  'damaged_png': photos(**{'cat/1.png': data(picture(64)[:60] + b'\x00' * 50 + picture(64)[110:])}),
  'deep_png': photos(**{'cat/1.png': data(picture(mode='I;16'))}),
  'bomb_png': photos(**{'cat/1.png': data(bomb(60_000))}),
  'pipe_png': photos(**{'cat/3.png': pipe}),
  'loop_png': photos(**{'cat/3.png': link('3.png')}),
  'lost_png': photos(**{'cat/3.png': link('nowhere.png')}),
  'loop_class': photos(**{'bird': link('bird')}),
  'class_in_itself': photos(**{'cat/again': link('../cat')}),
  'locked_png': photos(**{'cat/3.png': locked(PNG)}),
  'locked_class': photos(**{'bird': locked(folder())}),
  'locked_photos': locked(photos()),
  'no_utf8_class': photos(**{os.fsdecode(b'v\xf6gel') + '/0.png': PNG}),
  'class_twice': photos(**{'Ü/0.png': PNG, 'U\u0308/0.png': PNG}),
  'no_train': splits('test', 'val'),
  'annotated': annotated('0.png\tcat\n1.png\tdog\n2.png\tdog\n'),
  'annotated_more': annotated('0.png\tcat\n1.png\tdog\n2.png\tdog\n9.png\tcat\n'),
  'annotated_less': annotated('0.png\tcat\n1.png\tdog\n'),
  'annotated_twice': annotated('0.png\tcat\n1.png\tdog\n2.png\tdog\n1.png\tcat\n'),
  'annotated_csv': annotated('0.png,cat\n1.png,dog\n2.png,dog\n'),
  'annotated_utf16': annotated('0.png\tcat\n1.png\tdog\n2.png\tdog\n', encoding='utf-16'),
  'annotated_other': annotated('0.png\tcat\n1.png\tdog\n2.png\tbird\n'),
  'two_trains': splits('train', 'TRAIN'),
  'two_validations': splits('train', 'val', 'valid'),
  'test_lacks': splits('train', 'test', **{f'test/dog/{n}.png': None for n in range(3)}),
  'test_has_more': splits('train', 'test', **{'test/bird/0.png': PNG}),
  'greys': folder(
    **{f'{name}/{n}.png': data(picture(mode='L')) for name in ('cat', 'dog') for n in range(3)}
  ),
  'black': folder(
    **{f'{name}/{n}.png': data(black()) for name in ('cat', 'dog') for n in range(3)}
  ),
  'text.png': text('not an image\n'),
  'image.png': PNG,
  'deep.png': data(picture(mode='I;16')),
  'cut_off.png': part(data(picture(64)), 0.5),
  'bomb.png': data(bomb(60_000)),
  'locked.png': locked(PNG),
  'loop.png': link('loop.png'),
  # workdirs
  'started': of_stock('started'),
  'other': folder(**{'config.json': text('{"epochs": 3}')}),
  'garbled': folder(**{'config.json': text('{"epochs')}),
  'config_list': folder(**{'config.json': text('[]')}),
  'config_text': folder(**{'config.json': text('"text"')}),
  'config_nan': folder(**{'config.json': text('{"epochs": NaN}')}),
  'config_latin': folder(**{'config.json': data('{"dataset": "Ü"}'.encode('latin1'))}),
  'data_list': of_stock('started', **{'data.json': text('[]')}),
  'data_lacks': of_stock('started', **{'data.json': text('{}')}),
  'data_text': of_stock('started', **{'data.json': text('{"sha256')}),
  'results_object': of_stock('started', **{'results.json': text('{}')}),
  'results_text': of_stock('started', **{'results.json': text('[')}),
  'no_entry': locked(folder()),
  'no_write': locked(folder(), 0o500),
  'loop': link('loop'),
  # runs and studies that are reported
  'nothing': folder(),
  'unfinished': of_stock('started'),
  'run': of_stock('run'),
  'run_config_text': of_stock('run', **{'config.json': text('{')}),
  'run_config_list': of_stock('run', **{'config.json': text('[]')}),
  'run_config_key': of_stock('run', **{'config.json': text('{"epoch": 3}')}),
  'run_config_type': of_stock('run', **{'config.json': text('{"epochs": "many"}')}),
  'run_results_text': of_stock('run', **{'results.json': text('[{]')}),
  'run_results_object': of_stock('run', **{'results.json': text('{}')}),
  'run_results_utf16': of_stock('run', **{'results.json': data('[]'.encode('utf-16'))}),
  'run_results_bom': of_stock('run', **{'results.json': data(b'\xef\xbb\xbf[]')}),
  'run_results_deep': of_stock('run', **{'results.json': text('[' * 100_000)}),
  'run_results_role': of_stock('run', **{'results.json': with_rows(role=None)}),
  'run_results_text_for_number': of_stock(
    'run', **{'results.json': with_rows(test_accuracy='much')}
  ),
  'run_results_two': of_stock('run', **{'results.json': with_rows(test_accuracy=2.0)}),
  'run_results_teachers': of_stock('run', **{'results.json': with_rows(teachers=3)}),
  'run_results_method': of_stock('run', **{'results.json': with_rows(method=None)}),
  'run_results_seconds': of_stock('run', **{'results.json': with_rows(seconds='long')}),
  'run_versions_lost': of_stock('run', **{'versions.json': text('')}),
  'run_versions_list': of_stock('run', **{'versions.json': text('[]')}),
  'run_history_cells': of_stock(
    'run', **{'phases/student/history.csv': text('epoch,train_loss\n1,2,3\n')}
  ),
  'run_history_quote': of_stock(
    'run', **{'phases/student/history.csv': text('epoch,train_loss\n1,"2')}
  ),
  'run_history_epoch': of_stock('run', **{'phases/student/history.csv': text('train_loss\n1.0\n')}),
  'run_history_text': of_stock(
    'run', **{'phases/student/history.csv': text('epoch,train_loss\n1,low\n')}
  ),
  'run_history_binary': of_stock('run', **{'phases/student/history.csv': data(b'\xff\xfe\x00')}),
  'run_history_terms': of_stock(
    'run', **{'phases/student/history.csv': text('epoch,term/a,term/b\n1,low,high\n')}
  ),
  'study': of_stock('study'),
  'study_text': of_stock('study', **{'study.json': text('{')}),
  'study_list': of_stock('study', **{'study.json': text('[]')}),
  'study_lacks': of_stock('study', **{'study.json': text('{"title": "T"}')}),
  'study_rows': of_stock(
    'study', **{'study.json': changed_json(lambda study: study | {'rows': {}})}
  ),
  'study_row': of_stock('study', **{'study.json': in_study('rows', name=3)}),
  'study_row_sweep': of_stock('study', **{'study.json': in_study('rows', sweep=[1])}),
  'study_row_paper': of_stock('study', **{'study.json': in_study('rows', paper='high')}),
  'study_row_group': of_stock('study', **{'study.json': in_study('rows', group=None)}),
  'study_run': of_stock('study', **{'study.json': in_study('runs', row='nobody')}),
  'study_run_config': of_stock('study', **{'study.json': in_study('runs', config=[])}),
  'study_run_history': of_stock(
    'study', **{'study.json': in_study('runs', histories={'student': 'nowhere.csv'})}
  ),
  'study_run_outside': of_stock(
    'study', **{'study.json': in_study('runs', histories={'student': '/etc/passwd'})}
  ),
  'study_scale': of_stock(
    'study', **{'study.json': changed_json(lambda study: study | {'scale': 'small'})}
  ),
  'study_comparisons': of_stock(
    'study',
    **{'study.json': changed_json(lambda study: study | {'comparisons': [['KD', 'nobody']]})},
  ),
  'study_results_object': of_stock('study', **{'results.json': text('{}')}),
  'study_results_seed': of_stock('study', **{'results.json': with_rows(seed=[1])}),
  'study_results_accuracy': of_stock('study', **{'results.json': with_rows(test_accuracy='much')}),
  'study_results_seconds': of_stock('study', **{'results.json': with_rows(seconds='long')}),
  'study_sweeps_text': of_stock('study', **{'sweeps.json': text('[')}),
  # what is exported, and what the crosscheck takes
  'network_results': folder(
    **{'networks/student': of_stock('network'), 'results.json': text('{"a": 1}')}
  ),
  'network_config': folder(**{'networks/student': of_stock('network'), 'config.json': text('[]')}),
  'network_versions': folder(
    **{'networks/student': of_stock('network'), 'versions.json': text('{"libraries": 3}')}
  ),
  'two_networks': folder(**{'networks/a': of_stock('network'), 'networks/b': of_stock('network')}),
  'unknown_numbers': folder(**{'numbers.npz': data(archive(a=b'1'))}),
  'text_numbers': folder(**{'losses.npz': text('no numbers\n')}),
  'pickled_numbers': folder(
    **{'losses.npz': data(archive(**{'student_logits.npy': b'\x93NUMPY'}))}
  ),
  'lacking_numbers': folder(
    **{'losses.npz': lambda path, stock: np.savez(path, kl=1.0, kl__grad=1.0)}
  ),
  'lacking_network': folder(
    **{'logits_net.npz': lambda path, stock: np.savez(path, image=np.zeros((1, 32, 32, 3)))}
  ),
}
