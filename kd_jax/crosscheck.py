"""Does kd_jax compute what PyTorch computes? Checks networks, losses and training against numbers made with published code.

  python -m kd_jax.crosscheck --reference=DIR --pretrained=DIR --data_dir=DIR [--out=FILE.json]

Each file of the reference folder is known by its name:
  logits_<checkpoint>.npz             outputs of <checkpoint>.pth: logits, features, embedding, correct test images
  losses.npz                          inputs, and the value and gradient of each loss
  trace_<teacher>_to_<student>.npz    steps of training from given weights, taught by <teacher>_cifar10.pth

Where torch is installed, every single-phase method also trains beside a PyTorch rendering of it (kd_jax.livecheck).
"""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import inference, livecheck, methods, models
from kd_jax.command_line import Parser
from kd_jax.data import pipeline, sources
from kd_jax.data.feed import Part
from kd_jax.interop import torch_names
from kd_jax.losses import features, logits, relational
from kd_jax.report import records
from kd_jax.train import optim, parallel, state, step
from kd_jax.types import Array, Frozen, KdJaxError, MethodState, Network, Optimiser, PyTree, Source, Trained, TrainState

STUDENT_DUPLICATES = 'student_embedding_with_duplicate_rows'
INPUTS = ('student_logits', 'teacher_logits', 'labels', 'student_feature', 'teacher_feature', 'student_embedding', 'teacher_embedding')
LOGITS, LOSSES, FLOAT64, FLOAT32 = 1e-4, 1e-5, 1e-7, 1e-3  # tolerances


class Check(NamedTuple):
  """One line of the table."""

  what: str
  error: float
  tolerance: float

  @property
  def passed(self) -> bool:
    return bool(self.error <= self.tolerance)  # a NaN fails


class Numbers(dict):
  """The arrays of a reference file by name. Raises KdJaxError where it is no such file, or where one is asked for that it lacks."""

  def __init__(self, file: Path):
    try:
      with open(file, 'rb') as opened, np.load(opened, allow_pickle=False) as arrays:
        super().__init__(arrays)
    except Exception as error:  # damage shows as any of a dozen kinds
      raise KdJaxError(f'{file} cannot be read as arrays of NumPy ({" ".join(str(error).split())}); make it again') from error
    self._file = file

  def __missing__(self, name: str) -> np.ndarray:
    raise KdJaxError(f"{self._file} lacks '{name}'; make it again")


def check_all(reference: Path, pretrained: Path, data_dir: str) -> Iterator[Check]:
  """Every check of every file in the reference folder. Raises KdJaxError where a file is of no known kind, or is missing."""
  files = sorted(reference.glob('*.npz'))
  if not files:
    raise KdJaxError(f'{reference} holds no .npz file; name the folder of reference numbers')
  kinds = {r'logits_(\w+)': lambda d, m: check_network(d, pretrained / f'{m[1]}.pth', data_dir),
           r'losses': lambda d, m: check_losses(d),
           r'trace_(\w+)_to_(\w+)': lambda d, m: check_trace(d, pretrained / f'{m[1]}_cifar10.pth', m[2])}  # fmt: skip
  for file in files:
    found = [(check, match) for kind, check in kinds.items() if (match := re.fullmatch(kind, file.stem))]
    if not found:
      raise KdJaxError(f'{file} is of no known kind; names are logits_<checkpoint>, losses, trace_<teacher>_to_<student>')
    data = Numbers(file)
    for check, match in found:
      for line in check(data, match):
        yield line._replace(what=f'{file.stem}: {line.what}')


def check_live() -> Iterator[Check]:
  """Every single-phase method beside PyTorch, in float64; nothing where torch is not installed."""
  if livecheck.available():
    for what, error, tolerance in livecheck.check_all():
      yield Check(f'live: {what}', error, tolerance)


def check_network(data, path: Path, data_dir: str) -> Iterator[Check]:
  """A checkpoint's parameters, outputs on the given images, and number of correct test images."""
  spec, variables = torch_names.import_file(path, image_shape=data['image'].shape[1:])
  network = models.build(spec)
  stored = _trained_values(path)
  yield Check('parameters', abs(models.count_parameters(variables['params']) - stored), 0)
  outputs = network.module.apply(variables, pipeline.to_unit(jnp.asarray(data['image'])), train=False)
  yield Check('logits', _difference(outputs.logits, data['logits']), LOGITS)
  for number, feature in enumerate(outputs.features, 1):
    if (name := f'post_relu_feature{number}') in data:
      yield Check(f'feature {number} after the ReLU', _difference(jax.nn.relu(feature[: len(data[name])]), data[name]), LOGITS)
  if 'embedding' in data:
    # PyTorch flattens channels first.
    ours = outputs.embedding[: len(data['embedding'])]
    channels = outputs.features[-1].shape[-1]
    ours = ours.reshape(len(ours), -1, channels).transpose(0, 2, 1).reshape(len(ours), -1)
    yield Check('embedding', _difference(ours, data['embedding']), LOGITS)
  if 'test_correct' in data:
    correct = _correct(network, variables, sources.load('cifar10', data_dir=data_dir, download=False).test)
    yield Check('correct test images', abs(correct - int(data['test_correct'])), 1)


