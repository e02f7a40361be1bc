"""The worker that times kd_jax, as kd_jax.runs.training puts a phase together from its
configuration: what `launch.py` would run.

  step      gathering the batch, augmentation of every view, normalisation, the teacher's forward,
            the student's forward and backward, the optimiser, the metrics; between steps the host
            makes the batch's index and sends it
  forward   the teacher alone, on a batch of pixels in [0, 1]
  epoch     the training loop over all images, with evaluation and a checkpoint at its end
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.rows import Row
from benchmarks.workers import serve, timed

EPOCHS = 10_000  # of the learning rate's schedule: no drop is reached
CALLS = 10  # of what is short beside a step


def prepare(
  row: Sequence[Any], threads: int
) -> tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]:
  """Compile what a row needs and does it once.

  `shares` in the facts names measurements of parts of it, a value each.
  """
  del threads  # the process is bound to its cores
  import jax
  import numpy as np

  from kd_jax import config, models
  from kd_jax.data import feed, pipeline, sources
  from kd_jax.files import checkpoints
  from kd_jax.methods import plans
  from kd_jax.models import precomputed
  from kd_jax.runs import assembly, evaluation, logits_table, preparation, run
  from kd_jax.runs.context import Student
  from kd_jax.runs.shared import Shared
  from kd_jax.train import loop, parallel, state
  from kd_jax.types import Source, Trained

  row = Row(*row)
  random = np.random.default_rng(0)

  def images(count: int) -> Source:
    return Source(
      random.integers(0, 256, (count, *row.image_shape), dtype=np.uint8),
      np.arange(count, dtype=np.int32) % row.classes,
    )

  dataset = sources.Dataset(
    'random',
    images(row.examples + row.evaluated),
    images(row.classes),
    tuple(map(str, range(row.classes))),
  )
  stated = config.default(**config.PAPER, **row.options)
  stated.update(
    method=row.method,
    recipe=row.recipe,
    student=row.student,
    teacher=row.teacher,
    batch_size=row.batch,
    epochs=EPOCHS,
    validation_examples=row.evaluated,
  )
  prepared = replace(
    preparation.prepare(config.resolve(stated), shared=Shared(dataset)),
    devices=parallel.make('jit', devices=1),
  )
  names = [p.name for p in prepared.phases]
  number = names.index(row.phase) if row.phase else len(names) - 1
  phase = prepared.phases[number]
  # The phases before it would train its teacher; whether one is trained makes no difference to the
  # time.
  before = {p.name: models.build(p.student) for p in prepared.phases[:number]}
  before |= {
    plans.companion_name(p.name): p.method.companion
    for p in prepared.phases[:number]
    if p.method.companion
  }
  zoo = {
    name: Trained(net, models.initialise(jax.random.key(1), net)) for name, net in before.items()
  }
  if row.looked_up:
    with tempfile.TemporaryDirectory(prefix='kd_jax-benchmark-') as place:
      prints = [
        np.asarray(precomputed.fingerprint(images))
        for shown in logits_table.shown_to_teachers(prepared.augmentation, prepared.parts)
        for images in logits_table.pictures(shown)
      ]
      logits = random.normal(size=(sum(map(len, prints)), row.classes))
      precomputed.write(
        Path(place) / 'teacher.npz', np.concatenate(prints), logits, row.image_shape
      )
      zoo = {
        phase.teachers[0]: precomputed.load(
          Path(place) / 'teacher.npz', image_shape=row.image_shape, classes=row.classes
        )
      }
  nowhere = Path(os.devnull)  # what is timed here writes checkpoints alone, and these elsewhere
  context = run.context(prepared, nowhere, stop=lambda: False, say=lambda text: None)
  validation = context.parts.validation
  assert validation is not None
  made = assembly.assemble([Student(context, phase)] * row.students, zoo)
  work = made.work
  firsts = tuple(trainee.first for trainee in made.trainees)
  now = work.place(jax.tree.map(np.array, jax.device_get(firsts)))
  frozen = work.place(made.frozen)
  done = 0
  passed = 0

  def steps(count: int) -> float:
    nonlocal now, done
    for number in range(done, done + count):
      now, metrics = work.step(now, frozen, work.feed(number, 1))
    done += count
    jax.block_until_ready(now)
    return float(metrics[0]['loss'][0])

  def epochs(count: int) -> float:
    with (
      tempfile.TemporaryDirectory(prefix='kd_jax-benchmark-') as place,
      checkpoints.Checkpoints(place) as saved,
    ):
      trainee = replace(
        made.trainees[0], phase=replace(phase, epochs=count), validate=validate, monitor=Silent()
      )
      (ended,) = loop.run([trainee], made.frozen, work, saved, log_every=prepared.config.log_every)
    return ended.history[-1]['train_loss']

  evaluate = evaluation.evaluator(context, made.predicting[0])

  def validate(now: Any) -> dict[str, float]:
    measured = evaluate(state.student_variables(now), validation)
    return {f'validation_{name}': value for name, value in measured.items()}

  def forwards(count: int) -> float:
    for _ in range(count):
      logits = forward(frozen.teachers[0], batch)
    return float(logits.mean())

  def host_input(count: int) -> float:
    """Do what the host does for the data of so many steps or epochs, a new permutation included."""
    nonlocal passed
    passed += 1  # the permutation of an epoch is kept: each measurement is of another one
    per_epoch = work.steps_per_epoch
    for number in range(
      passed * per_epoch, passed * per_epoch + (count if row.work == 'step' else count * per_epoch)
    ):
      jax.block_until_ready(work.feed(number, 1).index)
    if row.work == 'epoch':
      for block in feed.evaluation(
        validation,
        evaluation.BATCH,
        placed=context.placed[id(validation.source)],
        own=context.devices.own,
        split=context.devices.split,
      ):
        jax.block_until_ready(block[1:])
    return 0.0

  def augmentation(count: int) -> float:
    for _ in range(count):
      made_views = jax.block_until_ready(views(frozen.key, pixels, *work.feed(0, 1).position))
    return float(sum(view.mean() for view in made_views.values()))

  pixels = jax.device_put(dataset.train.image[: row.batch])
  batch = pipeline.to_unit(pixels)
  views = jax.jit(pipeline.preprocess(assembly.policies(prepared.augmentation, phase)))
  if row.work == 'forward':
    teacher = made.teaching[0].network.module
    forward = jax.jit(lambda variables, image: teacher.apply(variables, image, train=False).logits)
  whole = {'step': steps, 'epoch': epochs, 'forward': forwards}[row.work]
  shares = {
    'step': {
      'input': partial(timed, host_input, work.steps_per_epoch),
      'augmentation': partial(timed, augmentation, CALLS),
    },
    'epoch': {'input': partial(timed, host_input, 1)},
    'forward': {},
  }[row.work if row.students == 1 else 'forward']
  whole(1)
  for measure in shares.values():
    measure()
  facts = {
    'jax': jax.__version__,
    'python': platform.python_version(),
    'platform': jax.default_backend(),
    'cores': len(os.sched_getaffinity(0)),
    'shares': list(shares),
  }
  return facts, {
    'whole': lambda count: shared(timed(whole, count), row.students),
    'settle': settle,
    'peak': peak,
    **shares,
  }


def settle() -> dict[str, float]:
  """Give back the memory that compilation took, so that `peak` is of what follows."""
  from kd_jax.train import memory

  memory.give_back()
  Path('/proc/self/clear_refs').write_text('5')
  return peak()


def peak() -> dict[str, float]:
  """Return the most memory that this process has had, since `settle` where that was called."""
  status = Path('/proc/self/status').read_text()
  return {'bytes': 1024 * int(status.partition('VmHWM:')[2].split()[0])}


def shared(figures: dict[str, float], students: int) -> dict[str, float]:
  """Return each student's share of what was timed."""
  return figures | {name: figures[name] / students for name in ('seconds', 'cpu_seconds')}


class Silent:
  """A monitor that shows nothing."""

  def start(self, phase: str, step: int) -> None: ...
  def step(self, step: int, means: Mapping[str, float], images: int) -> None: ...
  def epoch(self, history: Sequence[Mapping[str, Any]]) -> None: ...

  def interrupted(self) -> bool:
    return False


if __name__ == '__main__':
  serve(prepare)
