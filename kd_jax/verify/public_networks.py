"""Checks of networks of public PyTorch code, with weights that are a function of name and shape.

A file holds `state`, each entry's name and shape as 'conv1.weight 16x3x3x3', `image` f32[4, S, S,
3] in [0, 1], what the code computes for it, `logits` f64[4, K], and the number of `parameters`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import jax
import numpy as np

from kd_jax import models
from kd_jax.models import aliases
from kd_jax.models.reach import count_deployed
from kd_jax.pytorch import names, second_head, specs
from kd_jax.runs import network_files
from kd_jax.types import FileError
from kd_jax.verify.numbers import Check, Uncovered, relative

TOLERANCE = 1e-4  # of the largest logit
_SMALL = ('running_mean', 'bias', 'cls_token', 'pos_embed', 'pos_embedding', 'class_token')


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Return the value of an entry: a draw by its name's checksum, of about a trained one's size."""
  if name.endswith('num_batches_tracked'):
    return np.zeros(shape, np.int64)
  draw = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
  leaf = name.rsplit('.', 1)[-1]
  if leaf == 'running_var':
    value = 1 + 0.2 * abs(draw)
  elif leaf in _SMALL:
    value = 0.1 * draw
  elif len(shape) == 1:
    value = 0.5 + 0.1 * draw
  else:
    value = draw * math.sqrt(2 / math.prod(shape[1:]))
  return value.astype(np.float32)


def state_of(entries: Iterable[str]) -> dict[str, np.ndarray]:
  """Return the state dict of entries such as 'conv1.weight 16x3x3x3'.

  Raises:
    FileError: an entry is none.
  """
  state = {}
  for entry in map(str, entries):
    name, _, sides = entry.partition(' ')
    try:
      shape = tuple(map(int, sides.split('x'))) if sides not in ('', 'scalar') else ()
    except ValueError:
      raise FileError(
        f'the entry {entry[:80]!r} of `state` is no name and shape; make the file again'
      ) from None
    state[name] = weight(name, shape)
  return state


def is_one(name: str) -> bool:
  """Return whether a file's name is that of a network of public code: '<source>_<network>'."""
  return name.partition('_')[0] in {alias.partition('_')[0] for alias in aliases.ALIASES}


def check_public_network(data: Mapping[str, np.ndarray], name: str) -> Iterator[Check | Uncovered]:
  """Check a network's parameters and logits."""
  if name not in aliases.ALIASES:
    yield Uncovered('parameters and logits', 'kd_jax has no such network')
    return
  state = state_of(data['state'])
  image = data['image']
  spec = specs.spec_from_state(state, image_shape=image.shape[1:], name=name)
  spec = spec._replace(mean=(), std=(), relu_placement='block')
  network = models.build(spec)
  variables = names.to_flax(state, network)
  trained = network_files.assembled(network, variables, second_head.prediction(variables))
  yield Check('parameters', abs(count_deployed(trained) - int(data['parameters'])), 0)
  apply = jax.jit(partial(trained.network.module.apply, train=False))
  logits = apply(variables, image).logits
  yield Check('logits, relative', relative(logits, data['logits']), TOLERANCE)
