"""Write a trained network alone, for other programs to run, with a model card."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from kd_jax import models
from kd_jax.deploy import card, formats, onnx_files, quantised, runners
from kd_jax.deploy.formats import FORMATS
from kd_jax.deploy.runners import Runner
from kd_jax.files import atomic, folders, hashes, records
from kd_jax.models.reach import count_deployed
from kd_jax.runs import network_files, test_split, workdir
from kd_jax.runs.network_files import Found
from kd_jax.train import parallel
from kd_jax.types import ConfigError, FileError, KdJaxError, NetworkSpec, Trained

BATCHES = (1, 128)  # that are timed


class _Measured(NamedTuple):
  role: str
  network: str  # its name
  # None where nothing builds it: a function, a table of logits, a network whose code is elsewhere
  trained: Trained | None
  program: Path | None  # None where the format cannot have it


def export(
  run: str | Path,
  name: str,
  *,
  out: str | Path = '',
  classes: tuple[str, ...] = (),
  unstated: Mapping[str, Any] = MappingProxyType({}),
  weights: str = 'raw',
  int8: bool = False,
  data_dir: str = '',
  say: Callable[[str], None] = print,
) -> Path:
  """Export the network that `run` means, and return the path of its program.

  Args:
    run: as kd_jax.runs.network_files.find takes it.
    name: a row of kd_jax.deploy.formats.FORMATS.
    out: the folder that gets the files; empty: `export` in the network's folder, or in this one
      where `run` is a file.
    classes: names of the classes; empty: as the network was saved with, or numbers.
    unstated, weights: of a PyTorch checkpoint, as kd_jax.runs.network_files.find takes them.
    int8: with 'onnx', also write NAME.int8.onnx, and state its accuracy on the run's test images.
    data_dir: for int8: where the data set lies, if it is no longer where the run read it.
    say: is given lines for the user.

  Raises:
    KdJaxError: there is no such network, the format cannot have it or its runtime is missing, the
      folder cannot be written, or the file does not compute what the network computes. No file is
      left behind then.
  """
  if int8 and name != 'onnx':
    raise ConfigError(f'--int8 is a form of --format=onnx, and the format is {name}: leave it out')
  if data_dir and not int8:
    raise ConfigError('--data_dir is for the accuracy of --int8: give both, or leave it out')
  formats.require(name, (*FORMATS[name].writer, *FORMATS[name].runtime))
  parallel.find_devices()
  folders.check_links(Path(os.path.expanduser(run)))
  found = network_files.find(run, unstated=unstated, weights=weights)
  if found.assumed:
    say(found.assumed)
  card.check(found.config, found.versions, found.place)
  trained = network_files.float32(found.trained)
  spec = trained.network.spec
  classes = classes or found.classes or tuple(map(str, range(spec.classes)))
  if len(classes) != spec.classes:
    raise ConfigError(
      f'{len(classes)} names of classes are given, and the network has {spec.classes} classes'
    )
  beside = Path() if found.place.is_file() else Path(os.path.expanduser(run))
  with _draft(Path(os.path.expanduser(out)) if out else beside / 'export') as draft, _on_the_cpu():
    say(f'Writing {spec.name} from {found.place} as {name} …')
    files = formats.write(trained, name, draft / found.name)
    program = files[0]
    if name == 'onnx':
      onnx_files.describe(program, _facts(spec, classes, found.stored_size))
    versions = workdir.versions()
    threads = versions['threads']
    reference, examples = runners.in_jax(trained), test_split.examples(found)
    check, *_ = [_checked(path, spec, reference, examples, threads) for path in files]
    real = f' and {check["test_images"]} test' if check['test_images'] else ''
    say(
      f'Loaded again: on {check["images"]} random{real} images its probabilities differ by '
      f"{check['probabilities']:.1e} from the Flax network's, its logits by "
      f'{check["logits"]:.1e} of the largest (limit {check["tolerance"]:.0e}).'
    )
    small = quantised.write(program) if int8 else None
    sizes = _sizes(found, trained, name, program, small, threads, say)
    described = _described(found, name, files, classes, check, sizes, versions)
    if small:
      described['int8'] = quantised.described(
        small, program, found, data_dir=data_dir, threads=threads
      )
      say(described['int8']['text'])
    records.write_json(draft / f'{program.name}.json', described)
    atomic.write_bytes(draft / f'{program.name}.md', card.render(described).encode())
    say('\n' + card.size_table(sizes) + '\n' + described['timing'])
  return draft.parent / program.name


def _checked(
  path: Path, spec: NetworkSpec, reference: Runner, examples: np.ndarray | None, threads: int
) -> dict[str, Any]:
  try:
    loaded = formats.load(path, spec=spec, threads=threads)
    return runners.compare(loaded, reference, examples=examples)
  except KdJaxError as fault:
    raise FileError(f'{path.name} was not kept: {fault}') from fault


def _sizes(
  found: Found,
  trained: Trained,
  name: str,
  program: Path,
  small: Path | None,
  threads: int,
  say: Callable[[str], None],
) -> list[dict[str, Any]]:
  """Return parameters, bytes of the file, and times of the student, of its int8 form
  where there is one, and of each of its teachers."""
  measured = [_Measured('student', trained.network.spec.name, trained, program)]
  if small:
    measured.append(_Measured('student, int8', trained.network.spec.name, trained, small))
  with tempfile.TemporaryDirectory(dir=program.parent) as folder:
    for number, teacher in enumerate(dict.fromkeys(found.row.get('teachers') or ())):
      say(f'Writing its teacher {teacher} too, to compare …')
      measured.append(_teacher(teacher, trained.network.spec, name, Path(folder) / str(number)))
    say(f'Timing batches of {" and ".join(map(str, BATCHES))} on the CPU …')
    loaded = [formats.load(each.program, threads=threads) for each in measured if each.program]
    times = zip(*(runners.latencies(loaded, batch) for batch in BATCHES), strict=True)
    return [
      {
        'role': each.role,
        'network': each.network,
        'parameters': each.trained and count_deployed(each.trained),
        'bytes': each.program.stat().st_size if each.program else None,
        'latency': list(next(times)) if each.program else [],
      }
      for each in measured
    ]


def _teacher(teacher: str, student: NetworkSpec, name: str, stem: Path) -> _Measured:
  """Write a network of the teacher's kind; size and time do not depend on its weights."""
  trained = None
  try:
    network = models.build(student._replace(name=teacher, relu_placement='block'))
    trained = Trained(network, models.initialise(jax.random.key(0), network))
    return _Measured('teacher', teacher, trained, formats.write(trained, name, stem)[0])
  # no network of kd_jax, or a family that the format does not have: no fault of the student's
  except KdJaxError:
    return _Measured('teacher', teacher, trained, None)


