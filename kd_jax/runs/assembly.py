"""Networks, step and data of a phase put together, or of several that train together: what the
training loop takes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import models
from kd_jax.data import feed, pipeline, roles
from kd_jax.models import predicting
from kd_jax.text import Ticker
from kd_jax.train import keys, loop, metrics, optim, parallel, state, step
from kd_jax.train.programs import Programs
from kd_jax.types import (
  Array,
  Frozen,
  InitInputs,
  KdJaxError,
  Network,
  Phase,
  PyTree,
  Source,
  Trained,
  Trainee,
)

EVALUATION_BATCH = 256  # images, rounded up to a multiple of the devices
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Identity:
  """What the results of a run name it by."""

  dataset: str
  recipe: str
  options: Mapping[str, Mapping[str, Any]]  # of its method's parts, that are not the recipe's
  seed: int


@dataclass(frozen=True, kw_only=True)
class Context:
  """What all phases of a run share."""

  identity: Identity
  folder: Path
  parts: roles.Roles
  augmentation: pipeline.Weak
  selection: str  # the images that choose the best epoch: 'validation' or 'test'
  # id of a stored source → the same on the devices; empty where images stream from the host
  placed: Mapping[int, Source]
  devices: parallel.Parallel
  classes: tuple[str, ...]
  log_every: int  # steps between two looks at the metrics
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


@dataclass(frozen=True, kw_only=True)
class Assembled:
  """Phases that can start: what the loop takes, and what is asked of it afterwards. Nothing is
  compiled yet but initial weights.

  Tuples have an entry a student, in the order in which they were given.
  """

  trainees: tuple[Trainee, ...]
  predicting: tuple[Network, ...]  # of each trainee, the network that is evaluated and saved
  teaching: tuple[Trained, ...]
  frozen: Frozen
  fed: feed.Feed
  work: loop.Work
  program: Any  # what the step was compiled from, a key of `Context.programs`
  # of each trainee without the others: the same, and how the step is made
  alone: tuple[tuple[Any, Callable[[], Callable]], ...]


def assemble(students: Sequence[Student], zoo: Mapping[str, Trained]) -> Assembled:
  """Put networks, step and data of one phase together, or of several.

  Args:
    students: what is to be trained.
    zoo: the networks that they refer to: teachers, and where a phase starts from.
  """
  (context, leading), *_ = students
  devices, streamed = context.devices, not context.placed
  teaching = tuple(_changed(zoo[name], leading) for name in leading.teachers)
  key = keys.phase_key(jax.random.key(context.identity.seed), leading.draws_as or leading.name)
  per_epoch = steps_per_epoch(context.parts, leading)
  trainees = tuple(_trainee(student, teaching, zoo, key) for student in students)

  def compiled(*chosen: Trainee) -> Callable:
    views = pipeline.preprocess(policies(context.augmentation, leading))
    return devices.train(
      step.population_step(chosen, [t.network for t in teaching], views, axis=devices.axis),
      streamed,
    )

  program = _program(students, teaching, per_epoch)
  together = context.programs.get(program, lambda: compiled(*trainees))
  alone = ((program, lambda: together),)
  if len(students) > 1:
    alone = tuple(
      (_program((student,), teaching, per_epoch), functools.partial(compiled, trainee))
      for student, trainee in zip(students, trainees, strict=True)
    )
  fed, per_call = _feed(context, leading, keys.stream(key, keys.ORDER))
  work = loop.Work(
    step=together,
    feed=fed.several if per_call > 1 else lambda at, count: fed.at(at),
    steps_per_call=per_call,
    selected_by=f'{context.selection}_accuracy',
    place=devices.place,
    steps_per_epoch=per_epoch,
    images_per_step=sum(leading.shares.values()),
  )
  frozen = Frozen(
    teachers=tuple(t.variables for t in teaching),
    constants=tuple(trainee.constants for trainee in trainees),
    key=keys.stream(key, keys.STEP),
    epoch_steps=np.int32(per_epoch),
    phase_steps=np.int32(per_epoch * leading.epochs),
  )
  return Assembled(
    trainees=trainees,
    predicting=tuple(predicting_network(*student) for student in students),
    teaching=teaching,
    frozen=frozen,
    fed=fed,
    work=work,
    program=program,
    alone=alone,
  )


def _trainee(
  of: Student, teaching: Sequence[Trained], zoo: Mapping[str, Trained], key: Array
) -> Trainee:
  """Return a student at its first step."""
  (context, phase), network = of, models.build(of.phase.student)
  if phase.start:
    variables = zoo[phase.start].variables
  else:
    variables = models.initialise(keys.stream(key, keys.INIT), network)
  own = phase.method.init(
    InitInputs(
      key=keys.stream(key, keys.METHOD),
      student=models.info(network),
      teachers=tuple(models.info(t.network, variables=t.variables) for t in teaching),
      labels=training_labels(context.parts, phase),
    )
  )
  steps = steps_per_epoch(context.parts, phase) * phase.epochs
  schedule = optim.schedule(phase.optimiser, steps, epochs=phase.epochs)
  optimiser = optim.optimiser(phase.optimiser, schedule, phase.method.trains)
  return Trainee(
    phase=phase,
    network=network,
    optimiser=optimiser,
    schedule=schedule,
    first=state.create(
      variables, own, optimiser, averaged=phase.method if phase.optimiser.ema else None
    ),
    constants=own.constants,
  )


def _feed(context: Context, phase: Phase, key: Array) -> tuple[feed.Feed, int]:
  """Return where a phase's steps get their images, and how many steps a call may take."""
  devices, parts = context.devices, _parts(context.parts, phase)
  shares = tuple(phase.shares.values())
  whole = pipeline.order(key, tuple(len(part.index) for part in parts), shares)

  def order(at: int) -> tuple[np.ndarray, ...]:
    return devices.own(whole(at))

  position = devices.split(devices.own(pipeline.positions(shares)))
  if not context.placed:
    return feed.streamed(parts, order, position, devices.split), 1
  placed = tuple(context.placed[id(part.source)] for part in parts)
  return feed.resident(
    placed, parts, order, position, devices.split, devices.split_steps
  ), devices.steps


