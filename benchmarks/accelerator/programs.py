"""The process that compiles training steps and times them: as kd_jax.runs.training puts a phase
together, on random images.

A step holds what benchmarks.kd_jax_side describes. Several steps a call are one program, as the
loop runs them on accelerators.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.accelerator import jobs
from benchmarks.kd_jax_side import Silent
from benchmarks.workers import serve

EPOCHS = 10_000  # of the learning rate's schedule: no drop is reached
REPEATED = 16  # calls of one step that are made without looking at the results


class Program(NamedTuple):
  """What is compiled and timed."""

  name: str
  method: str = 'kd'
  dtype: str = 'float32'
  batch: int = 128
  steps: int = 100  # in one call
  students: int = 1
  how: str = 'unrolled'  # of several students, or 'vmapped' over their weights
  # of products of float32: '' is the device's own choice, 'highest' leaves TF32 out
  precision: str = ''
  # time the training loop over a whole epoch, with evaluation and a checkpoint, too
  epoch: bool = False
  student: str = 'resnet8'
  teacher: str = 'resnet26'
  examples: int = 45_000
  evaluated: int = 5_000
  image_shape: tuple[int, int, int] = (32, 32, 3)


class Built(NamedTuple):
  """A program that is compiled:

  `call` takes the next steps and returns once they are done; `epoch` trains an epoch.
  """

  call: Callable[[], None]
  epoch: Callable[[], dict[str, float]]
  seconds: float  # to build it
  steps: int  # of a call


@jobs.answering
def prepare(threads: int, programs: Sequence[Sequence[Any]], after: str) -> jobs.Prepared:
  """Compile the programs one after the other and run each once, once the file `after` is there."""
  del threads
  built: dict[str, Built | str] = {}
  listed = [Program(*values) for values in programs]
  for program in listed:
    try:
      built[program.name] = build(program, after)
    except Exception as fault:  # memory, an algorithm that is not there: the others are timed
      built[program.name] = f'{type(fault).__name__}: {" ".join(str(fault).split())[:300]}'

  def run(name: str, seconds: float) -> dict[str, Any]:
    (program,) = (p for p in listed if p.name == name)
    made = built[name]
    if isinstance(made, str):
      return {'missing': made}
    spent: list[float] = []
    began = time.perf_counter()
    while len(spent) < 3 or time.perf_counter() - began < seconds:
      start = time.perf_counter()
      made.call()
      spent.append(time.perf_counter() - start)
    each = sorted(spent)[len(spent) // 2] / made.steps
    images = program.batch * program.students
    figures = {
      'milliseconds': 1e3 * each,
      'images_per_second': images / each,
      'calls': len(spent),
      'steps_a_call': program.steps,
      'seconds_to_build': made.seconds,
      'spread': (max(spent) - min(spent)) / sorted(spent)[len(spent) // 2],
      'all_images_per_second': images * made.steps * len(spent) / sum(spent),
    }
    return figures | (made.epoch() if program.epoch else {})

  return {'ready': [p.name for p in listed]}, {'run': run}


def build(program: Program, after: str = '') -> Built:
  """Compile a program and run it once, once the file `after` is there."""
  import jax
  import numpy as np

  from kd_jax import config, models
  from kd_jax.data import pipeline, sources
  from kd_jax.files import checkpoints
  from kd_jax.runs import assembly, evaluation, preparation, run
  from kd_jax.runs.context import Student
  from kd_jax.runs.shared import Shared
  from kd_jax.train import loop, parallel, state, step
  from kd_jax.types import Source, Trained

  began = time.perf_counter()
  random = np.random.default_rng(0)
  per_epoch = program.examples // program.batch
  count = min(program.steps, per_epoch)
  channels = program.image_shape[-1]

  def images(number: int) -> Source:
    return Source(
      random.integers(0, 256, (number, *program.image_shape), dtype=np.uint8),
      np.arange(number, dtype=np.int32) % 10,
    )

  dataset = sources.Dataset(
    'random', images(program.examples + program.evaluated), images(100), tuple('0123456789')
  )
  chosen = config.default(**config.PAPER)
  chosen.update(
    method=program.method,
    student=program.student,
    teacher=program.teacher,
    batch_size=program.batch,
    epochs=EPOCHS,
    validation_examples=program.evaluated,
    compute_dtype=program.dtype,
    mean=(0.5,) * channels,
    std=(0.25,) * channels,
  )
  devices = parallel.make('jit', devices=1, steps=count)
  prepared = preparation.prepare(config.resolve(chosen), shared=Shared(dataset))
  prepared = replace(prepared, devices=devices)
  phase = prepared.phases[-1]
  zoo = {
    p.name: Trained(net := models.build(p.student), models.initialise(jax.random.key(1), net))
    for p in prepared.phases[:-1]
  }
  context = run.context(prepared, Path(os.devnull), stop=lambda: False, say=lambda text: None)
  unrolled = program.students if program.how == 'unrolled' else 1
  made = assembly.assemble([Student(context, phase)] * unrolled, zoo)
  take: Any = made.work.step
  work, frozen = made.work, made.frozen
  firsts = tuple(trainee.first for trainee in made.trainees)
  if program.how == 'vmapped':
    (trainee,), (first,) = made.trainees, firsts
    one = step.train_step(
      trainee.network,
      [t.network for t in made.teaching],
      phase.method,
      trainee.optimiser,
      pipeline.preprocess(assembly.policies(prepared.augmentation, phase)),
    )
    take = devices.train(jax.vmap(one, in_axes=(0, None, None)), False)
    firsts = jax.tree.map(
      lambda leaf: np.stack([np.asarray(leaf)] * program.students), jax.device_get(first)
    )
    frozen = frozen._replace(constants=frozen.constants[0])
  precise = (
    partial(jax.default_matmul_precision, program.precision)
    if program.precision
    else contextlib.nullcontext
  )
  now = work.place(jax.tree.map(np.array, jax.device_get(firsts)))
  placed = work.place(frozen)
  done = 0
  repeats = REPEATED if count == 1 else 1

  def call() -> None:
    nonlocal now, done
    for _ in range(repeats):
      if done % per_epoch + count > per_epoch:
        done += per_epoch - done % per_epoch
      with precise():
        now, _ = take(now, placed, work.feed(done, count))
      done += count
    jax.block_until_ready(now)

  def epoch() -> dict[str, float]:
    evaluate = evaluation.evaluator(context, made.predicting[0])
    began = time.perf_counter()
    validation = context.parts.validation
    assert validation is not None
    with (
      tempfile.TemporaryDirectory(prefix='kd_jax-benchmark-') as place,
      checkpoints.Checkpoints(place) as saved,
    ):
      trainee = replace(
        made.trainees[0],
        phase=replace(phase, epochs=4),
        validate=lambda now: {
          f'validation_{name}': value
          for name, value in evaluate(state.student_variables(now), validation).items()
        },
        monitor=Silent(),
      )
      (ended,) = loop.run([trainee], made.frozen, work, saved, log_every=50)
    seconds = [row['seconds'] for row in ended.history]
    return {
      'epoch_seconds': (seconds[-1] - seconds[0]) / (len(seconds) - 1),
      'first_epoch_seconds': seconds[0],
      'four_epochs_seconds': time.perf_counter() - began,
    }

  with precise():
    take.lower(now, placed, work.feed(0, count))  # needs the host alone
  jobs.wait_for(after)
  call()
  return Built(call, epoch, time.perf_counter() - began, count * repeats)


def as_job(programs: Sequence[Program], after: str = '') -> Mapping[str, Any]:
  """Return the job of a process that compiles these programs, once the file `after` is there."""
  return {'programs': [list(program) for program in programs], 'after': after}


if __name__ == '__main__':
  serve(prepare)
