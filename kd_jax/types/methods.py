"""Distillation methods: what they get and what they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kd_jax.types.data import Array, Batch
from kd_jax.types.networks import LogitsOnly, Network, Outputs, Path, PyTree


class MethodVariables(NamedTuple):
  """A method's own variables; what it has none of is {}."""

  params: PyTree = {}  # trained: connectors, projections
  state: PyTree = {}  # changed by the loss, without gradient: BatchNorm statistics, memory banks
  constants: PyTree = {}  # computed once: margins


class NetworkInfo(NamedTuple):
  """What a method may use of a network before training."""

  network: Network
  variables: PyTree  # arrays for a teacher; for the student shapes alone
  outputs: Outputs | LogitsOnly  # of jax.ShapeDtypeStruct, for a batch of two


class InitInputs(NamedTuple):
  """What a method's variables are made from."""

  key: Array
  student: NetworkInfo
  teachers: tuple[NetworkInfo, ...]
  labels: np.ndarray  # i32[N], by an image's number in its data set; −1 where none is trained on


class LossInputs(NamedTuple):
  """What a loss sees of a step. Teachers are outside the gradient."""

  student: dict[str, Outputs]  # by view
  teachers: tuple[dict[str, Outputs], ...]
  batch: Batch
  step: Array  # i32[], steps of the phase before this one
  epoch: Array  # f32[], the running epoch's number, 1 for the first
  progress: Array  # f32[], the share of the phase's steps that is done, 0 at its first step
  key: Array
  axis: str | None  # of the devices, where each has its part of the batch


def trains_everything(path: Path) -> bool:
  """Return True, as the usual `Method.trains`: the loss reaches every leaf."""
  return True


@dataclass(frozen=True, kw_only=True)
class Method:
  """A distillation method: pure functions; hyper-parameters live in the closure of the factory that
  made it.

  `init` raises KdJaxError where student and teachers cannot be matched. `loss` returns terms and
  the method's new state: `terms` maps names to weighted scalars whose sum is the loss. Under a
  named device axis each term is scaled so that its mean over the devices is the value on the global
  batch (see kd_jax.losses.reduce), and the new state is the same on every device.
  """

  init: Callable[[InitInputs], MethodVariables]
  loss: Callable[[MethodVariables, LossInputs], tuple[dict[str, Array], PyTree]]
  # logits f32[B, K], where they are not the student's own; its variables are nested dicts then
  predict: Callable[[MethodVariables, Outputs], Array] | None = None
  # name → augmentation, as kd_jax.data.pipeline.policy reads it; the first counts
  views: Mapping[str, str] = field(default_factory=lambda: {'weak': 'weak'})
  # the student sees all views in one batch, so that BatchNorm sees them together; else one by one
  joint: bool = True
  # path under params, from 'student' or 'method' on
  trains: Callable[[Path], bool] = trains_everything
  teacher_statistics: str = 'running'  # BatchNorm of the teachers: 'running' or 'batch' statistics
  # trained beside the student; its variables are the method's own params and state
  companion: Network | None = None
