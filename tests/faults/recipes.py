"""Short runs whose state is more than weights, for kills: memory banks, averages of the weights,
what dropout and mixup draw, parts of a method that predict, tables that are being made.

A run is one student or two commands, on the digits of `sitting`, with networks of one convolution.
Each recipe is tried by jit on one device and by pmap on two pretended ones, with images that lie on
the device or are streamed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kd_jax.files import records
from kd_jax.models.vit import vit
from kd_jax.types import Network, NetworkSpec
from tests.faults import children, sitting

EPOCHS = 3
TEACHER = 'teacher'
SIDE, CLASSES = 16, 10
WIDTH = 7  # of the programs' embedding
# what can keep runs apart that share a name: how steps are spread, and where the images lie
ONE, TWO = ('jit', 'device'), ('pmap', 'host')
ONE_STREAMED, TWO_RESIDENT = ('jit', 'host'), ('pmap', 'device')
ALL = (
  '--config.image_size=16',
  '--config.batch_size=32',
  '--config.crop_padding=1',
  f'--config.epochs={EPOCHS}',
  '--config.learning_rate=0.01',
  '--config.log_every=1',
  '--config.ema=0.8',
)
RUN = (
  '--config=digits_kd',
  '--config.dataset={base}/images',
  '--config.validation_examples=70',
  '--config.baseline=False',
  '--config.teacher=nets:small',
)
SMALL = '--config.student=nets:small'
BANK = ('--config.method=crd', '--config.crd.negatives=8', '--config.crd.width=4')
TAUGHT = (*RUN, '--config.teacher_checkpoint={base}/teacher')


class Recipe(NamedTuple):
  """A run: its commands, and what it keeps beyond weights and an average of them.

  In a command's words {base} stands for the folder of all runs. A command runs in the folder of
  what its run decodes.
  """

  name: str
  keeps: str
  commands: tuple[tuple[str, ...], ...]
  needs: str = ''  # a package
  makes: str = ''  # the file of the first of two commands: it is left out where that is there
  making: tuple[str, ...] = ()  # the names of the stages in which a table is made
  variants: tuple[tuple[str, str], ...] = (ONE, TWO)

  @property
  def is_possible(self) -> bool:
    return not self.needs or importlib.util.find_spec(self.needs) is not None


class Case(NamedTuple):
  """A recipe, how its steps are spread, and where its images lie."""

  recipe: Recipe
  kind: str
  placement: str

  def __str__(self) -> str:
    return f'{self.recipe.name}.{self.kind}.{self.placement}'


def dropping(spec: NetworkSpec) -> Network:
  """A network that draws from both of its streams as it trains."""
  rates = {'dropout': 0.2, 'stochastic_depth': 0.3}
  return Network(spec, *vit(spec, width=8, depth=2, heads=2, **rates))


def _student(*flags: str, student: str = SMALL, taught: tuple[str, ...] = TAUGHT):
  return (('run', *taught, student, *flags),)


RECIPES = (
  Recipe('bank', "CRD's memory banks and means", _student(*BANK)),
  Recipe(
    'mixing',
    "mixup's and CutMix's draws, AdamW's moments, gradients of two steps",
    _student(
      *('--config.method=kd', '--config.mixup=0.3', '--config.cutmix=1'),
      *('--config.optimiser=adamw', '--config.accumulate=2', '--config.clip=1'),
    ),
    variants=(ONE_STREAMED, TWO_RESIDENT),
  ),
  Recipe(
    'dropping',
    "dropout's and stochastic depth's draws",
    _student(
      *('--config.method=kd', '--config.alternating_flip=True', '--config.flip=True'),
      student='--config.student=tests.faults.recipes:dropping',
    ),
    variants=(ONE_STREAMED, TWO_RESIDENT),
  ),
  Recipe('simkd', 'a projector that predicts', _student('--config.method=simkd')),
  Recipe(
    'temperature',
    'a learnt temperature and ranks',
    _student('--config.method=ctkd+0.1*rkd'),
    variants=(ONE_STREAMED, TWO_RESIDENT),
  ),
  Recipe(
    'companion', 'a teacher that is trained beside it', _student('--config.method=dual', taught=RUN)
  ),
  Recipe(
    'embed',
    'a table of embeddings, then a bank of its rows',
    (
      (
        *('table', '--embeddings', '--config=embedding', '--teacher={base}/teacher'),
        *('--out=table.npz', '--views=3', '--config.unlabelled_dataset={base}/images/train'),
        *('--config.image_size=16', '--config.crop_padding=1'),
      ),
      (
        *('embed', '--table=table.npz', '--config.unlabelled_dataset={base}/images/train'),
        *(SMALL, '--config.validation_examples=20'),
        '--config.method_options=objective=bank,bank_rows=64',
      ),
    ),
    makes='table.npz',
    making=('embedding pictures', 'writing a table of embeddings'),
    variants=(ONE_STREAMED, TWO_RESIDENT),
  ),
  *(
    Recipe(
      suffix,
      f'a table of logits and embeddings, by {package}',
      _student(
        *('--config.method=kd+0.01*pkt', f'--config.teacher_checkpoint={{base}}/program.{suffix}'),
        taught=RUN,
      ),
      needs=package,
      making=('running a teacher of another runtime', 'writing a table of logits'),
      variants=variants,
    )
    for suffix, package, variants in (
      ('onnx', 'onnxruntime', (ONE, TWO)),
      ('pt2', 'torch', (ONE_STREAMED, TWO_RESIDENT)),
    )
  ),
)
CASES = tuple(Case(recipe, *variant) for recipe in RECIPES for variant in recipe.variants)


def provide(base: Path) -> None:
  """Makes what all runs in `base` use, unless it is there: images, networks, teachers."""
  base.mkdir(parents=True, exist_ok=True)
  if not (base / 'images').exists():
    sitting.provide(base)
  if not (base / TEACHER / 'results.json').exists():
    flags = (*RUN, SMALL, *ALL, '--config.method=nokd', f'--workdir={base / TEACHER}')
    children.ended(_child(base, base / TEACHER, [('run', *_filled(flags, base))]))
  weights = np.random.default_rng(0).normal(size=(SIDE * SIDE, CLASSES + WIDTH)).astype(np.float32)
  for suffix, package, write in (('onnx', 'onnx', _onnx), ('pt2', 'torch', _pt2)):
    place = base / f'program.{suffix}'
    if not place.exists() and importlib.util.find_spec(package):
      write(place, weights)


def _onnx(place: Path, weights: np.ndarray) -> None:
  """Writes a linear teacher as an ONNX file."""
  from onnx import TensorProto, helper, numpy_helper, save

  float32 = TensorProto.FLOAT
  parts = np.split(weights, [CLASSES], axis=1)
  outputs = ('logits', CLASSES), ('embedding', WIDTH)
  graph = helper.make_graph(
    [
      helper.make_node('Flatten', ['image'], ['flat']),
      *(helper.make_node('MatMul', ['flat', f'w_{name}'], [name]) for name, _ in outputs),
    ],
    'linear',
    [helper.make_tensor_value_info('image', float32, ['batch', 1, SIDE, SIDE])],
    [helper.make_tensor_value_info(name, float32, ['batch', width]) for name, width in outputs],
    [
      numpy_helper.from_array(np.ascontiguousarray(part), f'w_{name}')
      for part, (name, _) in zip(parts, outputs, strict=True)
    ],
  )
  opset = [helper.make_opsetid('', 17)]
  save(helper.make_model(graph, opset_imports=opset, ir_version=9), place)


def _pt2(place: Path, weights: np.ndarray) -> None:
  """Writes the same teacher as a program of torch.export."""
  import torch

  class Linear(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.weights = torch.nn.Parameter(torch.from_numpy(weights))

    def forward(self, image):
      both = image.flatten(1) @ self.weights
      return both[:, :CLASSES], both[:, CLASSES:]

  shape = {'image': {0: torch.export.Dim('batch', min=1, max=4096)}}
  given = (torch.zeros(2, 1, SIDE, SIDE),)
  torch.export.save(torch.export.export(Linear(), given, dynamic_shapes=shape), place)


def _filled(words: tuple[str, ...], base: Path) -> tuple[str, ...]:
  return tuple(word.format(base=base) for word in words)


def sit(
  base: Path, case: Case, folder: Path, before: Callable[[], object] = children.nothing
) -> children.Sitting:
  """A sitting of a run in a child of this process, which calls `before` first."""
  recipe = case.recipe
  commands = [_filled(command, base) for command in recipe.commands]
  spread = f'--config.parallel={case.kind}', f'--config.data_placement={case.placement}'
  commands[-1] += (*ALL, *spread, f'--workdir={folder}')
  if recipe.makes and (sitting.cache(folder) / recipe.makes).exists():
    commands = commands[1:]
  return _child(base, folder, commands, before, devices=2 if case.kind == 'pmap' else 1)


def _child(
  base: Path,
  folder: Path,
  commands: list[tuple[str, ...]],
  before: Callable[[], object] = children.nothing,
  *,
  devices: int = 1,
) -> children.Sitting:
  def act() -> None:
    from kd_jax.commands import main

    os.environ.update(sitting.environment(folder))
    os.environ['XLA_FLAGS'] += f' --xla_force_host_platform_device_count={devices}'
    sitting.cache(folder).mkdir(exist_ok=True)
    os.chdir(sitting.cache(folder))
    sys.path.append(str(base))
    before()
    for name, *words in commands:
      sys.argv = ['kd-jax', name, *words]
      if code := main.call(name, words):
        sys.exit(code)

  return children.child(act)


def reached(folder: Path, case: Case) -> str:
  """Where a run goes on: after a step of its first unfinished phase, or at its end."""
  for phase in records.read_json(undisturbed(folder.parent, case) / 'methods.json'):
    # a student from a table is tested and written down anew
    if case.recipe.name == 'embed' or not (folder / 'phases' / phase / 'result.json').exists():
      return f'{phase} {newest(folder, phase)}'
  return 'end 0'


def newest(folder: Path, phase: str = '*') -> int:
  """The newest checkpoint's step, of any phase or of one; 0 where there is none."""
  saved = folder.glob(f'phases/{phase}/checkpoints/*')
  return max((int(path.name) for path in saved if path.name.isdigit()), default=0)


def undisturbed(base: Path, case: Case) -> Path:
  """The folder of a run that nobody disturbs; it is made unless it is there."""
  folder = base / f'undisturbed.{case}'
  if not (folder / 'results.json').exists():
    children.ended(sit(base, case, folder))
  return folder
