"""Gives the readers of what others wrote drawn and damaged input: each takes it, or refuses it with
a KdJaxError.

  python tests/fuzz.py --cases=100000 --seed=0 [--kind=KIND]

Beside that, nothing that a file names may be imported or called, no file written, no process
started (an audit hook tells), and no memory taken beyond a multiple of the file's size. Exits 1 at
the first case that is not so, after hypothesis has made it small.

  zip           a checkpoint of torch.save, its archive rebuilt or its bytes damaged
  stream        the same in the older container
  pickle        a damaged pickle in a good archive
  instructions  a pickle of pieces that belong together or do not, calls of what is forbidden among
    them
  network       good files of state dicts that no network has, read to the network
  flags         keys and values of the command line, through its own parsing
  values        configurations as a file of one's own may return them
  stored        config.json of a run
  study, run    their records, with one or two values replaced, read and laid out as tables
  history       history.csv, its bytes damaged
  annotations   the list of a Tiny ImageNet's validation images
  safetensors   a file of safetensors, its bytes damaged
  beside        the config.json beside one
  families      state dicts of networks for pictures, with arrays lost, renamed or of other shapes
  embeddings    tables of embeddings, .npz, .csv and .safetensors, their bytes damaged
  tables        tables of logits, their bytes or those of an array damaged
  predictions   predictions.npz of a run, damaged so
  saved         network.safetensors of a folder of kd_jax's own
  functions     functions of jax.export, their bytes damaged
  notes         the .json beside a program
  metadata      what an .onnx states of itself
  programs      the check of a .pt2, and expressions that it lets through
  answers       answer.md of a study, as HTML
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import encodings.cp437  # noqa: F401 - zipfile looks it up where a name is not UTF-8
import importlib.metadata
import io
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kd_jax.commands import command_line  # noqa: E402
from kd_jax.types import KdJaxError  # noqa: E402
from tests import bad_input  # noqa: E402
from tests.fuzz_files import KINDS  # noqa: E402
from tests.fuzz_kinds import Kind  # noqa: E402

CHUNK = 500  # cases that hypothesis draws at a time
SLOWEST = 30.0  # seconds for a case; the machine may have other work
MEMORY = 2 << 30  # bytes of addresses beyond those at the start
EXEC = {'exec', 'compile', 'import', 'marshal.loads'}  # events of Python that no file may cause
ALWAYS = {  # and those that nothing may
  'os.system',
  'os.exec',
  'os.posix_spawn',
  'os.spawn',
  'os.fork',
  'os.forkpty',
  'subprocess.Popen',
  'pickle.find_class',
  'socket.connect',
  'socket.bind',
  'ctypes.dlopen',
  'os.remove',
  'os.rename',
  'os.mkdir',
  'os.rmdir',
  'os.chmod',
  'os.symlink',
  'os.link',
  'os.truncate',
  'shutil.rmtree',
  'shutil.copyfile',
  'shutil.move',
}


class Tally(NamedTuple):
  """What came of the cases of a kind."""

  outcomes: collections.Counter
  worst: dict[str, float]


# What Python does meanwhile.

_seen: list[str] | None = None  # events, while a case is read


def _hook(event: str, arguments: tuple) -> None:
  if _seen is not None and (
    event in ALWAYS or event in EXEC or (event == 'open' and _writes(*arguments))
  ):
    _seen.append(f'{event} {arguments!r}'[:200])


def _writes(path: Any, mode: Any, how: int) -> bool:
  return bool(how & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)) or (
    isinstance(mode, str) and bool(set(mode) & set('wax+'))
  )


@contextlib.contextmanager
def watched(*, pure: bool) -> Iterator[None]:
  """Raises AssertionError where something happens in the context that may not."""
  global _seen
  if not hasattr(watched, 'hooked'):
    sys.addaudithook(_hook)
    watched.hooked = True  # a hook stays for good
  seen = _seen = []
  try:
    yield
  finally:
    _seen = None
  wrong = [event for event in seen if pure or event.split()[0] not in EXEC]
  assert not wrong, f'it does more than reading: {wrong}'


def attempt(kind: Kind, folder: Path, case: Any, tally: Tally) -> None:
  """One case.

  Raises AssertionError, or whatever the reader raises, where it does not take or refuse it as it
  should.
  """
  if kind.write:
    kind.write(folder, case)
  began, peak = time.perf_counter(), 0
  if kind.memory:
    tracemalloc.start()
  try:
    with watched(pure=kind.pure):
      kind.read(folder, case)
    outcome = 'taken'
  except KdJaxError as error:
    assert _is_clear(error), f'it is refused without a clear line: {error}'
    outcome = 'refused'
  finally:
    if kind.memory:
      peak = tracemalloc.get_traced_memory()[1]
      tracemalloc.stop()
  seconds = time.perf_counter() - began
  assert seconds < SLOWEST, f'it takes {seconds:.1f} s'
  assert not kind.memory or peak < kind.memory(case), f'it takes {peak / 1e6:.1f} MB'
  tally.outcomes[outcome] += 1
  tally.worst['seconds'], tally.worst['peak'] = (
    max(tally.worst['seconds'], seconds),
    max(tally.worst['peak'], peak),
  )


def _is_clear(error: KdJaxError) -> bool:
  """Whether a command makes one line of it, as long as a line may be."""
  said = io.StringIO()
  with contextlib.redirect_stderr(said):
    command_line.complain('fuzz', str(error))
  return str(error) != '' and said.getvalue()[:-1].isprintable() and len(said.getvalue()) < 1200


def run(
  name: str,
  cases: int,
  seed: int,
  folder: Path,
  tally: Tally,
  *,
  say: Callable[[int], None] = lambda done: None,
) -> None:
  """Draws cases of a kind and tries them in `folder`. Raises what a case that fails raises."""
  kind, done = KINDS[name], 0
  while done < cases:

    @hypothesis.seed(seed + done)
    @hypothesis.settings(
      max_examples=min(CHUNK, cases - done),
      database=None,
      deadline=None,
      print_blob=False,
      suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(kind.draw)
    def each(case: Any) -> None:
      attempt(kind, folder, case, tally)

    each()
    done += min(CHUNK, cases - done)
    say(done)


def tallies() -> dict[str, Tally]:
  return {name: Tally(collections.Counter(), {'seconds': 0.0, 'peak': 0.0}) for name in KINDS}


def shown(found: dict[str, Tally]) -> str:
  """The tallies as a Markdown table."""
  lines = [
    '| kind | cases | taken | refused | slowest, ms | largest peak, MB |',
    '|---|---|---|---|---|---|',
  ]
  total = collections.Counter()
  for name, tally in found.items():
    total += tally.outcomes
    taken, refused = tally.outcomes['taken'], tally.outcomes['refused']
    peak = f'{tally.worst["peak"] / 1e6:.2f}' if KINDS[name].memory else ''
    lines.append(
      f'| {name} | {taken + refused:,} | {taken:,} | {refused:,} | '
      f'{1000 * tally.worst["seconds"]:.0f} | {peak} |'
    )
  return '\n'.join(
    [*lines, f'| all | {total.total():,} | {total["taken"]:,} | {total["refused"]:,} | | |']
  )


def _worked(name: str, cases: int, seed: int, folder: Path) -> tuple[str, Tally]:
  """Tries the cases of a kind in a process of its own, and says how far it is."""
  os.chdir(folder)
  (folder / name).mkdir()
  tally, began = tallies()[name], time.monotonic()
  run(
    name,
    cases,
    seed,
    folder / name,
    tally,
    say=lambda done: print(
      f'{name}: {done:,} of {cases:,}, {time.monotonic() - began:.0f} s', flush=True
    ),
  )
  tally.worst['process'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
  return name, tally


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--cases', type=int, default=100_000)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--kind', choices=list(KINDS), help='one kind alone')
  parser.add_argument('--processes', type=int, default=2)
  arguments = parser.parse_args()
  bad_input.bounded(MEMORY)
  found, began = tallies(), time.monotonic()
  shares = (
    {name: kind.share for name, kind in KINDS.items()}
    if not arguments.kind
    else {arguments.kind: 1}
  )
  wanted = {name: round(arguments.cases * share) for name, share in shares.items()}
  order = sorted(wanted, key=lambda name: -wanted[name])
  with (
    tempfile.TemporaryDirectory(prefix='fuzz-') as folder,
    ProcessPoolExecutor(arguments.processes, multiprocessing.get_context('fork')) as pool,
  ):
    for one in as_completed(
      [pool.submit(_worked, name, wanted[name], arguments.seed, Path(folder)) for name in order]
    ):
      name, tally = one.result()
      found[name] = tally
    made = {path.name for path in Path(folder).iterdir()} - set(order)
    assert not made, f'files were made: {made}'
  largest = max(tally.worst.get('process', 0) for tally in found.values())
  versions = f'Python {platform.python_version()}, hypothesis {hypothesis.__version__}, numpy {importlib.metadata.version("numpy")}'
  print(
    f'\n{shown(found)}\n\n{time.monotonic() - began:.0f} s in {arguments.processes} processes, the '
    f'larger of {largest:.0f} MB, seed {arguments.seed}, {versions}'
  )
  return 0


if __name__ == '__main__':
  sys.exit(main())
