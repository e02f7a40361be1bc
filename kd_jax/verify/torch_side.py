"""PyTorch's side of training beside it: a recipe's phases of torch_recipes, with torch.optim.SGD.

Needs torch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kd_jax.pytorch import names as torch_names
from kd_jax.types import Trained
from kd_jax.verify.beside import OPTIMISER, Start, Trace, as_flax, drawn, views


def trained(
  phases: Sequence[Any],
  start: Start,
  epochs: int,
  connectors: Sequence[Sequence[np.ndarray]],
  alter: Callable[[Any], None] | None,
) -> tuple[Trace, ...]:
  """Train the phases one after the other; `connectors` has the kernels that those of each phase
  begin with.
  """
  import torch

  used = {
    name for phase in phases for name in (phase.trainee, *phase.teachers, phase.companion) if name
  }
  networks = {name: render(drawn(name, start.networks[name])) for name in sorted(used)}
  if alter is not None:
    alter(networks['student'])
  kernels, threads = [*connectors, *[()] * len(phases)], torch.get_num_threads()
  torch.set_num_threads(1)  # on networks this small, threads wait for each other most of the time
  try:
    return tuple(
      _train(phase, networks, start, epochs, own)
      for phase, own in zip(phases, kernels, strict=False)
    )
  finally:
    torch.set_num_threads(threads)


def render(network: Trained) -> Any:
  """Return the network as a module of torch_peer in float64."""
  import torch

  from kd_jax.pytorch import rendering

  spec = network.network.spec
  module = rendering.build(
    spec.name,
    classes=spec.classes,
    image_shape=spec.image_shape,
    relu_placement=spec.relu_placement,
  ).double()
  stored = torch_names.to_torch(network.variables, spec)
  module.load_state_dict(
    {name: torch.as_tensor(np.asarray(value)) for name, value in stored.items()}
  )
  return module


def _train(
  phase: Any, networks: dict[str, Any], start: Start, epochs: int, kernels: Sequence[np.ndarray]
) -> Trace:
  import torch

  from kd_jax.verify import torch_recipes

  student, steps = networks[phase.trainee].train(), phase.epochs(epochs)
  teachers = [
    copy.deepcopy(networks[name]).train(phase.statistics == 'batch') for name in phase.teachers
  ]
  companion = networks[phase.companion].train() if phase.companion else None
  placements = {
    module: module.relu_placement for module in (student, *teachers) if phase.relu_placement
  }
  for module in placements:
    module.relu_placement = phase.relu_placement
  lesson = torch_recipes.Lesson(phase, student, teachers, companion).double()
  convs = (
    [conv for conv in lesson.connectors.convs if hasattr(conv, 'weight')]
    if lesson.connectors is not None
    else []
  )
  if len(convs) != len(kernels):
    return Trace(
      f'{phase.name} with {len(convs)} connectors, and {len(kernels)} of kd_jax', np.zeros(0), {}
    )
  for conv, kernel in zip(convs, kernels, strict=True):
    conv.weight.data = torch.as_tensor(kernel.copy()).permute(3, 2, 0, 1).contiguous()
  rule = torch.optim.SGD(
    lesson.parameters(), lr=OPTIMISER.learning_rate, momentum=0.9, nesterov=True, weight_decay=5e-4
  )
  drops, losses = [round(fraction * steps) for fraction in phase.drops], []
  for number in range(steps):
    rule.param_groups[0]['lr'] = OPTIMISER.learning_rate * 0.1 ** sum(
      number >= drop for drop in drops
    )
    made = views(start.images[number])
    images = {
      view: torch.as_tensor(np.ascontiguousarray(made[view])).permute(0, 3, 1, 2)
      for view in phase.views
    }
    with torch.no_grad():
      shown = [{view: teacher(image) for view, image in images.items()} for teacher in teachers]
    value = lesson(images, shown, torch.as_tensor(start.labels[number]).long())
    rule.zero_grad()
    value.backward()
    rule.step()
    losses.append(value.item())
  for module, placement in placements.items():
    module.relu_placement = placement
  after = {'student': _variables(student, start, phase.trainee)}
  if companion is not None:
    after[phase.companion] = _variables(companion, start, phase.companion)
    companion.eval()
  student.eval()
  return Trace(phase.name, np.array(losses), after)


def _variables(module: Any, start: Start, name: str) -> Any:
  stored = {key: value.numpy().copy() for key, value in module.state_dict().items()}
  return as_flax(stored, start.networks[name])
