"""Writes a trained network alone, for other programs to run, with a model card."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kd_jax import finished, models, workdir
from kd_jax.command_line import Parser
from kd_jax.finished import Found
from kd_jax.interop import formats
from kd_jax.interop.formats import FORMATS, Runner
from kd_jax.report import card, records
from kd_jax.types import KdJaxError, NetworkSpec, Trained

TOLERANCE = 1e-5
BATCHES = (1, 128)  # that are timed
_CHECKED = 16  # images
_SECONDS, _LEAST, _MOST = 2.0, 3, 100  # of timing one batch; runs
USAGE = """Writes the student of a run alone, with its normalisation inside, and a model card.

  python -m kd_jax.export RUN --format=stablehlo|torch|onnx [--out=FOLDER]

RUN is a workdir (its student), a folder under its networks/, the folder of a study's phase, or a PyTorch .pth file.
FOLDER (default: RUN/export, or ./export where RUN is a file) gets, named after the network,

  stablehlo   student.stablehlo, which JAX runs without kd_jax on CPU, CUDA and TPU
  torch       student.pt2, which PyTorch runs without kd_jax, and student.pth, the weights alone
  onnx        student.onnx, for ONNX Runtime and its like

each for any batch size, with a card beside it in Markdown (.md) and JSON (.json). The file is loaded again in its own runtime and
compared with the Flax network before it is kept.
"""


def export(run: str | Path, name: str, *, out: str | Path = '', classes: tuple[str, ...] = (),
           say: Callable[[str], None] = print) -> Path:  # fmt: skip
  """Exports the network that `run` means, and returns the path of its program.

  Args:
    run: as kd_jax.finished.find takes it.
    name: a row of kd_jax.interop.formats.FORMATS.
    out: the folder that gets the files; see USAGE for where it is empty.
    classes: names of the classes; empty: as the network was saved with, or numbers.
    say: is given lines for the user.

  Raises:
    KdJaxError: there is no such network, the format cannot have it or its runtime is missing, the folder cannot be written, or the
      file does not compute what the network computes. No file is left behind then.
  """
  formats.require(name, (*FORMATS[name].writer, *FORMATS[name].runtime))
  found = finished.find(run)
  trained = finished.float32(found.trained)
  spec = trained.network.spec
  classes = classes or found.classes or tuple(map(str, range(spec.classes)))
  if len(classes) != spec.classes:
    raise KdJaxError(f'{len(classes)} names of classes are given, and the network has {spec.classes} classes')
  with _draft(Path(out or (Path(run) if Path(run).is_dir() else Path()) / 'export')) as draft, _on_the_cpu():
    say(f'Writing {spec.name} from {found.place} as {name} …')
    program, *also = formats.write(trained, name, draft / found.name)
    threads = workdir.versions()['threads']
    checks = [compare(formats.load(path, spec=spec, threads=threads), trained) for path in (program, *also)]
    say(f'Loaded again: on {_CHECKED} random images its probabilities differ by {checks[0]["probabilities"]:.1e} from the Flax '
        f"network's, its logits by {checks[0]['logits']:.1e} of the largest (limit {TOLERANCE:.0e}).")  # fmt: skip
    say(f'Timing batches of {" and ".join(map(str, BATCHES))} on the CPU …')
    sizes = [_size('student', trained, program, threads)]
    sizes += [_teacher_size(teacher, spec, name, draft, threads) for teacher in dict.fromkeys(found.row.get('teachers') or ())]
    described = _described(found, name, program, also, classes, checks[0], sizes, threads)
    records.write_json(draft / f'{program.name}.json', described)
    records.write_bytes(draft / f'{program.name}.md', card.render(described).encode())
    say('\n' + card.size_table(sizes) + '\n' + described['timing'])
  return draft.parent / program.name


def compare(runner: Runner, trained: Trained) -> dict[str, Any]:
  """The largest differences of a file's outputs from the network's, in batches of 1 and more; KdJaxError where one is too large.

  Probabilities are held to TOLERANCE as they are: they are what is used, and lie in [0, 1]. Where they are near 0 and 1 they hide
  an error, so that logits are held to it, too, relative to the largest (or to 1 where all are smaller): float32 keeps 7 digits of
  a number, and runtimes add in different orders.
  """
  image = _random_images(trained.network.spec)
  reference = formats.in_jax(trained).run(image)
  batches = (1, len(image))
  worst = {'probabilities': 0.0, 'logits': 0.0}
  for batch in batches:
    logits = runner.run(image[:batch])
    if logits.shape != reference[:batch].shape:
      raise KdJaxError(f'the file gives an array of shape {logits.shape} for {batch} images, not {reference[:batch].shape}; nothing is kept')
    found = {'probabilities': np.abs(softmax(logits) - softmax(reference[:batch])).max(),
             'logits': np.abs(logits - reference[:batch]).max() / max(1, np.abs(reference).max())}  # fmt: skip
    worst = {what: float(np.maximum(worst[what], value)) for what, value in found.items()}  # keeps NaN
  for what, value in worst.items():
    if not value <= TOLERANCE:
      raise KdJaxError(f"the file's {what} differ by {value:.1e} from the Flax network's, more than {TOLERANCE:.0e}; nothing is kept")
  return {'images': len(image), 'batches': batches, 'tolerance': TOLERANCE, **worst}


def softmax(logits: np.ndarray) -> np.ndarray:
  """Probabilities f64[B, K] of logits [B, K]."""
  shifted = np.exp(np.float64(logits) - np.max(logits, -1, keepdims=True))
  return shifted / shifted.sum(-1, keepdims=True)


def latency(runner: Runner, batch: int) -> dict[str, Any]:
  """The median time of a batch in ms, after one run that does not count, and the number of runs."""
  image = np.zeros((batch, *runner.image_shape), np.float32)
  runner.run(image)
  times, started = [], time.perf_counter()
  while len(times) < _LEAST or (len(times) < _MOST and time.perf_counter() - started < _SECONDS):
    before = time.perf_counter()
    runner.run(image)
    times.append(time.perf_counter() - before)
  return {'batch': batch, 'median_ms': 1000 * statistics.median(times), 'runs': len(times)}


def _random_images(spec: NetworkSpec) -> np.ndarray:
  """Half of them noise, half coarse patches, which drive the network further: f32[B, H, W, C]."""
  draw = np.random.default_rng(0)
  height, width, channels = spec.image_shape
  noise = draw.random((_CHECKED // 2, height, width, channels))
  coarse = draw.random((_CHECKED - len(noise), 4, 4, channels))
  rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
  return np.concatenate([noise, coarse[:, rows][:, :, columns]]).astype(np.float32)


def _size(role: str, trained: Trained, program: Path, threads: int) -> dict[str, Any]:
  runner = formats.load(program, threads=threads)
  return {'role': role, 'network': trained.network.spec.name, 'parameters': models.count_parameters(trained.variables['params']),
          'bytes': program.stat().st_size, 'latency': [latency(runner, batch) for batch in BATCHES]}  # fmt: skip


def _teacher_size(teacher: str, student: NetworkSpec, name: str, draft: Path, threads: int) -> dict[str, Any]:
  """Of a network of the teacher's kind: its size and time do not depend on its weights, so that they are drawn."""
  network = models.build(student._replace(name=teacher, relu_placement='block'))
  trained = Trained(network, models.initialise(jax.random.key(0), network))
  with tempfile.TemporaryDirectory(dir=draft) as folder:
    try:
      program, *_ = formats.write(trained, name, Path(folder) / 'teacher')
    except KdJaxError:  # a family that the format does not have, which is no fault of the student's
      return {'role': 'teacher', 'network': teacher, 'parameters': models.count_parameters(trained.variables['params']), 'bytes': None,
              'latency': []}  # fmt: skip
    return _size('teacher', trained, program, threads)


