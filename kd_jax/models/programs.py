"""Programs of other runtimes, .onnx and .pt2, as functions of images.

A program takes images f32[B, C, H, W] in [0, 1], normalises them by itself, and gives logits f32[B,
K]: its output called 'logits', or else its first. It may give an embedding f32[B, D], too: its
output called 'embedding', or else its second. In PyTorch the outputs are a tensor, a tuple, or a
mapping. B is any number, or one that the program states; images are filled up to it then.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from kd_jax.models import pt2_files
from kd_jax.text import one_line
from kd_jax.types import ConfigError, FileError

SUFFIXES = {'.onnx': 'onnxruntime', '.pt2': 'torch'}  # and the package that runs it
OUTPUTS = ('logits', 'embedding')
_SILENT = 4  # of onnxruntime's levels of logging: what it prints of an error, the error has, too
_MOST = 1 << 28  # values of the images that a program takes at a time: 1 GB


class Program(NamedTuple):
  """A program that is ready to run."""

  run: Callable[[np.ndarray], dict[str, np.ndarray]]  # f32[B, H, W, C] → 'logits', 'embedding'
  image_shape: tuple[int, int, int]  # height, width, channels
  batch: int | None  # images that it takes at a time; None: any number
  metadata: Mapping[str, str] = MappingProxyType({})  # that an .onnx file has of itself


def load(path: Path, *, threads: int | None = None) -> Program:
  """Return a program, ready to run.

  Args:
    path: with one of SUFFIXES.
    threads: of a CPU; the runtime's own choice where None.

  Raises:
    ConfigError: the runtime is not installed.
    FileError: the file is no such program.
  """
  package = SUFFIXES[path.suffix]
  try:
    importlib.import_module(package)
  except ImportError:
    raise ConfigError(
      f'{path} needs {package} to be run once, which is not installed: pip install {package}, or '
      'make its table where it is, by kd-jax table'
    ) from None
  try:
    return opened(path, threads=threads)
  # Each runtime has its own kinds, for a file that is damaged or of a newer version.
  except Exception as fault:
    raise FileError(
      f'{path} cannot be read by {package} ({one_line(fault)}): export it again'
    ) from fault


def opened(path: Path, *, threads: int | None = None) -> Program:
  """Return what `load` does, with the runtime's own exceptions."""
  return (_onnx if path.suffix == '.onnx' else _torch)(path, threads)


def _onnx(path: Path, threads: int | None) -> Program:
  import onnxruntime

  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = threads or 0
  options.log_severity_level = _SILENT
  _bound_memory()
  options.add_session_config_entry('session.use_env_allocators', '1')
  session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
  images, *others = session.get_inputs()
  fixed = [type(side) is int for side in images.shape]
  ranks = [len(output.shape or ()) for output in session.get_outputs()]  # 0: it is left open
  if others or images.type != 'tensor(float)' or fixed[1:] != [True] * 3 or ranks[0] not in (0, 2):
    raise _no_function()
  limit = images.shape[0] if fixed[0] else None
  shape = _checked(images.shape[1:], limit)
  names = [output.name for output in session.get_outputs()]

  def run(image: np.ndarray) -> dict[str, np.ndarray]:
    how = onnxruntime.RunOptions()
    how.log_severity_level = _SILENT
    return _named(path, names, session.run(None, {images.name: image}, how))

  metadata = session.get_modelmeta().custom_metadata_map
  return Program(_whole(path, run, limit), shape, limit, metadata)


@functools.cache
def _bound_memory() -> None:
  """Let sessions that use the environment's allocator share no more than half of this machine's
  memory: a short file may ask for any number of bytes.
  """
  import onnxruntime

  memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  place = onnxruntime.OrtMemoryInfo(
    'Cpu', onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
  )
  onnxruntime.create_and_register_allocator(
    place, onnxruntime.OrtArenaCfg({'max_mem': memory // 2})
  )


def _torch(path: Path, threads: int | None) -> Program:
  import torch

  if threads:
    torch.set_num_threads(threads)
  with pt2_files.no_pickles():
    program = torch.export.load(pt2_files.checked(path))
  given = [node for node in program.graph.nodes if node.op == 'placeholder'][-1]
  shape = given.meta['val'].shape
  if len(shape) != 4 or given.meta['val'].dtype != torch.float32:
    raise _no_function()
  limit = shape[0] if type(shape[0]) is int else None
  sides = _checked([int(side) for side in shape[1:]], limit)
  module = program.module()

  def run(image: np.ndarray) -> dict[str, np.ndarray]:
    with torch.inference_mode():
      given = module(torch.from_numpy(image))
    outputs = dict(given) if isinstance(given, Mapping) else {}
    values = [*outputs.values()] or (list(given) if isinstance(given, tuple | list) else [given])
    return _named(path, [*outputs], [value.numpy() for value in values])

  return Program(_whole(path, run, limit), sides, limit)


def _checked(sides: Sequence[int], batch: int | None) -> tuple[int, int, int]:
  """Return height, width and channels of a program's images.

  Raises:
    FileError: they are more than this machine is to make at a time, or none.
  """
  channels, height, width = sides
  if not 0 < channels * height * width * (1 if batch is None else batch) <= _MOST:
    raise FileError(
      f'it takes {"" if batch is None else f"{batch:,} "}images of {height}×{width}×{channels} '
      f'values at a time, and {_MOST:,} values are the most that are made'
    )
  return height, width, channels


def _whole(
  path: Path, run: Callable[[np.ndarray], dict[str, np.ndarray]], batch: int | None
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
  """Return a function of any number of images f32[B, H, W, C], which raises FileError alone."""

  def of_any(image: np.ndarray) -> dict[str, np.ndarray]:
    try:
      return in_parts(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))
    except FileError:
      raise
    # Each runtime has its own kinds, for sizes that do not fit and for memory that is not there.
    except Exception as fault:
      raise FileError(
        f'{path} cannot be run by {SUFFIXES[path.suffix]} ({one_line(fault)}): export it again'
      ) from fault

  def in_parts(first: np.ndarray) -> dict[str, np.ndarray]:
    if batch is None or len(first) == batch:
      return run(first)
    parts = []
    for start in range(0, len(first), batch):
      part = first[start : start + batch]
      filled = np.concatenate([part, np.repeat(part[:1], batch - len(part), axis=0)])
      parts.append({name: value[: len(part)] for name, value in run(filled).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

  return of_any


def _named(path: Path, names: Sequence[str], values: Iterable[Any]) -> dict[str, np.ndarray]:
  """Return a program's outputs under the names that kd_jax has for them."""
  given = [np.asarray(value) for value in values]
  if any(name in names for name in OUTPUTS):
    found = {n: v for n, v in zip(names, given, strict=True) if n in OUTPUTS}
  else:
    found = dict(zip(OUTPUTS, given, strict=False))
  if 'logits' not in found:
    raise FileError(f"{path} has an output 'embedding' and none called 'logits': export both")
  return {name: value for name, value in found.items() if name == 'logits' or value.ndim == 2}


def _no_function() -> FileError:
  return FileError(
    'it is no function of images float32[B, C, H, W], of a fixed height and width, to logits [B, K]'
  )