def _described(
  found: Found,
  name: str,
  files: Sequence[Path],
  classes: tuple[str, ...],
  check: dict[str, Any],
  sizes: list[dict[str, Any]],
  versions: dict[str, Any],
) -> dict[str, Any]:
  """Return the card's content, as its JSON file has it."""
  program, *also = files
  spec = found.trained.network.spec
  runtime = _runtime(name)
  described = {
    'file': program.name,
    'format': name,
    'also': [path.name for path in also],
    'sha256': hashes.of_file(program),
    'source': '/'.join(found.place.parts[-3 if found.place.parent.name == 'networks' else -1 :]),
    'network': spec._asdict(),
    'classes': classes,
    'input': _input(spec, FORMATS[name].layout, found.stored_size),
    'stored_size': found.stored_size,
    'output': f'logits, float32 [batch, {spec.classes}]; their softmax gives probabilities',
    'training': found.row,
    'config': found.config,
    'teachers': _accuracies(found.row.get('teachers') or (), found.others),
    'check': check,
    'sizes': sizes,
    'runtime': runtime,
    'timing': f'Medians of n runs on a CPU ({versions["processor"]}) with {versions["threads"]} '
    f'threads, in {runtime}.',
    'versions': {'training': found.versions, 'export': versions},
  }
  return described | {'caveats': card.caveats(described)}


def _facts(spec: NetworkSpec, classes: tuple[str, ...], stored_size: int) -> dict[str, Any]:
  """Return what an .onnx file states of itself."""
  return {
    'classes': classes,
    'input': _input(spec, 'NCHW', stored_size),
    'stored_size': stored_size,
  }


def _input(spec: NetworkSpec, layout: str, stored_size: int) -> dict[str, Any]:
  """Return what a program takes: type, layout ('NHWC' or 'NCHW'), shape and range of images."""
  sides = dict(zip('NHWC', ('batch', *spec.image_shape), strict=True))
  return {
    'dtype': 'float32',
    'layout': layout,
    'shape': [sides[axis] for axis in layout],
    'range': 'pixels in [0, 1]',
    'resize': _resized(spec, stored_size),
  }


def _resized(spec: NetworkSpec, stored_size: int) -> str:
  """Return how a picture becomes what the network takes."""
  text = (
    'turned as the camera noted, what is transparent on white, and of other sizes the middle, '
    "scaled by Pillow's bilinear filter"
  )
  if not stored_size:
    return text
  height, width, _ = spec.image_shape
  return f'{text} to {stored_size}×{stored_size}, of which the middle {height}×{width} is cut out'


def _accuracies(teachers: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Return each teacher's test accuracy.

  Of networks of one name a chain's last ones teach: rows are in the order of training.
  """
  accuracies = defaultdict(list)
  for row in rows:
    if row.get('role') == 'teacher':
      accuracies[row['student']].append(row.get('test_accuracy'))
  described: list[dict[str, Any]] = []
  for network in reversed(teachers):
    trained = accuracies[network]
    described.insert(0, {'network': network, 'test_accuracy': trained.pop() if trained else None})
  return described


def _runtime(name: str) -> str:
  package = (*FORMATS[name].runtime, 'jax')[0]
  return f'{package} {importlib.metadata.version(package)}'


@contextlib.contextmanager
def _draft(out: Path) -> Iterator[Path]:
  """Yield a folder in `out` whose files move to `out` at the end; on a fault nothing changes."""
  made = [folder for folder in (out, *out.parents) if not folder.exists()]
  try:
    with contextlib.ExitStack() as stack:
      try:
        out.mkdir(parents=True, exist_ok=True)
        draft = stack.enter_context(atomic.folder(out, '.export-'))
      except OSError as fault:
        raise FileError(
          f'{out} cannot be written ({fault.strerror}); choose another folder with --out'
        ) from fault
      yield draft
      for path in sorted(draft.iterdir()):
        os.replace(path, out / path.name)
  except OSError as fault:
    raise FileError(
      f'{out} cannot be written ({fault.strerror}); make room, or choose another folder with --out'
    ) from fault
  finally:
    with contextlib.suppress(OSError):  # what is not empty stays
      for folder in made:
        folder.rmdir()


def _on_the_cpu() -> Any:
  try:
    return jax.default_device(jax.local_devices(backend='cpu')[0])
  except RuntimeError as fault:
    raise ConfigError(
      'export checks and times on the CPU, which JAX_PLATFORMS leaves out; add cpu to it, or unset '
      'it'
    ) from fault
