"""Knowledge distillation of image classifiers in JAX and Flax.

  import kd_jax

  result = kd_jax.distill(teacher='thin_resnet14', student='thin_resnet8', data='digits', epochs=20)
  result.networks['student'].predict(images)

The names are loaded when they are first used: to import kd_jax imports no JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# of setup.cfg, too; a record holds it, also of a checkout that was never installed, or long ago
__version__ = '0.2.0'
_HOMES = {
  'distill': 'library',
  'load_network': 'library',
  'Classifier': 'deploy.classifier',
  'Result': 'library',
  'KdJaxError': 'types',
  'train_step': 'train.step',
  'losses': '',
  'methods': '',
  'models': '',
}
__all__ = ['__version__', *_HOMES]

if TYPE_CHECKING:
  from kd_jax import losses as losses
  from kd_jax import methods as methods
  from kd_jax import models as models
  from kd_jax.deploy.classifier import Classifier as Classifier
  from kd_jax.library import Result as Result
  from kd_jax.library import distill as distill
  from kd_jax.library import load_network as load_network
  from kd_jax.train.step import train_step as train_step
  from kd_jax.types import KdJaxError as KdJaxError


def __getattr__(name: str) -> Any:
  if name not in _HOMES:
    raise AttributeError(f"module 'kd_jax' has no attribute '{name}'")
  home = _HOMES[name]
  module = importlib.import_module(f'kd_jax.{home or name}')
  value = globals()[name] = getattr(module, name) if home else module
  return value


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
