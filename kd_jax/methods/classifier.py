"""A network's classifier, as methods take it from the teacher or leave it out of the student."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.losses import features
from kd_jax.models import predicting
from kd_jax.models.reach import embedding_of
from kd_jax.types import Array, ConfigError, Network, NetworkInfo, Path

HEAD = 'head'  # what networks call their last layer


def check_head(student: NetworkInfo, method: str) -> None:
  """Raise ConfigError where the student's classifier is not known by its name."""
  if HEAD not in student.variables['params']:
    raise ConfigError(
      f"{method} leaves the student's classifier untouched, and knows it by the name '{HEAD}', "
      f'which no part of {student.network.spec.name} has: name its last layer so'
    )


def trains_body(path: Path) -> bool:
  """Return whether a leaf is none of the student's classifier: the `Method.trains` of a loss that
  does not reach it.
  """
  return path[:2] != ('student', HEAD)


def classifier(teacher: NetworkInfo, method: str) -> dict[str, Array]:
  """Return a teacher's classifier, {'kernel': f32[D, K], 'bias': f32[K]}, D the width of its
  embedding.

  Raises:
    ConfigError: the teacher predicts by something else than a dense layer that is called 'head'.
  """
  network, variables, outputs = teacher
  layer = variables['params'].get(HEAD, {})
  shapes = {name: getattr(leaf, 'shape', None) for name, leaf in layer.items()}
  width = outputs.embedding.shape[-1]
  classes = network.spec.classes
  if shapes == {'kernel': (width, classes), 'bias': (classes,)} and (
    predicting.bare(network) is network
  ):
    around = predicting.adaptation(network)
    if around and around.order:
      return {name: leaf[..., list(around.order)] for name, leaf in layer.items()}
    return dict(layer)
  raise ConfigError(
    f"{method} takes the teacher's classifier, a dense layer called '{HEAD}' on its embedding, and "
    f'{network.spec.name} predicts otherwise: take another teacher'
  )


def windows(teacher: Network, last: tuple[int, ...], width: int, method: str) -> tuple[int, int]:
  """Return (h, w): a teacher's embedding has the means of h×w equal windows of its last map, after
  its ReLU, as [h, w, C].

  Args:
    teacher: any network.
    last: [B, H, W, C] of its last map.
    width: of its embedding.
    method: who asks, for the message.

  Raises:
    ConfigError: its embedding is something else.
  """
  _, height, breadth, channels = last
  parts = width // channels
  sizes = [
    (h, parts // h)
    for h in range(1, parts + 1)
    if not parts % h and not height % h and not breadth % (parts // h)
  ]
  embed = embedding_of(teacher)
  if embed is not None and parts * channels == width:
    draw = np.random.default_rng(0).normal(size=(1, height, breadth, channels))
    with jax.ensure_compile_time_eval():  # also where only shapes are asked for
      map_ = jnp.asarray(draw, jnp.float32)
      for size in sizes:
        means = features.flat(features.resize(jax.nn.relu(map_), size, how='avg_pool'))
        # more than bfloat16 rounds by, and less than the means of other windows differ by
        if np.allclose(embed(map_), means, atol=0.02):
          return size
  raise ConfigError(
    f"{method} predicts by the teacher's classifier from the means of its last map, after the "
    f'ReLU, and the classifier of {teacher.spec.name} sees something else: take a resnet or wrn as '
    'the teacher, and images that its pooling divides into equal windows'
  )