def check_losses(data) -> Iterator[Check]:
  """Each loss of the file, value and gradient, in float64."""
  if lost := [name for name in INPUTS if name not in data]:
    raise KdJaxError(f"the losses' file lacks {', '.join(lost)}; make it again")
  with jax.enable_x64(True):
    inputs = {k: jnp.asarray(data[k], np.float64 if data[k].dtype.kind == 'f' else np.int32) for k in data}
    for name in data:
      if name.endswith('__grad') or f'{name}__grad' not in data:
        continue
      function, student = _loss(name, inputs)
      shown, rows = name, slice(None)
      if name == 'rkd_distance_with_duplicate_rows':
        function, apart = _as_rounded(inputs, data[name])
        if apart > 1e-6:  # in float32 the duplicates' own gradient is rounding over a tiny distance
          shown, rows = f'{name} ({apart:.2e} apart; their own gradients left out)', ~_duplicated(data[STUDENT_DUPLICATES])
      value, gradient = jax.value_and_grad(function)(student)
      yield Check(f'{shown}, value', _relative(value, data[name]), LOSSES)
      yield Check(f'{shown}, gradient', _relative(gradient[rows], data[f'{name}__grad'][rows]), LOSSES)
    if 'overhaul_margin' in data:
      margin = features.overhaul_margin(inputs['bn_scale'], inputs['bn_bias'])
      yield Check('overhaul_margin', _relative(margin, data['overhaul_margin']), LOSSES)


def check_trace(data, teacher_path: Path, student_name: str) -> Iterator[Check]:
  """Each method's run of the file: the loss of every step, then weights and BatchNorm statistics, in float64 and float32.

  Training at these rates multiplies a difference by about ten every two steps, so float32 can follow a trace no further than its
  own rounding lets it. It is held to the trace step by step: each float32 step starts from the float64 state before it.
  """
  for method in sorted({name.split('/')[0] for name in data if name.endswith('/loss')}):
    final = {k.removeprefix(f'{method}/final/'): data[k] for k in data if k.startswith(f'{method}/final/')}
    starts = None
    for dtype, tolerance in (('float64', FLOAT64), ('float32', FLOAT32)):
      with jax.enable_x64(dtype == 'float64'):
        losses, states = _replay(data, teacher_path, student_name, method, dtype, starts)
        wanted = torch_names.to_flax(final, _student(data, student_name, dtype)[0], dtype=dtype)
      starts = states[:-1]
      yield Check(f'{method}, loss of each step, {dtype}', _difference(losses, data[f'{method}/loss']), tolerance)
      variables = state.student_variables(states[-1])
      for part, what in (('params', 'final parameters'), ('batch_stats', 'final BatchNorm statistics')):
        errors = jax.tree.leaves(jax.tree.map(_difference, variables[part], wanted[part]))
        yield Check(f'{method}, {what}, {dtype}', max(errors), tolerance)


