"""What is timed: a row of data for each thing.

Imports nothing, since all workers read it, and some have no jax, others no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# The peers are kd_jax.pytorch's PyTorch rendering. A side is the module of its worker, and options.
SIDES: dict[str, tuple[str, dict[str, Any]]] = {
  'kd_jax': ('benchmarks.kd_jax_side', {}),
  'eager NCHW': ('benchmarks.peer', {'channels_last': False, 'compiled': False}),
  'eager channels-last': ('benchmarks.peer', {'channels_last': True, 'compiled': False}),
  'compiled channels-last': ('benchmarks.peer', {'channels_last': True, 'compiled': True}),
}
TWO = ('kd_jax', 'eager NCHW')
PARTS = {
  'step': 'a training step of each method',
  'teacher': "the teacher's forward alone",
  'epoch': 'a whole epoch, with input and evaluation',
  'population': "a step a student, of the 25 of the paper's Table 1 in one program",
  'start': 'the first step of launch.py, and the peak memory of its process',
  'batch': 'a step as the batch grows',
  'images': 'an epoch as the number of images grows',
  'network': 'a step as the student grows',
  'students': 'a study as the number of its students grows',
}


class Row(NamedTuple):
  """Work that the sides do in turns."""

  part: str
  method: str = 'kd'  # of kd_jax and of kd_jax.verify.torch_recipes
  work: str = 'step'  # a measurement of the workers: 'step', 'forward' of the teacher, or 'epoch'
  student: str = 'resnet8'
  teacher: str = 'resnet26'  # not used by NOKD
  batch: int = 128
  examples: int = 50_000  # images to train on, of random pixels and labels
  evaluated: int = 1_000  # images that an epoch ends with
  classes: int = 10
  image_shape: tuple[int, int, int] = (32, 32, 3)
  # whether kd_jax has a table of the teacher's logits; peers have the teacher
  looked_up: bool = False
  students: int = 1  # of kd_jax, in one program; times are a student's share, and peers train one
  sides: tuple[str, ...] = tuple(SIDES)
  recipe: str = 'written'  # of the method
  phase: str = ''  # of its plan; '': the last
  options: Mapping[str, Any] = {}  # of kd_jax, such as {'review.width': 64}


class Start(NamedTuple):
  """`launch.py` as a user starts it, in a process of its own for each value; its sides are further
  arguments, or caches.

  {data_dir} and {teacher} stand for the flags of these names; a row that names one which is not
  given is not timed.
  """

  part: str
  arguments: tuple[str, ...]
  # what is timed: from the command's start to the first step that is shown as done, or to the 'end'
  until: str = 'first step'
  # after its first step, by SIGTERM; else it runs to its end, and its memory counts
  stopped: bool = False
  # 'cold': the compilation cache is emptied before
  sides: Mapping[str, tuple[str, ...]] = {'cold': (), 'warm': ()}
  students: int = 1


_KD = (
  '--config=configs/cifar10_kd.py',
  '--config.data_dir={data_dir}',
  '--config.download=False',
  '--config.epochs=1',
  '--config.train_examples=1280',
  '--config.eval_examples=1000',
)
_WORKERS = {'1 worker': ('--workers=1',), '2 workers': ('--workers=2',)}

ROWS: dict[str, Row | Start] = {
  **{name: Row('step', name) for name in ('nokd', 'kd', 'rkd', 'oh', 'uda')},
  'teacher forward': Row('teacher', work='forward'),
  'epoch': Row('epoch', work='epoch', examples=1_280),
  'kd 25 students': Row('population', students=25, sides=TWO),
  'kd 25 students with a table': Row(
    'population', students=25, examples=1_280, looked_up=True, sides=TWO
  ),
  'quick start': Start('start', (), stopped=True),
  'CIFAR-10': Start('start', _KD, stopped=True),
  'CIFAR-10 imported teacher': Start('start', (*_KD, '--config.teacher_checkpoint={teacher}')),
  **{f'kd batch {size}': Row('batch', batch=size, sides=TWO) for size in (32, 64, 256)},
  **{
    f'epoch {count} images': Row('images', work='epoch', examples=count, sides=TWO)
    for count in (320, 640)
  },
  **{f'kd {name}': Row('network', student=name, sides=TWO) for name in ('resnet14', 'resnet26')},
  **{
    f'students {count}': Start(
      'students',
      ('--config=benchmarks/students.py', f'--config.seeds={count}'),
      until='end',
      sides=_WORKERS,
      students=count,
    )
    for count in (1, 2, 4)
  },
}
