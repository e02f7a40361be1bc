"""Training of two leaves by PyTorch's optimisers and schedulers: what those of kd_jax are compared with.

Run as a script, it prints tests/goldens/optimisers.json, for checkouts without PyTorch.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from kd_jax.types import OptimiserSpec

STEPS = 50


class Case(NamedTuple):
  """A spec, and the same in PyTorch's words."""

  spec: OptimiserSpec
  optimiser: tuple[str, dict[str, Any]]
  scheduler: tuple[str, dict[str, Any]] | None


PLAIN = {'momentum': 0.9, 'nesterov': True, 'weight_decay': 5e-4}
SGD = ('SGD', PLAIN)
SOME = {'beta1': 0.8, 'beta2': 0.95, 'epsilon': 1e-6, 'weight_decay': 0.1}
CASES = {
  'drops_at_epochs': Case(
    OptimiserSpec(schedule_options={'drops': (15, 30, 40), 'factor': 0.2}),
    SGD,
    ('MultiStepLR', {'milestones': [15, 30, 40], 'gamma': 0.2}),
  ),
  'cosine': Case(
    OptimiserSpec(schedule='cosine', schedule_options={'final': 0.001}),
    SGD,
    ('CosineAnnealingLR', {'T_max': STEPS, 'eta_min': 0.001}),
  ),
  'linear': Case(
    OptimiserSpec(schedule='linear', options={'nesterov': False, 'momentum': 0.5}),
    ('SGD', PLAIN | {'nesterov': False, 'momentum': 0.5}),
    ('LinearLR', {'start_factor': 1.0, 'end_factor': 0.0, 'total_iters': STEPS}),
  ),
  'one_cycle': Case(
    OptimiserSpec(schedule='one_cycle'),
    SGD,
    ('OneCycleLR', {'max_lr': 0.1, 'total_steps': STEPS, 'cycle_momentum': False}),
  ),
  'adamw': Case(
    OptimiserSpec(name='adamw', learning_rate=0.01, schedule='constant'), ('AdamW', {}), None
  ),
  'adamw_warmup_cosine': Case(
    OptimiserSpec(
      name='adamw', learning_rate=0.01, options=SOME, schedule='cosine', warmup=0.2, clip=0.5
    ),
    ('AdamW', {'betas': (0.8, 0.95), 'eps': 1e-6, 'weight_decay': 0.1}),
    ('warmup', {'steps': 10}),
  ),
  'clipped': Case(OptimiserSpec(schedule='constant', clip=0.5), SGD, None),
  'accumulated': Case(OptimiserSpec(schedule='constant', accumulate=2, ema=0.8), SGD, None),
  'kernels_decay': Case(
    OptimiserSpec(schedule='constant', decay='kernels', options={'weight_decay': 0.1}),
    ('SGD', PLAIN | {'weight_decay': 0.1}),
    None,
  ),
  'ema': Case(OptimiserSpec(schedule='constant', ema=0.9), SGD, None),
}


def start() -> dict[str, np.ndarray]:
  """Return the leaves at step 0, float64."""
  draw = np.random.default_rng(0)
  return {'kernel': draw.normal(size=(3, 4)), 'bias': draw.normal(size=4)}


def trained(case: Case) -> dict[str, list]:
  """Return by PyTorch the rates of all steps, and the leaves after the last, in one list each."""
  import torch

  torch.set_default_dtype(torch.float64)
  module = torch.nn.Module()
  for name, value in start().items():
    module.register_parameter(name, torch.nn.Parameter(torch.tensor(value)))
  spec, (name, options), scheduler = case
  groups = [{'params': list(module.parameters())}]
  if spec.decay == 'kernels':
    groups = [{'params': [module.kernel]}, {'params': [module.bias], 'weight_decay': 0.0}]
  optimiser = getattr(torch.optim, name)(groups, lr=spec.learning_rate, **options)
  schedule = _scheduler(optimiser, scheduler)
  average = torch.optim.swa_utils.AveragedModel(
    module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(spec.ema or 0.0)
  )
  rates = []
  for step in range(STEPS):
    rates.append(optimiser.param_groups[0]['lr'])
    loss = sum(
      (-torch.cos(3 * leaf + step) / 3 + 0.05 * leaf**2).sum() for leaf in module.parameters()
    )
    (loss / spec.accumulate).backward()
    if (step + 1) % spec.accumulate == 0:
      if spec.clip:
        torch.nn.utils.clip_grad_norm_(module.parameters(), spec.clip)
      optimiser.step()
      optimiser.zero_grad()
      average.update_parameters(module)
    if schedule:
      schedule.step()
  return {'rates': rates, 'last': _leaves(module), 'average': _leaves(average.module)}


def _leaves(module) -> dict[str, list[float]]:
  return {name: leaf.detach().ravel().tolist() for name, leaf in module.named_parameters()}


def _scheduler(optimiser, scheduler):
  from torch.optim import lr_scheduler

  if scheduler is None:
    return None
  name, options = scheduler
  if name != 'warmup':
    return getattr(lr_scheduler, name)(optimiser, **options)
  steps = options['steps']
  rising = lr_scheduler.LinearLR(optimiser, start_factor=1 / steps, total_iters=steps - 1)
  falling = lr_scheduler.CosineAnnealingLR(optimiser, T_max=STEPS - steps)
  return lr_scheduler.SequentialLR(optimiser, [rising, falling], milestones=[steps])


if __name__ == '__main__':
  import torch

  print(json.dumps({'torch': torch.__version__} | {n: trained(c) for n, c in CASES.items()}))
