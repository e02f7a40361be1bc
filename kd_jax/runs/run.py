"""A run from configuration to results: data, networks, then each phase in turn; finished phases are
read back, not repeated.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kd_jax.config import Config
from kd_jax.data import feed, pictures, roles
from kd_jax.files import records
from kd_jax.runs import imported, longer, training, workdir
from kd_jax.runs.context import Context, Say, Student, silent
from kd_jax.runs.preparation import Prepared, check, prepare
from kd_jax.train import loop, memory, parallel
from kd_jax.train.programs import Programs
from kd_jax.types import Source

# Windows lacks the last.
_STOPS = [
  getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGUSR1') if hasattr(signal, name)
]
After = Callable[[Path], None]  # is given the folder of the run, by process 0
_EXAMPLES = 10  # test images that are written as files


def run(
  config: Config, folder: str | os.PathLike, *, say: Say = print, after: After = lambda folder: None
) -> list[dict[str, Any]]:
  """Run a configuration in a folder, from wherever an earlier sitting left it.

  Several processes that have joined (kd_jax.train.hosts) share a run: process 0 alone uses the
  folder, and prints.

  Args:
    config: of the run.
    folder: its workdir.
    say: is given what happens, a line at a time.
    after: is called after each phase, once its results are written, such as
      kd_jax.report.pictures.of_run.

  Returns:
    The rows of results.json.

  Raises:
    KdJaxError: the user can mend it; before anything is compiled or written where possible.
    kd_jax.train.loop.Interrupted: Ctrl-C or SIGTERM stopped the run; everything is saved.
  """
  workdir.check(folder)
  prepared = prepare(config)
  say = say if parallel.is_process_0() else silent
  check(prepared, say=say)
  for note in prepared.notes:
    say(note)
  folder = Path(folder).absolute()
  agree = parallel.agreement()
  claim = workdir.claimed(
    folder,
    config.for_json(),
    data=prepared.data,
    phases=prepared.phases,
    longer=functools.partial(longer.phases, prepared),
  )
  with contextlib.ExitStack() as stack:
    parallel.on_process_0(lambda: stack.enter_context(claim))
    stop = stack.enter_context(stopping())
    stack.enter_context(memory.explained(config.batch_size))
    shared = context(prepared, folder, stop=lambda: agree(stop()), say=say)
    return _train_all(shared, prepared, after)


def context(
  prepared: Prepared,
  folder: Path,
  *,
  stop: Callable[[], bool],
  say: Say,
  programs: Programs | None = None,
) -> Context:
  """Return what the phases share, the images on the devices among it.

  `programs` were compiled for another run of this process.
  """
  config = prepared.config
  return Context(
    identity=prepared.identity,
    folder=folder,
    parts=prepared.parts,
    augmentation=prepared.augmentation,
    mixing=prepared.mixing,
    selection=config.selection,
    test_every_epoch=config.test_every_epoch,
    placed=_place(prepared.parts, prepared.devices, config.data_placement),
    devices=prepared.devices,
    classes=prepared.classes,
    log_every=config.log_every,
    wandb=config.wandb,
    settings=config.to_share(),
    stop=stop,
    say=say,
    programs=programs or Programs(),
  )


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
  """Turn the first Ctrl-C, SIGTERM or SIGUSR1 (as schedulers send it) into a request to save and
  stop; a second stops at once.

  Python has signals in its main thread alone: in another one nothing is turned.
  """
  received: list[int] = []

  def handle(number: int, frame: Any) -> None:
    if received:
      raise KeyboardInterrupt
    received.append(number)

  main = threading.current_thread() is threading.main_thread()
  before = {number: signal.signal(number, handle) for number in _STOPS if main}
  try:
    yield lambda: bool(received)
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _place(
  parts: roles.Roles, devices: parallel.Parallel, data_placement: str
) -> dict[int, Source]:
  """Return the stored images on every device; {} where they are streamed.

  Under 'auto' they are on the devices where they fit into half of the memory of one.
  """
  stored = {id(part.source): part.source for part in parts if part is not None}
  size = sum(source.image.nbytes for source in stored.values())
  limit = (jax.local_devices()[0].memory_stats() or {}).get('bytes_limit', 8 << 30)
  if data_placement == 'host' or (data_placement == 'auto' and size > limit / 2):
    return {}
  return {
    number: devices.place(Source(np.asarray(source.image), np.asarray(source.label)))
    for number, source in stored.items()
  }


def _train_all(context: Context, prepared: Prepared, after: After) -> list[dict[str, Any]]:
  zoo = dict(prepared.imported)
  rows = [
    imported.row(context, name, trained, prepared.origins[name])
    for name, trained in prepared.imported.items()
  ]
  histories: dict[str, list[loop.Row]] = {}

  def record() -> None:
    # Those of finished phases, too: their files may have been damaged since.
    for name, history in histories.items():
      records.write_history(context.folder / 'phases' / name / 'history.csv', history)
    records.update_results(context.folder / 'results.json', rows)
    after(context.folder)

  for phase in prepared.phases:
    if context.stop():  # before the next phase is compiled, which may take minutes
      raise loop.Interrupted
    done = training.finished(context, phase)
    if done is None:
      checkpoints = context.folder / 'phases' / phase.name / 'checkpoints'
      (done,) = training.train([Student(context, phase)], zoo, rows, checkpoints)
      memory.give_back()
    zoo |= done.networks
    rows += done.rows
    histories[phase.name] = done.history
    parallel.on_process_0(record)
  parallel.on_process_0(
    lambda: _write_examples(context.folder / 'examples', context.parts.test, context.classes)
  )
  return rows


def _write_examples(folder: Path, test: feed.Split, classes: Sequence[str]) -> None:
  """Write a test image of each of the first classes as a PNG, for predict to be tried on."""
  image = test.source.image
  label = np.asarray(test.source.label)[test.index]
  channels = image.shape[-1]
  if channels not in (1, 3):
    return
  for number, name in enumerate(classes[:_EXAMPLES]):
    for place in test.index[label == number][:1]:
      safe = ''.join(c if c.isalnum() else '_' for c in name)[:40]
      pixels = np.asarray(image[place])
      png = pictures.png(pixels[..., 0] if channels == 1 else pixels)
      records.write_bytes(folder / f'{number:02d}_{safe}.png', png)
