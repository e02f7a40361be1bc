"""PyTorch's side of training beside it: a recipe's phases, with torch.optim.SGD. Needs torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from kd_jax import models
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import rendering
from kd_jax.types import PyTree, Trained
from kd_jax.verify.beside import OPTIMISER, Start, Trace, drawn, views
from kd_jax.verify.torch_lesson import Lesson
from kd_jax.verify.torch_recipes import Phase


def trained(
  phases: Sequence[Phase],
  start: Start,
  epochs: int,
  connectors: Sequence[Sequence[np.ndarray]],
  alter: Callable[[Any], None] | None,
) -> tuple[Trace, ...]:
  """Train the phases one after the other; those of kd_jax have begun with the `connectors`."""
  used = {name for each in phases for name in (each.trainee, *each.teachers, each.companion)} - {''}
  networks = {name: render(drawn(name, start.networks[name])) for name in sorted(used)}
  if alter is not None:
    alter(networks['student'])
  kernels = [*connectors, *[()] * len(phases)]
  threads = torch.get_num_threads()
  torch.set_num_threads(1)  # on networks this small, threads wait for each other most of the time
  try:
    return tuple(
      _train(phase, networks, start, epochs, own)
      for phase, own in zip(phases, kernels, strict=False)
    )
  finally:
    torch.set_num_threads(threads)


def render(network: Trained) -> Any:
  """Return the network as a module of kd_jax.pytorch.rendering in float64."""
  spec = network.network.spec
  fields = spec._asdict()
  del fields['compute_dtype']
  module = rendering.build(**fields).double()
  stored = torch_names.to_torch(network.variables, spec)
  module.load_state_dict({name: torch.as_tensor(value) for name, value in stored.items()})
  return module


def _train(
  phase: Phase, networks: dict[str, Any], start: Start, epochs: int, kernels: Sequence[np.ndarray]
) -> Trace:
  student = networks[phase.trainee].train()
  batch_statistics = phase.statistics == 'batch'
  teachers = [copy.deepcopy(networks[name]).train(batch_statistics) for name in phase.teachers]
  companion = networks[phase.companion].train() if phase.companion else None
  if phase.relu_placement:
    placement = student.relu_placement
    for module in (student, *teachers):
      module.relu_placement = phase.relu_placement
  lesson = Lesson(phase, student, teachers, companion).double()
  own = [] if lesson.connectors is None else lesson.connectors.drawn()
  if len(own) != len(kernels):
    title = f'{phase.name} with {len(own)} connectors, and {len(kernels)} of kd_jax'
    return Trace(title, np.zeros(0), {})
  for parameter, kernel in zip(own, kernels, strict=True):
    # a kernel has its outputs last in kd_jax and first in PyTorch
    outward = {4: (3, 2, 0, 1), 3: (0, 1, 2), 2: (1, 0), 1: (0,)}[kernel.ndim]
    parameter.data = torch.as_tensor(kernel.copy()).permute(outward).contiguous()
  rule = torch.optim.SGD(
    lesson.parameters(), lr=OPTIMISER.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4
  )
  steps = phase.epochs(epochs)
  drops = [round(fraction * steps) for fraction in phase.drops]
  losses = []
  for number in range(steps):
    dropped = sum(number >= drop for drop in drops)
    rule.param_groups[0]['lr'] = OPTIMISER.learning_rate * 0.1**dropped
    made = views(start.images[number])
    images = {view: torch.as_tensor(made[view].copy()).permute(0, 3, 1, 2) for view in phase.views}
    with torch.no_grad():
      shown = [{view: teacher(image) for view, image in images.items()} for teacher in teachers]
    lesson.epoch = number + 1
    lesson.epochs = steps
    value = lesson(images, shown, torch.as_tensor(start.labels[number]).long())
    rule.zero_grad()
    value.backward()
    rule.step()
    losses.append(value.item())
  if phase.relu_placement:
    student.relu_placement = placement
  after = {'student': _variables(student, start, phase.trainee)}
  if companion is not None:
    after[phase.companion] = _variables(companion, start, phase.companion)
    companion.eval()
  student.eval()
  return Trace(phase.name, np.array(losses), after)


def _variables(module: torch.nn.Module, start: Start, name: str) -> PyTree:
  stored = {key: value.numpy().copy() for key, value in module.state_dict().items()}
  return torch_names.to_flax(stored, models.build(start.networks[name]), dtype=np.float64)