def _replay(data, teacher_path: Path, student_name: str, name: str, dtype: str,
            starts: list[TrainState] | None = None) -> tuple[np.ndarray, list[TrainState]]:  # fmt: skip
  """The losses of our own training step on the trace's batches, and the states before each step and after the last.

  Where `starts` are given, each step begins with that state, in this run's type, and not with what the step before left.
  """
  student, variables = _student(data, student_name, dtype)
  spec, taught = torch_names.import_file(teacher_path, image_shape=data['image'].shape[2:])
  # PyTorch's transforms normalise on the host, in float32. XLA turns a division by a constant into a product, which may differ in
  # the last bit, and a float64 trace would show it: so the host normalises here, too, and the networks see pixels as they are.
  pixels = (data['image'].astype(np.float32) / np.float32(255) - np.float32(spec.mean)) / np.float32(spec.std)
  teacher = models.build(spec._replace(compute_dtype=dtype, mean=(), std=()))
  student = models.build(student.spec._replace(mean=(), std=()))
  taught = jax.tree.map(lambda leaf: leaf.astype(dtype), taught)
  rates = jnp.asarray(data['learning_rate_per_step'], dtype)
  method = methods.make(name)
  optimiser = optim.sgd(Optimiser(), lambda count: rates[count], method.trains)
  few, size = pixels.shape[:2]
  source = Source(pixels.reshape(-1, *pixels.shape[2:]), data['label'].reshape(-1).astype(np.int32))
  taught_by = (teacher,) if methods.teachers(name)[1] else ()

  def preprocess(key: Array, images: Array, position: Array) -> dict[str, Array]:
    del key, position
    return {'weak': images}

  run = parallel.make('jit', devices=1).train(step.train_step(student, taught_by, method, optimiser, preprocess), False)
  now = state.create(variables, MethodState({}, {}, {}), optimiser)
  frozen = Frozen((taught,) if taught_by else (), {}, jax.random.key(0))
  losses, states = [], []
  for number in range(few):
    if starts is not None:
      now = jax.tree.map(lambda leaf: leaf.astype(dtype) if leaf.dtype.kind == 'f' else leaf, starts[number])
    states.append(jax.tree.map(np.array, jax.device_get(now)))
    index = np.arange(number * size, (number + 1) * size, dtype=np.int32)
    now, metrics = run(now, frozen, (source,), (index,), (np.arange(size, dtype=np.int32),))
    losses.append(float(metrics['loss'][0]))
  return np.array(losses), [*states, jax.tree.map(np.array, jax.device_get(now))]


def _student(data, name: str, dtype: str) -> tuple[Network, PyTree]:
  initial = {k.removeprefix('init/'): data[k] for k in data if k.startswith('init/')}
  spec = torch_names.spec_from_state(initial, image_shape=data['image'].shape[2:], name=name)
  network = models.build(spec._replace(compute_dtype=dtype))
  return network, torch_names.to_flax(initial, network, dtype=dtype)


def _loss(name: str, inputs: dict[str, Array]) -> tuple[Callable[[Array], Array], Array]:
  """The loss of a name as a scalar function of the student's input, and that input."""
  student, teacher, labels = inputs['student_logits'], inputs['teacher_logits'], inputs['labels']
  ours, theirs = inputs['student_feature'], inputs['teacher_feature']
  embedding, target = inputs['student_embedding'], inputs['teacher_embedding']
  everyone = jnp.ones(len(embedding))
  number = r'([\d.]+)'

  def kl(z: Array, temperature: str) -> Array:
    return logits.kl_divergence(z, teacher, temperature=float(temperature))

  def hinton(z: Array, alpha: float, temperature: str) -> Array:
    hard = logits.cross_entropy(z, labels).mean()
    return (1 - alpha) * hard + alpha * float(temperature) ** 2 * kl(z, temperature).mean()

  margin = features.overhaul_margin(inputs['bn_scale'], inputs['bn_bias'])
  known: dict[str, tuple[Callable[..., Array], Array]] = {
    rf'kl_T{number}_mean_over_batch_no_T2': (lambda z, t: kl(z, t).mean(), student),
    rf'kl_T{number}_elementwise_mean_bug': (lambda z, t: kl(z, t).mean() / z.shape[-1], student),
    rf'hinton_alpha{number}_T{number}': (lambda z, a, t: hinton(z, float(a), t), student),
    r'cosine_embedding_target1_mean': (lambda z: logits.cosine_embedding(z, teacher).mean(), student),
    rf'hard_dark_rank_alpha{number}_beta{number}_len(\d+)': (
      lambda z, a, b, n: relational.hard_dark_rank(z, teacher, everyone, alpha=float(a), beta=float(b), length=int(n)), student),
    r'rkd_distance': (lambda e: relational.rkd_distance(e, target, everyone), embedding),
    r'rkd_angle': (lambda e: relational.rkd_angle(e, target, everyone), embedding),
    r'rkd_distance_with_duplicate_rows': (
      lambda e: relational.rkd_distance(e, target, everyone), inputs.get(STUDENT_DUPLICATES)),
    r'attention_transfer_mean_over_all_elements': (lambda f: features.attention_transfer(f, theirs).mean(), ours),
    rf'activation_boundary_margin{number}_sum': (
      lambda f, m: features.activation_boundary(f, theirs, margin=float(m)).sum(), ours),
    r'overhaul_partial_l2_sum': (lambda f: features.overhaul_partial_l2(f, theirs, margin).sum(), ours),
    r'sfd_published_code_max_abs_difference_of_global_max_pool': (
      lambda f: features.largest_pooled_difference(f, theirs).max(), ours),
    r'feature_mse_mean': (lambda f: features.mean_squared_error(f, theirs).mean(), ours),
  }  # fmt: skip
  for pattern, (function, given) in known.items():
    if match := re.fullmatch(pattern, name):
      return lambda x, function=function, match=match: function(x, *match.groups()), given
  raise KdJaxError(f"the loss '{name}' of the reference is none that kd_jax knows; add it to kd_jax.crosscheck")


