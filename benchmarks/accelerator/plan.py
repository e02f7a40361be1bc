"""What is measured on an accelerator, as data: at full size, and at a size that a CPU rehearses in
seconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.accelerator.programs import Program
from benchmarks.accelerator.torch_side import Peer

METHODS = ('nokd', 'kd', 'oh', 'rkd', 'uda')
DTYPES = ('float32', 'bfloat16')
NO_TUNING = '--xla_gpu_autotune_level=0'
NO_GRAPHS, LOOP_GRAPHS = (
  '--xla_gpu_enable_command_buffer=',
  '--xla_gpu_enable_command_buffer=+WHILE',
)


class Group(NamedTuple):
  """Programs that one process compiles, and the flags of XLA that it runs under."""

  programs: tuple[Program, ...]
  xla_flags: str = ''


class Plan(NamedTuple):
  """What is measured, and how long."""

  # compiled before the others: the algorithms that they choose by timing, the others find chosen
  first: tuple[Group, ...]
  groups: tuple[Group, ...]
  peers: tuple[tuple[Peer, ...], ...]  # a process each
  shared: Program  # what several processes run at the same time
  processes: tuple[int, ...]
  resumed: dict[str, Any]  # keys of the run that is stopped and goes on
  stopped: dict[str, int]  # its `steps` in a call, and `stop_after` how many calls
  seconds: float  # of each timing
  studies: tuple[str, ...]  # a configuration and flags of its own


def full(pretrained: str, data_dir: str) -> Plan:
  """Return the plan for an accelerator; teachers are drawn at random where only time is
  measured.
  """
  kd = {
    steps: Program(f'kd, float32, batch 128, {steps} steps a call', steps=steps)
    for steps in (1, 32, 351)
  }
  timed = {
    (method, dtype): Program(f'{method}, {dtype}, batch 128', method, dtype)
    for method in METHODS
    for dtype in DTYPES
  }
  large = {
    (method, dtype): Program(f'{method}, {dtype}, batch 1024', method, dtype, batch=1024, steps=43)
    for method in METHODS[:2]
    for dtype in DTYPES
  }
  exact = Program('kd, float32 without TF32, batch 128', precision='highest')
  first = (
    Group((kd[351]._replace(name=timed['kd', 'float32'].name, epoch=True),)),
    Group((timed['kd', 'bfloat16'],)),
  )
  groups = [
    Group((kd[1], kd[32])),
    Group((large['kd', 'float32'], large['kd', 'bfloat16'])),
    Group(
      (
        timed['nokd', 'float32'],
        large['nokd', 'float32'],
        timed['nokd', 'bfloat16'],
        large['nokd', 'bfloat16'],
      )
    ),
    Group((exact,)),
    *(Group(tuple(timed[method, dtype] for dtype in DTYPES)) for method in METHODS[2:]),
    Group((Program('kd, float32, 4 students unrolled', steps=88, students=4),)),
    Group((Program('kd, float32, 4 students vmapped', steps=88, students=4, how='vmapped'),)),
    Group((Program('kd, float32, batch 128, no tuning'),), NO_TUNING),
    Group((Program('kd, float32, batch 128, no CUDA graphs', steps=351),), NO_GRAPHS),
    Group((Program('kd, float32, batch 128, loops in CUDA graphs', steps=351),), LOOP_GRAPHS),
  ]
  eager = tuple(
    Peer(f'torch eager, {method}, {dtype}, batch 128', method, dtype)
    for method in METHODS
    for dtype in DTYPES
  )
  compiled = tuple(
    Peer(f'torch compiled, {method}, {dtype}, batch 128', method, dtype, compiled=True)
    for method in METHODS[:2]
    for dtype in DTYPES
  )
  graphs = tuple(
    peer._replace(name=peer.name.replace('compiled', 'CUDA graphs'), mode='reduce-overhead')
    for peer in compiled
    if peer.method == 'kd'
  )
  big = tuple(
    peer._replace(name=peer.name.replace('128', '1024'), batch=1024)
    for peer in eager
    if peer.method == 'kd'
  )
  resumed = {
    'method': 'kd',
    'teacher': 'resnet26',
    'teacher_checkpoint': f'{pretrained}/resnet26_cifar10.pth',
    'data_dir': data_dir,
    'download': False,
    'epochs': 3,
    'train_examples': 12_800,
    'eval_examples': 1_000,
  }
  peers = (eager + big, *((peer,) for peer in compiled + graphs))
  return Plan(
    first,
    tuple(groups),
    peers,
    kd[351],
    (1, 4, 8, 12),
    resumed,
    {'steps': 32, 'stop_after': 5},
    0.6,
    (),
  )


def rehearsal() -> Plan:
  """Return the plan for a CPU: tiny networks, so that every line of this runs in seconds, and no
  figure means anything.
  """
  tiny: dict[str, Any] = {
    'student': 'thin_resnet8',
    'teacher': 'thin_resnet8',
    'examples': 16,
    'evaluated': 10,
    'image_shape': (16, 16, 1),
    'batch': 4,
    'steps': 2,
  }
  programs = (
    Program('nokd, float32', 'nokd', **tiny, epoch=True),
    Program('kd, float32, 2 students vmapped', students=2, how='vmapped', **tiny),
  )
  resumed = {
    'dataset': 'digits',
    'method': 'nokd',
    'student': 'thin_resnet8',
    'relu_placement': 'block',
    'mean': (0.3,),
    'std': (0.4,),
    'epochs': 2,
    'batch_size': 5,
    'train_examples': 20,
    'validation_examples': 50,
    'eval_examples': 50,
  }
  study = (
    'benchmarks/students.py --config.seeds=1 --config.train_examples=64 '
    '--config.validation_examples=32 --config.eval_examples=32 --config.epochs=2 '
    '--config.batch_size=16 --config.student=thin_resnet8'
  )
  peer = Peer('torch eager, nokd, float32', 'nokd', device='cpu', batch=4)
  return Plan(
    (Group(programs),),
    (),
    ((peer,),),
    Program('shared', 'nokd', **tiny),
    (1, 2),
    resumed,
    {'steps': 2, 'stop_after': 3},
    0.05,
    (study,),
  )
