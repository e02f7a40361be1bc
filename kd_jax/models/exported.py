"""Teachers from anywhere in JAX: a function that jax.export serialised, images → logits, its
weights inside it.

  exported = jax.export.export(jax.jit(logits), platforms=['cpu', 'cuda'])(jax.ShapeDtypeStruct(
    jax.export.symbolic_shape('b, 32, 32, 3'), jnp.float32))
  pathlib.Path('teacher.jax').write_bytes(exported.serialize())

It takes the images as f32[b, H, W, C] in [0, 1], or as u8[b, H, W, C], not normalised, and returns
f32[b, K].
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.files import hashes
from kd_jax.text import one_line
from kd_jax.types import ConfigError, FileError, LogitsOnly, Network, NetworkSpec, Trained

_CALLBACK = re.compile(rb'xla_\w*python\w*callback')
_PLATFORMS = {'gpu': ('cuda', 'rocm')}  # jax's name for a backend → those that an export may be for


class Exported(nn.Module):
  """An exported function as a module, of images in [0, 1]."""

  call: Callable[[Array], Array]
  integers: bool  # whether it takes grey levels, u8
  axis_name: str | None = None

  def __call__(self, image: Float[Array, 'B H W C'], *, train: bool) -> LogitsOnly:
    if train:
      raise ConfigError(
        'an exported function is as it was exported, and cannot run on the statistics of a batch: '
        'take teacher_statistics=running'
      )
    if self.integers:
      image = jnp.round(image * 255).astype(jnp.uint8)
    return LogitsOnly(self.call(image).astype(jnp.float32))


def deserialized(data: bytes) -> jax.export.Exported:
  """Return a function of jax.export.

  Raises:
    FileError: it calls back into Python, by a number that a stranger's file may choose.
    Exception: the bytes are none; the library has many kinds.
  """
  function = jax.export.deserialize(bytearray(data))
  if _CALLBACK.search(function.mlir_module_serialized):
    raise FileError('it calls back into Python, which jax.export writes of no function')
  return function


def load(
  path: Path, *, image_shape: tuple[int, int, int] | None = None, classes: int | None = None
) -> Trained:
  """Return the function as a network without variables, which no spec builds again.

  Its name holds a part of the file's sha256.

  Args:
    path: the file.
    image_shape: height, width, channels that it must be for; None: as it is.
    classes: that it must have; None: as many as it has.

  Raises:
    FileError: the file is no such function, of a newer jax, for other devices, or for other images
      or classes.
  """
  try:
    data = path.read_bytes()
    function = deserialized(data)
  except OSError as error:
    raise FileError(
      f'{path} cannot be read ({error.strerror}): change its permissions, or give another file'
    ) from error
  except Exception as error:  # whatever the bytes of another kind of file make the library raise
    raise FileError(
      f'{path} cannot be read as a function of jax.export ({type(error).__name__}: '
      f'{one_line(error)}): export it anew, with a jax no newer than {jax.__version__}'
    ) from error
  backend = jax.default_backend()
  if not set(_PLATFORMS.get(backend, (backend,))) & set(function.platforms):
    raise FileError(
      f'{path} was exported for {", ".join(function.platforms)}, and this machine computes on '
      f'{backend}: export it with platforms=[…] for both'
    )
  taken, given = function.in_avals, function.out_avals
  who = 'this run needs' if image_shape else 'a teacher maps'
  image_shape = image_shape or tuple(taken[0].shape[1:] if taken else ())
  classes = classes or (given[0].shape[-1] if given and given[0].shape else 0)
  fits = (
    len(taken) == len(given) == 1
    and len(taken[0].shape) == 4
    and tuple(taken[0].shape[1:]) == tuple(image_shape)
    and all(isinstance(side, int) for side in (*image_shape, classes))
    and taken[0].dtype in (jnp.float32, jnp.uint8)
    and len(given[0].shape) == 2
    and given[0].shape[1] == classes
    and jnp.issubdtype(given[0].dtype, jnp.floating)
  )
  if not fits:
    shown = ' → '.join(', '.join(aval.str_short() for aval in avals) for avals in (taken, given))
    sides = ', '.join(map(str, image_shape))
    raise FileError(
      f'{path} maps {shown}, and {who} images [b, {sides}] of float32 or uint8 → logits [b, '
      f'{classes}]: export such a function, or choose the data that it is for'
    )
  if isinstance(taken[0].shape[0], int):
    raise FileError(
      f'{path} is for {taken[0].shape[0]} images at a time: export it for any number, '
      "jax.export.symbolic_shape('b, …')"
    )
  spec = NetworkSpec(f'{path.name}@{hashes.of_bytes(data)[:12]}', classes, image_shape)
  module = Exported(function.call, taken[0].dtype == jnp.uint8)
  return Trained(Network(spec, module, ()), {'params': {}, 'batch_stats': {}})
