"""The stages of a run, known by what stands on the stacks of its process, and a thread that acts in
the one that was drawn.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Stage(NamedTuple):
  """A part of a run, known by calls that are on one stack, the outermost first."""

  name: str
  calls: tuple[str, ...]
  most: float  # seconds that a kill comes after it was seen, at most
  # 'start', 'phase', 'epoch' (each of a phase's), 'resumed', 'after' (a phase), 'end' or 'report'
  when: str


# In the order of a run's life. A later one stands inside an earlier one where both are on the
# stacks.
STAGES = (
  Stage('preparing the data', ('folders.py:read',), 0.05, 'start'),
  Stage('keeping decoded images', ('decoded.py:_write',), 0.01, 'start'),
  Stage('claiming the workdir', ('workdir.py:claimed',), 0.005, 'start'),
  Stage('reading back a finished phase', ('training.py:finished',), 0.02, 'after'),
  Stage('assembling a phase', ('assembly.py:assemble',), 0.5, 'phase'),
  Stage('training', ('loop.py:run',), 0.5, 'epoch'),
  Stage('restoring a checkpoint', ('checkpoints.py:restore_newest',), 0.05, 'resumed'),
  Stage('validating', ('evaluation.py:evaluate',), 0.05, 'epoch'),
  Stage('recording an epoch', ('monitor.py:_record',), 0.003, 'epoch'),
  Stage('saving a checkpoint', ('checkpoints.py:_write',), 0.03, 'epoch'),
  Stage('testing', ('rows.py:of_student',), 0.1, 'phase'),
  Stage('saving a network', ('networks.py:save_network',), 0.03, 'phase'),
  Stage('writing result.json', ('training.py:_write', 'atomic.py:write_bytes'), 0.0, 'phase'),
  Stage('writing the results', ('run.py:record', 'atomic.py:write_bytes'), 0.0, 'after'),
  Stage('drawing curves', ('pictures.py:of_run', 'plots.py:plot_history'), 0.1, 'after'),
  Stage('drawing the comparison', ('pictures.py:of_run', 'plots.py:plot_comparison'), 0.1, 'end'),
  Stage('report: predicting', ('inference.py:predict',), 0.3, 'report'),
  Stage('report: making the page', ('run_page.py:page',), 0.3, 'report'),
  Stage(
    'report: writing its files', ('report.py:of_run', 'atomic.py:write_bytes'), 0.002, 'report'
  ),
)
OTHER = 'starting, or between stages'


def same(name: str, when: str, most: float | None = None) -> Stage:
  """The stage of that name as other runs have it: at another time of theirs, or shorter."""
  stage = next(stage for stage in STAGES if stage.name == name)
  return stage._replace(when=when, most=stage.most if most is None else most)


def when(holds: Callable[[], bool], delay: float, act: Callable[[], object]) -> None:
  """Starts a thread that acts `delay` seconds after `holds` did."""

  def watch() -> None:
    while not holds():
      time.sleep(0.0002)
    time.sleep(delay)
    act()

  sys.setswitchinterval(0.0005)
  threading.Thread(target=watch, daemon=True).start()


def kill_here(stages: Sequence[Stage] = STAGES) -> None:
  """Ends this process, and says in which stage."""
  stage = next((stage.name for stage in reversed(stages) if inside(stage)), OTHER)
  os.write(1, f'\nkilled while {stage}'.encode())
  os.kill(os.getpid(), signal.SIGKILL)


def inside(stage: Stage) -> bool:
  """Whether a thread of this process is in the stage."""
  interval = sys.getswitchinterval()
  # the stacks must not change while they are read: on Python 3.11 a frame then is no frame
  sys.setswitchinterval(5)
  time.sleep(0)  # who waits for the interpreter takes note of that
  try:
    return any(_is_in(stage, frame) for frame in sys._current_frames().values())
  finally:
    sys.setswitchinterval(interval)


def _is_in(stage: Stage, frame: types.FrameType | None) -> bool:
  """Whether a stack holds the stage's calls."""
  wanted = list(stage.calls)
  while frame is not None and wanted:
    file, _, name = wanted[-1].partition(':')
    code = frame.f_code
    if (
      code.co_name == name
      and code.co_filename.endswith(f'/{file}')
      and '/kd_jax/' in code.co_filename
    ):
      wanted.pop()
    frame = frame.f_back
  return not wanted
