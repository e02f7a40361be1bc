"""A run that goes on to more epochs than it was begun with.

It ends with the bits of a run that had them from the start, or it is refused: what was done must
not depend on the number of epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from kd_jax import models
from kd_jax.config import changes
from kd_jax.methods import plans
from kd_jax.runs import assembly, trial
from kd_jax.runs.preparation import Prepared
from kd_jax.train import optim
from kd_jax.types import ConfigError, Network, Phase

_LENGTHS = {'epochs', 'teacher_epochs'}


def phases(prepared: Prepared, before: Mapping[str, Any]) -> tuple[str, ...]:
  """Return the phases that go on to more epochs; () where the run is another one, or the same.

  Args:
    prepared: the run as it is asked for.
    before: the configuration that it was begun with, as JSON.

  Raises:
    ConfigError: epochs alone were raised, and what was done depends on how many there are.
  """
  now = prepared.config.for_json()
  changed = set(changes(before, now))
  if not changed or not changed <= _LENGTHS:
    return ()
  lengths = {name: before.get(name, now[name]) for name in _LENGTHS}
  pairs = list(zip(plans.make(replace(prepared.plan, **lengths)), prepared.phases, strict=True))
  if any(old.epochs > new.epochs for old, new in pairs):
    return ()
  raised = [(old, new) for old, new in pairs if old.epochs < new.epochs]
  for old, new in raised:
    if why := _why_not(prepared, old, new):
      raise ConfigError(
        f'a run of {lengths["epochs"]} epochs cannot go on to {now["epochs"]}: {why}; choose '
        'another --workdir, or give the same epochs'
      )
  return tuple(new.name for _, new in raised)


def _why_not(prepared: Prepared, old: Phase, new: Phase) -> str:
  """Return why a phase that was begun as `old` cannot go on as `new`; '' where it can."""
  for other in prepared.phases:
    if new.name in (*other.teachers, other.start):
      keep = ' (teacher_epochs keeps its number)' if new.role == 'teacher' else ''
      return f'its phase {new.name} would be longer, too, and {other.name} began from its end{keep}'
  per_epoch = assembly.steps_per_epoch(prepared.parts, new)
  done = np.arange(per_epoch * old.epochs)
  one, other = (
    jax.vmap(optim.schedule(phase.optimiser, per_epoch * phase.epochs, epochs=phase.epochs))(done)
    for phase in (old, new)
  )
  if not np.array_equal(one, other):
    spec = new.optimiser
    warmup = f' after a warmup of {spec.warmup:g}' if spec.warmup else ''
    return (
      f"the rates of {new.name}'s first epochs depend on how many there are, by "
      f'schedule={spec.schedule}{warmup} (schedule=constant, and drops at epochs, such as '
      'learning_rate_drops=30, would let it)'
    )
  networks = {name: trained.network for name, trained in prepared.imported.items()}
  networks |= {phase.name: models.build(phase.student) for phase in prepared.phases}
  labels = assembly.training_labels(prepared.parts, new)
  if trial.uses_progress(new, networks[new.name], _teaching(new, networks), labels):
    return f'the loss of {new.method_name} depends on how many epochs there are'
  return ''


def _teaching(phase: Phase, networks: Mapping[str, Network]) -> list[Network]:
  return [models.changed(networks[name], phase.teacher_changes) for name in phase.teachers]