def predicting_network(context: Context, phase: Phase) -> Network:
  """Return the network that a phase's student predicts by, once it is trained."""
  identity = context.identity
  made = {'name': phase.method_name, 'recipe': identity.recipe, 'options': identity.options}
  return predicting.through(
    models.build(phase.student), phase.method.predict, json.dumps(made, sort_keys=True)
  )


def training_labels(parts: roles.Roles, phase: Phase) -> np.ndarray:
  """Return i32[N], the labels of a phase's first source by an image's number in it; −1 where the
  phase does not train on the image.
  """
  part = _parts(parts, phase)[0]
  labels = np.full(len(part.source.label), -1, np.int32)
  labels[part.index] = np.asarray(part.source.label)[part.index]
  return labels


def _program(
  students: Sequence[Student], teaching: Sequence[Trained], per_epoch: int
) -> tuple[Any, ...]:
  """Return all that determines the program of a step, but for the shapes of what it is given: seeds
  and weights are arguments.
  """
  (context, _), *_ = students
  devices = context.devices
  without = {'teachers': (), 'stop': None, 'draws_as': None, 'method': None}
  made = [
    [
      vars(phase)
      | without
      | {'start': bool(phase.start), 'optimiser': optim.described(phase.optimiser)},
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
    tuple(map(_identified, networks)),
    per_epoch,
    context.augmentation,
    bool(context.placed),
    devices.axis,
    devices.devices,
    devices.steps,
  )


def _identified(network: Network) -> Hashable:
  """Return what a network's program follows from: its spec and how it predicts, or, of a function
  or a table, which have no spec, itself.
  """
  spec, module = network.spec, network.module
  if not models.is_known(spec.name):
    return network
  made = module.made if isinstance(module, predicting.Predicting) else ''
  return json.dumps(spec._asdict()), made


def policies(augmentation: pipeline.Weak, phase: Phase) -> dict[str, pipeline.Policy]:
  """Return the augmentation of each view of a phase.

  Raises KdJaxError where one names nothing, or crops lie outside of the images.
  """
  height, width, _ = phase.student.image_shape
  if augmentation.crop_padding > min(height, width):
    raise KdJaxError(
      f'crop_padding is {augmentation.crop_padding} pixels, and the images have '
      f'{height}×{width}; lower it'
    )
  return {view: pipeline.policy(text, augmentation) for view, text in phase.method.views.items()}


def _parts(parts: roles.Roles, phase: Phase) -> tuple[feed.Split, ...]:
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


def evaluator(
  context: Context, network: Network
) -> Callable[[PyTree, feed.Split], dict[str, float]]:
  """A function of variables and images that gives {'accuracy', 'loss'} over all of the images."""
  devices, streamed = context.devices, not context.placed
  compiled = context.programs.get(
    ('evaluate', _identified(network), streamed, devices.axis, devices.devices),
    lambda: devices.evaluate(
      step.evaluation_step(network, pipeline.to_unit, axis=devices.axis), streamed
    ),
  )

  def evaluate(variables: PyTree, part: feed.Split) -> dict[str, float]:
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
  part: feed.Split,
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
    ('logits', _identified(trained.network)),
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