def _as_rounded(inputs: dict[str, Array], golden: np.ndarray) -> tuple[Callable[[Array], Array], float]:
  """RKD's distance loss with duplicates as far apart as the reference had them, and that distance.

  Exactly they are 1e-6 apart. Code that takes distances from inner products in float32 has up to √(8 ε |e|²) in its place, by the
  machine's order of summation, and the value changes by a thousandth. Where 1e-6 does not give the golden value, the distance in
  that range that does is looked for; the gradient, which is not looked at here, must then agree, too.
  """
  embedding, target = inputs[STUDENT_DUPLICATES], inputs['teacher_embedding']
  longest = float(np.sqrt(8 * np.finfo(np.float32).eps * np.square(embedding).sum(1).max()))

  def loss(e: Array, apart) -> Array:
    return relational.rkd_distance(e, target, jnp.ones(len(e)), shortest=apart)

  def error(apart: float) -> float:
    return _relative(loss(embedding, apart), golden)

  low, high, apart = 1e-6, longest, 1e-6
  sign = np.sign(float(loss(embedding, low)) - float(golden))
  if error(low) > LOSSES and sign != np.sign(float(loss(embedding, high)) - float(golden)):
    for _ in range(60):  # bisection
      apart = (low + high) / 2
      low, high = (apart, high) if np.sign(float(loss(embedding, apart)) - float(golden)) == sign else (low, apart)
  return lambda e: loss(e, apart), apart


def _duplicated(rows: np.ndarray) -> np.ndarray:
  """bool[B], whether another row is the same."""
  return (rows[:, None] == rows[None]).all(-1).sum(1) > 1


def _correct(network: Network, variables: PyTree, test: Source) -> int:
  everything = Part(test, np.arange(len(test.label), dtype=np.int32))
  predicted = inference.logits(Trained(network, variables), everything, say=lambda line: None).argmax(-1)
  return int((predicted == test.label).sum())


def _trained_values(path: Path) -> int:
  from kd_jax.interop import torch_reader
  from kd_jax.interop.torch_specs import canonical

  stored, _ = canonical(torch_reader.read(path))
  return sum(v.size for k, v in stored.items() if k.endswith(('weight', 'bias')))


def _difference(ours, theirs) -> float:
  ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
  return float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float('nan')


def _relative(ours, theirs) -> float:
  return _difference(ours, theirs) / max(float(np.abs(theirs).max()), 1e-30)


def main(argv: list[str] | None = None) -> int:
  """The command `python -m kd_jax.crosscheck`; returns the exit code."""
  parser = Parser('crosscheck', __doc__)
  parser.add_argument('--reference', required=True, type=Path, help='folder of .npz files with reference numbers')
  parser.add_argument('--pretrained', required=True, type=Path, help='folder of the PyTorch checkpoints that they were made with')
  parser.add_argument('--data_dir', default='', help='prepared tensorflow_datasets data, with cifar10')
  parser.add_argument('--out', type=Path, help='a JSON file for the table')
  arguments = parser.parse_args(argv)
  started, lines = time.perf_counter(), []
  try:
    parallel.find_devices()
    for line in itertools.chain(check_all(arguments.reference, arguments.pretrained, arguments.data_dir), check_live()):
      lines.append(line)
      print(f'{"pass" if line.passed else "FAIL"}  {line.error:9.2e} ≤ {line.tolerance:7.0e}  {line.what}', flush=True)
    if arguments.out:
      records.write_json(arguments.out, [{**line._asdict(), 'passed': line.passed} for line in lines])
  except KdJaxError as error:
    parser.error(str(error))
  if not livecheck.available():
    print("torch is not installed, so nothing was trained beside it; `pip install -e '.[torch]'` adds that.")
  failed = sum(not line.passed for line in lines)
  print(f'{len(lines) - failed} of {len(lines)} checks pass, in {time.perf_counter() - started:.0f} s.')
  return 1 if failed else 0


if __name__ == '__main__':
  sys.exit(main())
