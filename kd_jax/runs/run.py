"""A run from configuration to results: data, networks, then each phase in turn; finished phases are
read back, not repeated.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kd_jax import models
from kd_jax.config import Config
from kd_jax.data import feed, pictures, pipeline, roles, sources
from kd_jax.files import records
from kd_jax.methods import plans
from kd_jax.runs import assembly, inputs, logits_table, teachers, training, trial, workdir
from kd_jax.runs.assembly import Context, Say, Student
from kd_jax.train import loop, memory, parallel
from kd_jax.train.programs import Programs
from kd_jax.types import ConfigError, NetworkSpec, Phase, Source, Trained

# Windows lacks the last
STOPS = tuple(
  getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGUSR1') if hasattr(signal, name)
)
After = Callable[[Path], None]  # is given the folder of the run, by process 0
_EXAMPLES = 10  # test images that are written as files


@dataclass(frozen=True, kw_only=True)
class Prepared:
  """A run that can start: its configuration is resolved. Below here nothing reads a Config."""

  config: Config
  identity: assembly.Identity
  classes: tuple[str, ...]
  parts: roles.Roles
  augmentation: pipeline.Weak
  imported: Mapping[str, Trained]  # teachers that are there already
  phases: tuple[Phase, ...]
  devices: parallel.Parallel
  data: Mapping[str, Any]  # as data.json describes it


def run(
  config: Config, folder: str | os.PathLike, *, say: Say = print, after: After = lambda folder: None
) -> list[dict[str, Any]]:
  """Run a configuration in a folder, from wherever an earlier sitting left it, and return the
  rows of results.json.

  Raises KdJaxError for what the user can mend, before anything is compiled or written where that
  can be known, and kd_jax.train.loop.Interrupted where Ctrl-C or SIGTERM stopped it; everything is
  saved then. Several processes that have joined (kd_jax.train.hosts) share a run: the first of them
  alone uses the folder, and speaks.

  Args:
    config: of the run.
    folder: its workdir.
    say: is given what happens, a line at a time.
    after: is called after each phase, once its results are written, such as
      kd_jax.report.pictures.of_run.

  """
  workdir.check(folder)
  prepared = prepare(config)
  say = say if parallel.leads() else _silent
  check(prepared, say=say)
  folder, agree = Path(folder).absolute(), parallel.agreement()
  with contextlib.ExitStack() as stack:
    parallel.lead(
      lambda: stack.enter_context(
        workdir.claimed(folder, config, data=prepared.data, phases=prepared.phases)
      )
    )
    stop = stack.enter_context(stopping())
    stack.enter_context(memory.explained(config.batch_size))
    return _phases(context(prepared, folder, stop=lambda: agree(stop()), say=say), prepared, after)


def _silent(line: str) -> None:
  del line


def prepare(config: Config, *, dataset: sources.Dataset | None = None) -> Prepared:
  """Load data (where it is not given) and imported teachers and make the phases.

  Raises KdJaxError for what does not fit together.
  """
  start_devices(config)
  dataset, parts = inputs.labelled(config, dataset=dataset)
  described = roles.described(dataset, parts)
  inputs_of_plan = _plan_inputs(config, dataset, parts)
  imported = teachers.load(
    config,
    inputs_of_plan.teacher,
    classes=dataset.classes,
    training=inputs.training(config, dataset),
  )
  phases = plans.make(replace(inputs_of_plan, imported=tuple(imported)))
  if any('unlabelled' in phase.shares for phase in phases):
    source, sha256 = inputs.unlabelled(config, shape=dataset.train.image.shape[1:])
    parts = roles.with_unlabelled(parts, config.unlabelled_dataset, source)
    described |= {'unlabelled_sha256': sha256} if sha256 else {}
    excluded = len(source.label) - len(parts.unlabelled.index)
    # else as an older kd_jax described it
    described |= {'unlabelled_excluded': excluded} if excluded else {}
  return Prepared(
    config=config,
    identity=assembly.Identity(
      dataset=config.dataset, recipe=config.recipe, options=config.options, seed=config.seed
    ),
    classes=tuple(dataset.classes),
    parts=parts,
    augmentation=pipeline.Weak(config.crop_padding, config.flip),
    imported=imported,
    phases=phases,
    devices=parallel.make(config.parallel),
    data=described,
  )


def start_devices(config: Config) -> None:
  """Find the devices, set as the configuration says, before anything else asks for one.

  Raises KdJaxError where that cannot be.
  """
  if config.deterministic:
    parallel.be_deterministic()
  parallel.find_devices()


def context(
  prepared: Prepared,
  folder: Path,
  *,
  stop: Callable[[], bool],
  say: Say,
  programs: Programs | None = None,
) -> Context:
  """Return what the phases share, the images on the devices among it.

  `programs` were compiled for another run of this process.
  """
  return Context(
    identity=prepared.identity,
    folder=folder,
    parts=prepared.parts,
    augmentation=prepared.augmentation,
    selection=prepared.config.selection,
    placed=_place(prepared.config, prepared.parts, prepared.devices),
    devices=prepared.devices,
    classes=prepared.classes,
    log_every=prepared.config.log_every,
    stop=stop,
    say=say,
    programs=programs or Programs(),
  )


def check(prepared: Prepared, *, say: Say = print) -> None:
  """Build every network, every pair and every loss as shapes alone: what cannot work fails before
  anything is compiled.
  """
  config, imported = prepared.config, prepared.imported
  if imported and (
    lacking := [p.name for p in prepared.phases if p.role == 'teacher' and not p.teachers]
  ):
    say(
      f'Warning: {config.method} takes {len(imported) + len(lacking)} teachers and '
      f'teacher_checkpoint names {len(imported)}; '
      f'the others ({", ".join(lacking)}) are trained first.'
    )
  if excluded := prepared.data.get('unlabelled_excluded'):
    say(
      f'{excluded:,} images of unlabelled_dataset {config.unlabelled_dataset} are validated or '
      f'tested on, and are left out; '
      f'{len(prepared.parts.unlabelled.index):,} are left to learn from.'
    )
  logits_table.check(imported, prepared.phases, prepared.parts, config)
  networks = {name: trained.network for name, trained in imported.items()}
  for phase in prepared.phases:
    parallel.check_shares(prepared.devices, phase.shares.values())
    if phase.epochs * (steps := assembly.steps_per_epoch(prepared.parts, phase)) >= 2**31:
      raise ConfigError(
        f'{phase.epochs} epochs of {steps} steps each are more steps than 32 bits can count; lower '
        f'epochs'
      )
    assembly.policies(prepared.augmentation, phase)
    student = networks[phase.name] = models.build(phase.student)
    if phase.method.companion:
      networks[plans.companion_name(phase.name)] = phase.method.companion
    teaching = [models.changed(networks[name], phase.teacher_changes) for name in phase.teachers]
    labels = assembly.training_labels(prepared.parts, phase)
    trial.check(phase, student, teaching, labels)


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
  """Turn the first Ctrl-C, SIGTERM or SIGUSR1 (as schedulers send it) into a request to save and
  stop; a second stops at once.

  Python has signals in its main thread alone: in another one nothing is turned.
  """
  received: list[int] = []

  def handle(number: int, frame: Any) -> None:
    if received:
      raise KeyboardInterrupt
    received.append(number)

  main = threading.current_thread() is threading.main_thread()
  before = {number: signal.signal(number, handle) for number in STOPS if main}
  try:
    yield lambda: bool(received)
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _plan_inputs(config: Config, dataset: sources.Dataset, parts: roles.Roles) -> plans.PlanInputs:
  image_shape, classes = dataset.train.image.shape[1:], len(dataset.classes)
  mean, std = (config.mean, config.std) if config.mean else roles.statistics(parts.train)
  if len(mean) != image_shape[-1]:
    raise ConfigError(
      f'mean and std have {len(mean)} values, and images of {dataset.name} have {image_shape[-1]} '
      f'channels'
    )

  def spec(name: str) -> NetworkSpec:
    return NetworkSpec(
      name=name,
      classes=classes,
      image_shape=tuple(image_shape),
      relu_placement=models.relu_placement(name, config.relu_placement),
      mean=tuple(mean),
      std=tuple(std),
      compute_dtype=config.compute_dtype,
    )

  return plans.PlanInputs(
    method=config.method,
    recipe=config.recipe,
    options=config.options,
    student=spec(config.student),
    teacher=spec(config.teacher),
    relu_placement=config.relu_placement,
    imported=(),
    baseline=config.baseline,
    epochs=config.epochs,
    teacher_epochs=config.teacher_epochs,
    batch_size=config.batch_size,
    optimiser=config.optimiser_spec(),
  )


def _place(config: Config, parts: roles.Roles, devices: parallel.Parallel) -> dict[int, Source]:
  """Return the stored images on every device, where they fit into half of its memory."""
  stored = {id(part.source): part.source for part in parts if part is not None}.values()
  size = sum(source.image.nbytes for source in stored)
  limit = (jax.local_devices()[0].memory_stats() or {}).get('bytes_limit', 8 << 30)
  if config.data_placement == 'host' or (config.data_placement == 'auto' and size > limit / 2):
    return {}
  return {
    id(source): devices.place(Source(np.asarray(source.image), np.asarray(source.label)))
    for source in stored
  }


def _record(
  context: Context, rows: list[dict[str, Any]], histories: Mapping[str, Any], after: After
) -> None:
  # also of phases that were finished before: the file may have been damaged since
  for name, history in histories.items():
    records.write_history(context.folder / 'phases' / name / 'history.csv', history)
  records.update_results(context.folder / 'results.json', rows)
  after(context.folder)


def _record_examples(folder: Path, test: feed.Split, classes: Sequence[str]) -> None:
  """Write a test image of each of the first classes as a PNG, for predict to be tried on."""
  image, label = test.source.image, np.asarray(test.source.label)[test.index]
  if image.shape[-1] not in (1, 3):
    return
  for number, name in enumerate(classes[:_EXAMPLES]):
    for place in test.index[label == number][:1]:
      safe = ''.join(c if c.isalnum() else '_' for c in name)[:40]
      pixels = np.asarray(image[place])
      records.write_bytes(
        folder / f'{number:02d}_{safe}.png',
        pictures.png(pixels[..., 0] if pixels.shape[-1] == 1 else pixels),
      )


def _phases(context: Context, prepared: Prepared, after: After) -> list[dict[str, Any]]:
  zoo, rows, histories = dict(prepared.imported), [], {}
  for name, trained in prepared.imported.items():
    rows.append(training.imported_row(context, name, trained, prepared.config))
  for phase in prepared.phases:
    if context.stop():  # before the next phase is compiled, which may take minutes
      raise loop.Interrupted
    done = training.finished(context, phase)
    if done is None:
      (done,) = training.train(
        [Student(context, phase)], zoo, rows, context.folder / 'phases' / phase.name / 'checkpoints'
      )
      memory.give_back()
    zoo |= done.networks
    rows += done.rows
    histories[phase.name] = done.history
    parallel.lead(functools.partial(_record, context, rows, histories, after))
  parallel.lead(
    lambda: _record_examples(context.folder / 'examples', context.parts.test, context.classes)
  )
  return rows