def _described(found: Found, name: str, program: Path, also: list[Path], classes: tuple[str, ...], check: dict[str, Any],
               sizes: list[dict[str, Any]], threads: int) -> dict[str, Any]:  # fmt: skip
  """The card's content, as its JSON file has it."""
  spec, versions = found.trained.network.spec, workdir.versions()
  height, width, channels = spec.image_shape
  shape = {'NHWC': ('batch', height, width, channels), 'NCHW': ('batch', channels, height, width)}[FORMATS[name].layout]
  accuracies = {row['student']: row.get('test_accuracy') for row in found.others if row.get('role') in ('teacher', 'stage')}
  described = {
    'file': program.name, 'format': name, 'also': [path.name for path in also], 'sha256': digest(program),
    'source': f'{found.place.parents[1].name}/networks/{found.name}' if found.row else found.place.name,
    'network': spec._asdict(), 'classes': classes,
    'input': {'dtype': 'float32', 'layout': FORMATS[name].layout, 'shape': shape, 'range': 'pixels in [0, 1]',
              'resize': "other sizes are resized as a whole by Pillow's bilinear filter"},
    'output': f'logits, float32 [batch, {spec.classes}]; their softmax gives probabilities',
    'training': found.row, 'config': found.config,
    'teachers': [{'network': teacher, 'test_accuracy': accuracies.get(teacher)} for teacher in found.row.get('teachers') or ()],
    'check': check, 'sizes': sizes,
    'timing': f'Medians of n runs on a CPU ({versions["processor"]}) with {threads} threads, in {_runtime(name)}.',
    'versions': {'training': found.versions, 'export': versions},
  }  # fmt: skip
  return described | {'caveats': card.caveats(described)}


