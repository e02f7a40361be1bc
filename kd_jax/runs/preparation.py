"""A configuration resolved to what a run needs: images, imported teachers, phases, devices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kd_jax import models
from kd_jax.config import Config, each_teacher
from kd_jax.data import pipeline, roles
from kd_jax.data.mixing import Mixing
from kd_jax.data.sources import Dataset
from kd_jax.methods import plans
from kd_jax.models import predicting
from kd_jax.runs import assembly, inputs, logits_table, run_once, teachers, trial
from kd_jax.runs.context import Identity, Say
from kd_jax.runs.shared import Shared
from kd_jax.train import parallel
from kd_jax.types import ConfigError, NetworkSpec, Phase, Trained


@dataclass(frozen=True, kw_only=True)
class Prepared:
  """A run that can start."""

  config: Config
  identity: Identity
  classes: tuple[str, ...]
  parts: roles.Roles
  augmentation: pipeline.Weak
  mixing: Mixing
  imported: Mapping[str, Trained]  # teachers that are there already
  origins: Mapping[str, teachers.Origin]  # of these
  plan: plans.PlanInputs  # what the phases were made from
  phases: tuple[Phase, ...]
  devices: parallel.Parallel
  data: Mapping[str, Any]  # as data.json describes it
  notes: tuple[str, ...] = ()  # how a folder of images was read, a line each


def prepare(config: Config, *, shared: Shared | None = None) -> Prepared:
  """Load data and imported teachers, where `shared` has them not yet, and make the phases.

  Raises KdJaxError for what does not fit together.
  """
  start_devices(config)
  shared = shared or Shared()
  dataset, parts = shared.dataset(config), shared.parts(config)
  data = roles.described(dataset, parts)
  plan = _plan_inputs(config, dataset, shared)
  named = run_once.tabled(config, dataset, parts, plan)
  imported = shared.teachers(named, plan.teacher)
  specs = {name: trained.network.spec for name, trained in imported.items()}
  plan = replace(plan, imported=tuple(imported), imported_specs=specs)
  phases = plans.make(plan)
  _check_companions(config, phases, imported)
  if any('unlabelled' in phase.shares for phase in phases):
    parts, sha256 = shared.unlabelled(config)
    if sha256:
      data['unlabelled_sha256'] = sha256
    assert parts.unlabelled is not None
    if excluded := len(parts.unlabelled.source.label) - len(parts.unlabelled.index):
      data['unlabelled_excluded'] = excluded  # else as an older kd_jax described it
  return Prepared(
    config=config,
    identity=Identity(
      dataset=config.dataset, recipe=config.recipe, options=config.options, seed=config.seed
    ),
    classes=tuple(dataset.classes),
    parts=parts,
    augmentation=inputs.augmentation(config, dataset),
    mixing=config.mixing(),
    imported=imported,
    origins=teachers.origins(named),
    plan=plan,
    phases=phases,
    devices=parallel.make(config.parallel),
    data=data,
    notes=dataset.notes,
  )


def _check_companions(
  config: Config, phases: Sequence[Phase], imported: Mapping[str, Trained]
) -> None:
  """Raise ConfigError where a network that a phase saves anew takes other images than the run's."""
  adapted = any(predicting.adaptation(trained.network) for trained in imported.values())
  if adapted and any(phase.method.companion for phase in phases):
    raise ConfigError(
      f'{config.method} trains beside its teacher and saves it anew, and that takes images of '
      'another size, or numbers the classes otherwise: train a teacher on this data'
    )


def start_devices(config: Config) -> None:
  """Find the devices, set as the configuration asks, before anything else starts them.

  Raises KdJaxError where that cannot be.
  """
  if config.deterministic:
    parallel.be_deterministic()
  parallel.find_devices()


def _plan_inputs(config: Config, dataset: Dataset, shared: Shared) -> plans.PlanInputs:
  image_shape = dataset.image_shape
  mean, std = (config.mean, config.std) if config.mean else shared.statistics(config)
  if len(mean) != image_shape[-1]:
    raise ConfigError(
      f'mean and std have {len(mean)} values, and images of {dataset.name} have {image_shape[-1]} '
      'channels'
    )

  def spec(name: str) -> NetworkSpec:
    return NetworkSpec(
      name=name,
      classes=len(dataset.classes),
      image_shape=image_shape,
      relu_placement=models.relu_placement(name, config.relu_placement),
      mean=tuple(mean),
      std=tuple(std),
      compute_dtype=config.compute_dtype,
    )

  first, *more = each_teacher.parts(config.teacher)
  return plans.PlanInputs(
    method=config.method,
    recipe=config.recipe,
    options=config.options,
    student=spec(config.student),
    teacher=spec(first),
    more_teachers=tuple(map(spec, more)),
    relu_placement=config.relu_placement,
    imported=(),
    baseline=config.baseline,
    epochs=config.epochs,
    teacher_epochs=config.teacher_epochs,
    batch_size=config.batch_size,
    optimiser=config.optimiser_spec(),
    patience=config.patience,
    teacher_dtype=config.teacher_dtype,
  )


def check(prepared: Prepared, *, say: Say = print, tried: Collection[str] = ()) -> None:
  """Build every network, every pair and every loss as shapes alone: what cannot work fails before
  anything is compiled. `tried` are phases whose loss was, as one of another run.
  """
  config, imported, parts = prepared.config, prepared.imported, prepared.parts
  lacking = [p.name for p in prepared.phases if p.role == 'teacher' and not p.teachers]
  if imported and lacking:
    say(
      f'Warning: {config.method} takes {len(imported) + len(lacking)} teachers and '
      f'teacher_checkpoint names {len(imported)}; the others ({", ".join(lacking)}) are trained '
      'first.'
    )
  excluded = prepared.data.get('unlabelled_excluded')
  if parts.unlabelled and excluded:
    say(
      f'{excluded:,} images of unlabelled_dataset {config.unlabelled_dataset} are validated or '
      f'tested on, and are left out; {len(parts.unlabelled.index):,} are left to learn from.'
    )
  logits_table.check(imported, prepared.phases, parts, prepared.augmentation, prepared.mixing)
  networks = {name: trained.network for name, trained in imported.items()}
  for phase in prepared.phases:
    parallel.check_shares(prepared.devices, phase.shares.values())
    steps = assembly.steps_per_epoch(parts, phase)
    if phase.epochs * steps >= 2**31:
      raise ConfigError(
        f'{phase.epochs} epochs of {steps} steps each are more steps than 32 bits can count; lower '
        'epochs'
      )
    if (every := phase.optimiser.accumulate) > phase.epochs * steps:
      raise ConfigError(
        f'accumulate={every} is more than the {phase.epochs * steps} steps of the phase '
        f"'{phase.name}', so that its weights would never change: lower it, or train longer"
      )
    assembly.policies(prepared.augmentation, phase)
    student = networks[phase.name] = models.build(phase.student)
    if phase.method.companion:
      networks[plans.companion_name(phase.name)] = phase.method.companion
    teaching = [models.changed(networks[name], phase.teacher_changes) for name in phase.teachers]
    if phase.name not in tried:
      trial.check(phase, student, teaching, assembly.training_labels(parts, phase))
