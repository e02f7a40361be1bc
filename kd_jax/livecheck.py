"""The live crosscheck: our training step and a PyTorch rendering of it, side by side from one start on the same batches.

Both run in float64, on small random images, for every single-phase method; neither side reads the other's code. Needs torch (the
extra `torch`). kd_jax.crosscheck runs it where torch can be imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import methods, models
from kd_jax.interop import torch_names
from kd_jax.train import optim, parallel, state, step
from kd_jax.types import Frozen, Known, MethodState, NetworkSpec, Optimiser, PyTree, Source, Trained

METHODS = ('nokd', 'kd', 'rkd', 'ab', 'oh', 'sfd', 'pkd', 'uda')
STUDENT = NetworkSpec('resnet8', 10, (16, 16, 3), 'stage', compute_dtype='float64')
TEACHER = NetworkSpec('resnet14', 10, (16, 16, 3), 'stage', compute_dtype='float64')
OPTIMISER = Optimiser(learning_rate=0.05, drops=(0.5,))


class Curves(NamedTuple):
  """Both sides of a method: the loss of each step, and the largest difference of the students after the last."""

  ours: np.ndarray
  theirs: np.ndarray
  difference: float  # over parameters and BatchNorm statistics

  def error(self) -> float:
    return float(max(np.abs(self.ours - self.theirs).max(), self.difference))

  def parted(self, tolerance: float) -> int | None:
    """The first step, from 1, at which the losses differ by more than the tolerance."""
    apart = np.flatnonzero(~(np.abs(self.ours - self.theirs) <= tolerance))
    return int(apart[0]) + 1 if len(apart) else None


def available() -> bool:
  """Whether torch can be imported."""
  import importlib.util

  return importlib.util.find_spec('torch') is not None


def compare(name: str, *, steps: int = 20, batch: int = 16, options: dict[str, Any] | None = None,
            optimiser: Optimiser = OPTIMISER, alter: Callable[[Any], None] | None = None) -> Curves:  # fmt: skip
  """Trains both sides of a method.

  Args:
    name: one of METHODS.
    steps, batch: how many, and how many images in each.
    options: of our side's method alone: a wrong constant, which must show.
    optimiser: of our side alone, likewise.
    alter: is given the PyTorch student before training, to break it deliberately.
  """
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    images = rng.random((steps * batch, *STUDENT.image_shape))
    labels = rng.integers(0, STUDENT.classes, steps * batch).astype(np.int32)
    student, teacher = (_trained(spec, rng) for spec in (STUDENT, TEACHER))
    method = methods.make(name, chosen={name: options or {}})
    taught_by = (teacher,) if methods.teachers(name)[1] else ()
    known = tuple(Known(t.network, t.variables, models.output_shapes(t.network)) for t in taught_by)
    learning = Known(student.network, models.shapes(student.network), models.output_shapes(student.network))
    own = method.init(jax.random.key(1), learning, known)
    ours, variables = _ours(student, taught_by, method, own, optimiser, images, labels, batch)
    theirs, after = _theirs(name, student, teacher, own, images, labels, batch, alter)
    wanted = torch_names.to_flax(after, student.network, dtype=np.float64)
    errors = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), variables, wanted)
    return Curves(ours, theirs, max(jax.tree.leaves(errors)))


def check_all(*, tolerance: float = 1e-6) -> Iterator[tuple[str, float, float]]:
  """(what, error, tolerance) of each method; what says where the curves part, if they do."""
  for name in METHODS:
    curves = compare(name)
    parted = curves.parted(tolerance)
    yield f'{name}, 20 steps beside PyTorch' + (f', parted at step {parted}' if parted else ''), curves.error(), tolerance


def _trained(spec: NetworkSpec, rng: np.random.Generator) -> Trained:
  """A network whose every weight and statistic is drawn, so that no term is at a special point."""
  network = models.build(spec)

  def draw(path: tuple, leaf: Any) -> np.ndarray:
    name, noise = path[-1].key, rng.standard_normal(leaf.shape)
    if name in ('scale', 'var'):
      return 1 + 0.2 * np.tanh(noise)
    return noise * (0.1 if name in ('bias', 'mean') else np.prod(leaf.shape[:-1]) ** -0.5)

  return Trained(network, jax.tree_util.tree_map_with_path(draw, models.shapes(network)))


def _views(images: Any) -> dict[str, Any]:
  """Two views without chance: both sides see the same pixels."""
  return {'weak': images, 'strong': 1 - images[:, ::-1]}


def _ours(student: Trained, taught_by: tuple[Trained, ...], method: Any, own: MethodState, optimiser: Optimiser,
          images: np.ndarray, labels: np.ndarray, batch: int) -> tuple[np.ndarray, PyTree]:  # fmt: skip
  count = len(labels) // batch
  rule = optim.sgd(optimiser, optim.learning_rate(optimiser, count), method.trains)

  def preprocess(key, pixels, position):
    del key, position
    return {view: image for view, image in _views(pixels).items() if view in method.views}

  body = step.train_step(student.network, tuple(t.network for t in taught_by), method, rule, preprocess)
  run = parallel.make('jit', devices=1).train(body, False)
  now = jax.tree.map(jnp.array, state.create(student.variables, own, rule))
  frozen = Frozen(tuple(t.variables for t in taught_by), own.consts, jax.random.key(0))
  losses = []
  for number in range(count):
    index = np.arange(number * batch, (number + 1) * batch, dtype=np.int32)
    now, metrics = run(now, frozen, (Source(images, labels),), (index,), (np.arange(batch, dtype=np.int32),))
    losses.append(float(metrics['loss'][0]))
  return np.array(losses), jax.device_get(state.student_variables(now))


def _theirs(name: str, student: Trained, teacher: Trained, own: MethodState, images: np.ndarray, labels: np.ndarray, batch: int,
            alter: Callable[[Any], None] | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:  # fmt: skip
  import torch

  from kd_jax.interop import torch_methods

  def render(trained: Trained):
    spec = trained.network.spec
    module = torch_methods.torch_peer.build(spec.name, classes=spec.classes, image_shape=spec.image_shape,
                                            relu_placement=spec.relu_placement).double()  # fmt: skip
    stored = torch_names.to_torch(trained.variables, spec)
    module.load_state_dict({k: torch.as_tensor(np.asarray(v)) for k, v in stored.items()})
    return module

  pupil, guide = render(student).train(), render(teacher).eval()
  if alter is not None:
    alter(pupil)
  lesson = torch_methods.Lesson(name, pupil, guide).double()
  if lesson.connectors is not None:
    for number, conv in enumerate(lesson.connectors.convs, 1):
      conv.weight.data = torch.as_tensor(np.asarray(own.params[f'conv{number}']['kernel'])).permute(3, 2, 0, 1).contiguous()
  rule = torch.optim.SGD(lesson.parameters(), lr=OPTIMISER.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
  count, losses = len(labels) // batch, []
  names = torch_methods.VIEWS.get(name, ('weak',))
  for number in range(count):
    if number == round(count / 2):
      rule.param_groups[0]['lr'] *= 0.1
    part = slice(number * batch, (number + 1) * batch)
    made = _views(images[part])
    views = {view: torch.as_tensor(np.ascontiguousarray(made[view])).permute(0, 3, 1, 2) for view in names}
    with torch.no_grad():
      taught = {view: guide(image) for view, image in views.items()}
    value = lesson(views, taught, torch.as_tensor(labels[part]).long())
    rule.zero_grad()
    value.backward()
    rule.step()
    losses.append(float(value))
  return np.array(losses), {k: v.numpy() for k, v in pupil.state_dict().items()}
