"""Networks, step and data of a phase put together, or of several that train together: what the
training loop takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from kd_jax import models
from kd_jax.data import feed, mixing, pipeline, roles
from kd_jax.models import predicting
from kd_jax.runs.context import Context, Student
from kd_jax.runs.evaluation import identified
from kd_jax.train import keys, loop, optim, state, step
from kd_jax.types import (
  Array,
  Block,
  ConfigError,
  Frozen,
  InitInputs,
  Method,
  MethodVariables,
  Network,
  Phase,
  Trained,
  Trainee,
)


@dataclass(frozen=True, kw_only=True)
class Assembled:
  """Phases that can start: what the loop takes, and what is needed of it afterwards.

  Nothing is compiled yet but initial weights. Tuples have an entry a student, in the order in which
  they were given.
  """

  trainees: tuple[Trainee, ...]
  predicting: tuple[Network, ...]  # of each trainee, the network that is evaluated and saved
  teaching: tuple[Trained, ...]
  frozen: Frozen
  fed: feed.Feed
  work: loop.Work
  compiled: Callable[..., Callable]  # trainees → their step alone
  program: Hashable  # what the step was compiled from, a key of `Context.programs`
  alone: tuple[Hashable, ...]  # of each trainee without the others, the same


def assemble(students: Sequence[Student], zoo: Mapping[str, Trained]) -> Assembled:
  """Put networks, step and data of one phase together, or of several.

  Args:
    students: what is to be trained.
    zoo: the networks that they refer to: teachers, and where a phase starts from.
  """
  context, phase = students[0]
  devices = context.devices
  teaching = tuple(
    trained._replace(network=models.changed(trained.network, phase.teacher_changes))
    for trained in (zoo[name] for name in phase.teachers)
  )
  key = keys.phase_key(jax.random.key(context.identity.seed), phase.draws_as or phase.name)
  per_epoch = steps_per_epoch(context.parts, phase)
  trainees = tuple(_trainee(student, teaching, zoo, key) for student in students)

  def compiled(*chosen: Trainee) -> Callable:
    views = pipeline.preprocess(policies(context.augmentation, phase))
    networks = [trained.network for trained in teaching]
    extras = extras_of(context, phase)
    population = step.population_step(chosen, networks, views, extras=extras, axis=devices.axis)
    return devices.train(population, not context.placed)

  program = _program(students, teaching, per_epoch)
  together = context.programs.get(program, lambda: compiled(*trainees))
  fed = _feed(context, phase, keys.stream(key, keys.ORDER))

  def one_step(at: int, count: int) -> Block:
    return fed.at(at)

  several = fed.several if devices.steps > 1 else None
  work = loop.Work(
    step=together,
    feed=several or one_step,
    steps_per_call=devices.steps if several else 1,
    selected_by=f'{context.selection}_accuracy',
    place=devices.place,
    steps_per_epoch=per_epoch,
    images_per_step=sum(phase.shares.values()),
  )
  frozen = Frozen(
    teachers=tuple(trained.variables for trained in teaching),
    constants=tuple(trainee.constants for trainee in trainees),
    key=keys.stream(key, keys.STEP),
    epoch_steps=np.int32(per_epoch),
    phase_steps=np.int32(per_epoch * phase.epochs),
  )
  return Assembled(
    trainees=trainees,
    predicting=tuple(_predicting_network(student) for student in students),
    teaching=teaching,
    frozen=frozen,
    fed=fed,
    work=work,
    compiled=compiled,
    program=program,
    alone=tuple(_program([student], teaching, per_epoch) for student in students),
  )


def _trainee(
  student: Student, teaching: Sequence[Trained], zoo: Mapping[str, Trained], key: Array
) -> Trainee:
  """Return a student at its first step."""
  context, phase = student
  network = models.build(phase.student)
  if phase.start:
    variables = zoo[phase.start].variables
  else:
    variables = models.initialise(keys.stream(key, keys.INIT), network)
  labels = training_labels(context.parts, phase)
  own = method_variables(keys.stream(key, keys.METHOD), phase.method, network, teaching, labels)
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


def method_variables(
  key: Array, method: Method, student: Network, teaching: Sequence[Trained], labels: np.ndarray
) -> MethodVariables:
  """Return a method's own variables before the first step."""
  return method.init(
    InitInputs(
      key=key,
      student=models.info(student),
      teachers=tuple(models.info(t.network, variables=t.variables) for t in teaching),
      labels=labels,
    )
  )