def _runtime(name: str) -> str:
  import importlib.metadata

  package = (*FORMATS[name].runtime, 'jax')[0]
  return f'{package} {importlib.metadata.version(package)}'


def digest(path: Path) -> str:
  """The SHA-256 of a file."""
  return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def _draft(out: Path) -> Iterator[Path]:
  """A folder in `out` whose files move to `out` where all went well; else everything is as it was."""
  made = [folder for folder in (out, *out.parents) if not folder.exists()]
  try:
    out.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix='.export-', dir=out))
  except OSError as fault:
    raise KdJaxError(f'{out} cannot be written ({fault.strerror}); choose another folder with --out') from fault
  try:
    yield draft
    for path in sorted(draft.iterdir()):
      os.replace(path, out / path.name)
  except OSError as fault:
    raise KdJaxError(f'{out} cannot be written ({fault.strerror}); make room, or choose another folder with --out') from fault
  finally:
    shutil.rmtree(draft, ignore_errors=True)
    with contextlib.suppress(OSError):  # what is not empty stays
      for folder in made:
        folder.rmdir()


def _on_the_cpu() -> Any:
  return jax.default_device(jax.local_devices(backend='cpu')[0])


def main(argv: list[str] | None = None) -> int:
  """The command `python -m kd_jax.export`; returns the exit code."""
  parser = Parser('export', USAGE)
  parser.add_argument('run', metavar='RUN', help='what to export')
  parser.add_argument('--format', default='stablehlo', choices=tuple(FORMATS), help='default: stablehlo')
  parser.add_argument('--out', default='', metavar='FOLDER', help='where the files are put')
  parser.add_argument('--classes', default='', metavar='A,B,…', help='names of the classes, where the network was saved without')
  arguments = parser.parse_args(argv)
  names = tuple(name.strip() for name in arguments.classes.split(',')) if arguments.classes else ()
  try:
    program = export(arguments.run, arguments.format, out=arguments.out, classes=names)
  except KdJaxError as error:
    parser.error(str(error))
  print(f'{program} is ready; {program.name}.md beside it is its card.\n'
        f'Try it: python -m kd_jax.predict {program} IMAGES…')  # fmt: skip
  return 0


if __name__ == '__main__':
  sys.exit(main())
