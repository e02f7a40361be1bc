"""Networks, step and data of a phase put together, or of several that train together: what the
training loop takes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import models
from kd_jax.config import Config
from kd_jax.data import feed, pipeline, roles
from kd_jax.text import Ticker
from kd_jax.train import keys, loop, metrics, optim, parallel, state, step
from kd_jax.train.programs import Programs
from kd_jax.types import (
  Frozen,
  KdJaxError,
  Known,
  MethodState,
  Network,
  NetworkSpec,
  Phase,
  PyTree,
  Source,
  Trained,
  TrainState,
)

EVALUATION_BATCH = 256  # images, rounded up to a multiple of the devices
Say = Callable[[str], None]


class Context(NamedTuple):
  """What all phases of a run share."""

  config: Config
  folder: Path
  parts: roles.Roles
  # id of a stored source → the same on the devices; empty where images stream from the host
  placed: Mapping[int, Source]
  devices: parallel.Parallel
  classes: tuple[str, ...]
  stop: Callable[[], bool]
  say: Say
  programs: Programs  # that were compiled before; phases that need the same one share it
  # whether a student's row also says how near it is to its teachers; a run's own page computes that
  # itself
  fidelity: bool = False


class Student(NamedTuple):
  """A phase to train in the context of its run.

  Those that train together see the same data and have the same teachers.
  """

  context: Context
  phase: Phase


class Assembled(NamedTuple):
  """Phases that can start: what the loop takes, and what is asked of it afterwards. Nothing is
  compiled yet but initial weights.

  Tuples have an entry a student, in the order in which they were given.
  """

  learners: tuple[step.Learner, ...]
  teaching: tuple[Trained, ...]
  firsts: tuple[TrainState, ...]
  schedules: tuple[Callable[[int], Any], ...]
  frozen: Frozen
  fed: feed.Feed
  work: loop.Work
  program: Any  # what the step was compiled from, a key of `Context.programs`
  # of each student without the others: the same, and how the step is made
  alone: tuple[tuple[Any, Callable[[], Callable]], ...]
  # of each kind of student
  evaluators: Mapping[NetworkSpec, Callable[[PyTree, feed.Part], dict[str, float]]]


def assemble(students: Sequence[Student], zoo: Mapping[str, Trained]) -> Assembled:
  """Puts networks, step and data of one phase together, or of several.

  Args:
    students: what is to be trained.
    zoo: the networks that they refer to: teachers, and where a phase starts from.
  """
  (context, leading), *_ = students
  config, devices = context.config, context.devices
  teaching = tuple(_changed(zoo[name], leading) for name in leading.teachers)
  taught_by = tuple(known(t.network, variables=t.variables) for t in teaching)
  key = keys.phase_key(jax.random.key(config.seed), leading.draws_as or leading.name)
  per_epoch = steps_per_epoch(context.parts, leading)
  parts, shares, streamed = (
    _parts(context.parts, leading),
    tuple(leading.shares.values()),
    not context.placed,
  )
  learners, firsts, consts, schedules = [], [], [], []
  for _, phase in students:
    student, schedule = (
      models.build(phase.student),
      optim.learning_rate(phase.optimiser, per_epoch * phase.epochs),
    )
    start = (
      zoo[phase.start].variables
      if phase.start
      else models.initialise(keys.stream(key, keys.INIT), student)
    )
    own: MethodState = phase.method.init(keys.stream(key, keys.METHOD), known(student), taught_by)
    learners.append(
      step.Learner(student, phase.method, optim.sgd(phase.optimiser, schedule, phase.method.trains))
    )
    firsts.append(state.create(start, own, learners[-1].optimiser))
    consts.append(own.consts)
    schedules.append(schedule)

  def compiled(*chosen: step.Learner) -> Callable:
    views = pipeline.preprocess(policies(config, leading))
    return devices.train(
      step.population_step(chosen, tuple(t.network for t in teaching), views, axis=devices.axis),
      streamed,
    )

  program = _program(students, teaching, per_epoch)
  together = context.programs.get(program, lambda: compiled(*learners))
  alone = ((program, lambda: together),)
  if len(students) > 1:
    alone = tuple(
      (_program((student,), teaching, per_epoch), functools.partial(compiled, learner))
      for student, learner in zip(students, learners, strict=True)
    )
  whole = pipeline.order(
    keys.stream(key, keys.ORDER), tuple(len(part.index) for part in parts), shares
  )

  def order(at: int) -> tuple[np.ndarray, ...]:
    return devices.own(whole(at))

  if streamed:
    fed = feed.streamed(parts, order, devices.split)
  else:
    placed = tuple(context.placed[id(part.source)] for part in parts)
    fed = feed.resident(placed, parts, order, devices.split, devices.split_steps)
  per_call = 1 if streamed else devices.steps
  fetch = fed.several if per_call > 1 else lambda at, count: fed.at(at)
  position = devices.split(devices.own(pipeline.positions(shares)))
  work = loop.Work(
    together,
    fetch,
    per_call,
    position,
    f'{config.selection}_accuracy',
    devices.place,
    per_epoch,
    sum(shares),
  )
  frozen = Frozen(tuple(t.variables for t in teaching), tuple(consts), keys.stream(key, keys.STEP))
  evaluators = {learner.student.spec: evaluator(context, learner.student) for learner in learners}
  return Assembled(
    tuple(learners),
    teaching,
    tuple(firsts),
    tuple(schedules),
    frozen,
    fed,
    work,
    program,
    alone,
    evaluators,
  )


def _program(
  students: Sequence[Student], teaching: Sequence[Trained], per_epoch: int
) -> tuple[Any, ...]:
  """Return all that determines the program of a step, but for the shapes of what it is given: seeds
  and weights are arguments.
  """
  (context, leading), *_ = students
  config, devices = context.config, context.devices
  made = [
    [
      phase._replace(
        teachers=(), start=bool(phase.start), stop=None, draws_as=None, method=None
      )._asdict(),
      list(phase.method.views.items()),
      phase.method.joint,
      phase.method.teacher_statistics,
    ]
    for _, phase in students
  ]
  networks = [trained.network for trained in teaching] + [
    phase.method.companion for _, phase in students if phase.method.companion
  ]
  return (
    json.dumps(made),
    tuple(map(_known_by, networks)),
    per_epoch,
    config.crop_padding,
    config.flip,
    bool(context.placed),
    devices.axis,
    devices.devices,
    devices.steps,
  )


def _known_by(network: Network) -> Hashable:
  """Return what a network's program follows from: its spec, or, of a function or a table, which
  have none, itself.
  """
  spec = network.spec
  return json.dumps(spec._asdict()) if models.is_known(spec.name) else network


def policies(config: Config, phase: Phase) -> dict[str, pipeline.Policy]:
  """The augmentation of each view of a phase.

  Raises KdJaxError where one names nothing, or crops lie outside of the images.
  """
  height, width, _ = phase.student.image_shape
  if config.crop_padding > min(height, width):
    raise KdJaxError(
      f'crop_padding is {config.crop_padding} pixels, and the images have {height}×{width}; lower '
      f'it'
    )
  return {
    view: pipeline.policy(text, crop_padding=config.crop_padding, flip=config.flip)
    for view, text in phase.method.views.items()
  }


def _parts(parts: roles.Roles, phase: Phase) -> tuple[feed.Part, ...]:
  return tuple(getattr(parts, name) for name in phase.shares)


def steps_per_epoch(parts: roles.Roles, phase: Phase) -> int:
  """An epoch is a pass over the phase's first source; each of them must fill its share
  of a batch.
  """
  passes = [
    pipeline.steps_per_epoch(len(p.index), s)
    for p, s in zip(_parts(parts, phase), phase.shares.values(), strict=True)
  ]
  return passes[0]


def _changed(teacher: Trained, phase: Phase) -> Trained:
  return teacher._replace(network=models.changed(teacher.network, phase.teacher_changes))


def known(network: Network, *, variables: PyTree = None) -> Known:
  """What a method may know of a network; of one without variables, their shapes."""
  return Known(
    network,
    models.shapes(network) if variables is None else variables,
    models.output_shapes(network),
  )


def evaluator(
  context: Context, network: Network
) -> Callable[[PyTree, feed.Part], dict[str, float]]:
  """A function of variables and images that gives {'accuracy', 'loss'} over all of the images."""
  devices, streamed = context.devices, not context.placed
  compiled = context.programs.get(
    ('evaluate', _known_by(network), streamed, devices.axis, devices.devices),
    lambda: devices.evaluate(
      step.evaluation_step(network, pipeline.to_unit, axis=devices.axis), streamed
    ),
  )

  def evaluate(variables: PyTree, part: feed.Part) -> dict[str, float]:
    placed = context.placed.get(id(part.source))
    batch = -(-EVALUATION_BATCH // devices.devices) * devices.devices
    blocks = feed.evaluation(part, batch, placed=placed, own=devices.own, split=devices.split)
    variables = devices.place(variables)
    totals = metrics.add({}, [compiled(variables, *block) for block in blocks])
    if totals['accuracy'][1] != len(part.index):
      raise KdJaxError(
        f'{len(part.index)} images were to be evaluated and {totals["accuracy"][1]:.0f} have a '
        f'label'
      )
    return metrics.means(totals)

  return evaluate


def logits(
  trained: Trained,
  part: feed.Part,
  *,
  name: str = '',
  say: Say = print,
  programs: Programs | None = None,
) -> np.ndarray:
  """Return f32[n, K]: a network on images as they are, in the order of the part.

  Args:
    trained: the network.
    part: the images.
    name: of both, for progress.
    say: is given progress every few seconds.
    programs: that were compiled before; none: this one is compiled for this call.
  """
  module = trained.network.module  # alone: a program that is kept must not keep these weights, too
  apply = (programs or Programs()).get(
    ('logits', _known_by(trained.network)),
    lambda: jax.jit(
      lambda variables, image: module.apply(
        variables, pipeline.to_unit(image), train=False
      ).logits.astype(jnp.float32)
    ),
  )
  variables, found = jax.device_put(trained.variables), []
  ticker = Ticker(f'predicting {name}', len(part.index), say=say)
  for (source,), _, _ in feed.evaluation(
    part, EVALUATION_BATCH, placed=None, own=lambda tree: tree, split=jax.device_put
  ):
    found.append(np.asarray(apply(variables, source.image)))
    ticker.at(min(len(found) * EVALUATION_BATCH, len(part.index)))
  return np.concatenate(found)[: len(part.index)]