def _feed(context: Context, phase: Phase, key: Array) -> feed.Feed:
  """Return where a phase's steps get their images."""
  devices = context.devices
  parts = _parts(context.parts, phase)
  shares = tuple(phase.shares.values())
  whole = pipeline.order(key, tuple(len(part.index) for part in parts), shares)

  def order(at: int) -> tuple[np.ndarray, ...]:
    return devices.own(whole(at))

  position = devices.split(devices.own(pipeline.positions(shares)))
  if not context.placed:
    return feed.streamed(parts, order, position, devices.split)
  placed = tuple(context.placed[id(part.source)] for part in parts)
  return feed.resident(placed, parts, order, position, devices.split, devices.split_steps)


def _predicting_network(student: Student) -> Network:
  """Return the network that a student predicts by, once it is trained."""
  identity, phase = student.context.identity, student.phase
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
) -> tuple[Hashable, ...]:
  """Return all that determines the program of a step, but for the shapes of its arguments: seeds
  and weights are arguments.
  """
  context = students[0].context
  devices = context.devices
  phases = [student.phase for student in students]
  left_out = {'teachers': (), 'stop': None, 'draws_as': None, 'method': None}
  described = [
    [
      vars(phase)
      | left_out
      | {'start': bool(phase.start), 'optimiser': optim.described(phase.optimiser)},
      list(phase.method.views.items()),
      phase.method.joint,
      phase.method.teacher_statistics,
    ]
    for phase in phases
  ]
  networks = [trained.network for trained in teaching]
  networks += [phase.method.companion for phase in phases if phase.method.companion]
  return (
    json.dumps(described),
    tuple(map(identified, networks)),
    per_epoch,
    context.augmentation,
    context.mixing,
    context.turn,
    bool(context.placed),
    devices.axis,
    devices.devices,
    devices.steps,
  )


def extras_of(context: Context, phase: Phase) -> step.Extras:
  """Return what a phase does to its images beside the augmentation of each view."""
  mix = None
  if context.mixing:
    mix = mixing.mix(context.mixing, classes=phase.student.classes, shares=phase.shares)
  turn = context.turn or (pipeline.turned if context.augmentation.alternating else None)
  return step.Extras(turn=turn, mix=mix, stored=context.stored)


def policies(augmentation: pipeline.Weak, phase: Phase) -> dict[str, pipeline.Policy]:
  """Return the augmentation of each view of a phase.

  Raises:
    ConfigError: a view names no augmentation, or crops lie outside of the images.
  """
  height, width, _ = phase.student.image_shape
  for text in (augmentation.more, *phase.method.views.values()):
    for side in map(int, re.findall(r'cutout:(\d{1,9})(?!\d)', text)):
      if side > min(height, width):
        raise ConfigError(
          f'cutout:{side} is larger than the images, which have {height}×{width} pixels: lower it'
        )
  if augmentation.crop_padding > min(height, width):
    raise ConfigError(
      f'crop_padding is {augmentation.crop_padding} pixels, and the images have '
      f'{height}×{width}; lower it'
    )
  return {view: pipeline.policy(text, augmentation) for view, text in phase.method.views.items()}


def steps_per_epoch(parts: roles.Roles, phase: Phase) -> int:
  """Return the steps of a pass over the phase's first source.

  Raises KdJaxError where a source does not fill its share of a batch.
  """
  passes = [
    pipeline.steps_per_epoch(len(part.index), share)
    for part, share in zip(_parts(parts, phase), phase.shares.values(), strict=True)
  ]
  return passes[0]


def _parts(parts: roles.Roles, phase: Phase) -> tuple[feed.Split, ...]:
  """Return the images of a phase, a split a source."""
  return tuple(getattr(parts, name) for name in phase.shares)
