"""The forms in which a network leaves kd_jax: files that other programs run, normalisation inside.

| format    | files      | made by      | run by                    | images in [0, 1] |
|-----------|------------|--------------|---------------------------|------------------|
| stablehlo | .stablehlo | jax.export   | jax, on cpu, cuda and tpu | f32[B, H, W, C]  |
| torch     | .pt2, .pth | torch.export | torch, without kd_jax     | f32[B, C, H, W]  |
| onnx      | .onnx      | torch.onnx   | onnxruntime and its like  | f32[B, C, H, W]  |

All give logits f32[B, K] for any B. A `.pth` is a state dict under the names of the published code,
for training on in PyTorch; it needs the code of its network, here kd_jax.pytorch.rendering. Torch
and ONNX go through that rendering, so that they have the families which it has; StableHLO has every
network.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.deploy import onnx_files
from kd_jax.deploy.runners import Runner
from kd_jax.files.kinds import EXPORTS
from kd_jax.models import exported, programs
from kd_jax.models.predicting import Predicting
from kd_jax.pytorch import names as torch_names
from kd_jax.text import one_line
from kd_jax.types import ConfigError, FileError, KdJaxError, NetworkSpec, Trained


class Format(NamedTuple):
  """A form to export to. The first of its files is the program."""

  suffixes: tuple[str, ...]
  layout: str  # of images: 'NHWC' or 'NCHW'
  write: Callable[[Trained, Path], None]  # writes stem + each suffix
  # packages that it takes to write and to run it; the extra of setup.cfg has the format's name
  writer: tuple[str, ...] = ()
  runtime: tuple[str, ...] = ()


def write(trained: Trained, name: str, stem: Path) -> list[Path]:
  """Write a network in a format, and return the paths: `stem` with each of its suffixes.

  Raises:
    KdJaxError: the format cannot have this network, or what it takes is not installed.
    OSError: the disk refuses.
  """
  chosen = FORMATS[name]
  require(name, chosen.writer)
  try:
    with _quiet():
      chosen.write(trained, stem)
  except (KdJaxError, OSError):
    raise
  # of an exporter's own kind, as for a module that needs to know the size of its batch
  except Exception as fault:
    raise ConfigError(
      f'{trained.network.spec.name} cannot be written as {name} for any batch size: '
      f'{one_line(fault)}'
    ) from fault
  return [stem.with_name(stem.name + suffix) for suffix in chosen.suffixes]


def load(path: Path, *, spec: NetworkSpec | None = None, threads: int | None = None) -> Runner:
  """Return a file of one of the formats, ready to run.

  Args:
    path: with one of the formats' suffixes.
    spec: of the network; a `.pth` alone needs it.
    threads: that torch and onnxruntime use on a CPU; their own choice where None.

  Raises:
    KdJaxError: the runtime is missing, or the file is not what its suffix says.
  """
  name = next(name for name, each in FORMATS.items() if path.suffix in each.suffixes)
  require(name, FORMATS[name].runtime)
  try:
    with _quiet():
      match path.suffix:
        case '.stablehlo':
          return _load_stablehlo(path)
        case '.onnx' | '.pt2':
          return _load_program(path, threads)
        case _:
          return _load_state(path, spec, threads)
  # each runtime has its own kinds, for a file that is damaged or of a newer version
  except Exception as fault:
    raise FileError(
      f'{path} cannot be read as {name}: {one_line(fault)}; export it again'
    ) from fault


def require(name: str, packages: Iterable[str]) -> None:
  """Raise KdJaxError where one of the packages that a format needs is not installed."""
  for package in packages:
    try:
      importlib.import_module(package)
    except ImportError:
      raise KdJaxError(
        f"the format {name} needs {package}, which is not installed: pip install -e '.[{name}]'"
      ) from None


def _write_stablehlo(trained: Trained, stem: Path) -> None:
  from jax import export

  network, variables = trained

  def logits(image: jax.Array) -> jax.Array:
    return network.module.apply(variables, image, train=False).logits

  image = jax.ShapeDtypeStruct(
    (*export.symbolic_shape('batch'), *network.spec.image_shape), jnp.float32
  )
  made = export.export(jax.jit(logits), platforms=('cpu', 'cuda', 'tpu'))(image)
  stem.with_name(f'{stem.name}.stablehlo').write_bytes(made.serialize())


def _load_stablehlo(path: Path) -> Runner:
  function = exported.deserialized(path.read_bytes())
  ranks = [len(aval.shape) for aval in (*function.in_avals, *function.out_avals)]
  images = function.in_avals[0]
  if ranks != [4, 2] or isinstance(images.shape[0], int) or images.dtype != jnp.float32:
    raise FileError('it is no function of images float32[b, H, W, C], for any b, to logits [b, K]')
  compiled = jax.jit(function.call)
  return Runner(lambda image: np.asarray(compiled(image)), tuple(images.shape[1:]))


def _write_torch(trained: Trained, stem: Path) -> None:
  import torch

  torch.export.save(_program(trained), stem.with_name(f'{stem.name}.pt2'))
  torch_names.export_file(
    stem.with_name(f'{stem.name}.pth'), trained.variables, trained.network.spec
  )


def _write_onnx(trained: Trained, stem: Path) -> None:
  import torch

  made = torch.onnx.export(
    _program(trained), dynamo=True, input_names=['image'], output_names=['logits'], verbose=False
  )
  onnx_files.save(made.model_proto, stem.with_name(f'{stem.name}.onnx'))


def _in_pytorch(spec: NetworkSpec, state: Mapping[str, Any]) -> Any:
  """Return the network in PyTorch, giving logits alone."""
  import torch

  network = _rendering(spec)
  network.load_state_dict(state)

  class Logits(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.network = network

    def forward(self, image):
      return self.network(image).logits

  return Logits().eval()


def _rendering(spec: NetworkSpec) -> Any:
  """Return the network in PyTorch with fresh weights. Raise ConfigError where there is none."""
  from kd_jax.pytorch import rendering

  fields = spec._asdict()
  del fields['compute_dtype']  # files compute in float32
  try:
    return rendering.build(**fields)
  except ValueError:
    raise ConfigError(
      f'{spec.name} is not written in PyTorch here, and the formats torch and onnx go through '
      'PyTorch; use --format=stablehlo, which takes every network'
    ) from None


def _program(trained: Trained) -> Any:
  import torch

  spec = trained.network.spec
  if isinstance(trained.network.module, Predicting):
    raise ConfigError(
      f'{spec.name} predicts through its method, and the formats torch and onnx have the network '
      'alone; use --format=stablehlo'
    )
  _rendering(spec)  # raises before the names of its weights are asked for
  weights = torch_names.to_torch(trained.variables, spec)
  state = {name: torch.from_numpy(array) for name, array in weights.items()}
  height, width, channels = spec.image_shape
  return torch.export.export(
    _in_pytorch(spec, state),
    (torch.zeros(2, channels, height, width),),
    dynamic_shapes=({0: torch.export.Dim('batch')},),
  )


def _running(module: Any, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
  import torch

  if threads:
    torch.set_num_threads(threads)

  def run(image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
      return module(torch.from_numpy(_channels_first(image))).numpy()

  return run


def _load_program(path: Path, threads: int | None) -> Runner:
  """Return a program of another runtime. Raise FileError where its batch is fixed."""
  program = programs.opened(path, threads=threads)
  if program.batch is not None:
    raise FileError('it is no function of images float32[b, C, H, W], for any b, to logits [b, K]')
  stated = onnx_files.facts(program.metadata)
  return Runner(lambda image: program.run(image)['logits'], program.image_shape, stated)


def _load_state(path: Path, spec: NetworkSpec | None, threads: int | None) -> Runner:
  import torch

  assert spec is not None, 'a state dict is loaded into the network of its spec'
  state = torch.load(path, weights_only=True, map_location='cpu')['model_state_dict']
  return Runner(_running(_in_pytorch(spec, state), threads), spec.image_shape)


def _channels_first(image: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(image.transpose(0, 3, 1, 2))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Hide what exporters print of themselves: deprecations, optional packages that they miss."""
  logger = logging.getLogger('torch.onnx')
  before = logger.level
  logger.setLevel(logging.ERROR)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      yield
  finally:
    logger.setLevel(before)


FORMATS = {
  'stablehlo': Format(EXPORTS['stablehlo'], 'NHWC', _write_stablehlo),
  'torch': Format(EXPORTS['torch'], 'NCHW', _write_torch, writer=('torch',), runtime=('torch',)),
  'onnx': Format(
    EXPORTS['onnx'],
    'NCHW',
    _write_onnx,
    writer=('torch', 'onnx', 'onnxscript'),
    runtime=('onnxruntime',),
  ),
}
