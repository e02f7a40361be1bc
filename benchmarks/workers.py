"""Worker processes that take turns: the driver asks one of them for a block of steps while the
others wait on their pipes.

A message is a line of JSON. The driver sends a job, then the name of a measurement and its
arguments, again and again; the worker answers each. Standard library alone: the workers may run
under different interpreters.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent


class WorkerEnded(Exception):  # noqa: N818 - it says what happened
  """A worker ended before it answered; why, it has written to standard error."""


class Worker:
  """A running `python -m module` that prepares for its job; `answer` first waits for what it says
  about itself when ready.
  """

  def __init__(
    self, python: str, module: str, job: Mapping[str, Any], environment: Mapping[str, str]
  ):
    self._process = subprocess.Popen(
      [python, '-m', module],
      cwd=REPOSITORY,
      env={**os.environ, **environment},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self._say(job)

  def ask(self, **message: Any) -> Any:
    """The worker's answer to a message. Raises WorkerEnded where there is none."""
    self._say(message)
    return self.answer()

  def answer(self) -> Any:
    """The worker's next answer. Raises WorkerEnded where there is none."""
    answer = self._process.stdout.readline()
    if not answer:
      status = self._process.wait()
      self.close()
      raise WorkerEnded(
        f'the benchmark worker `{" ".join(self._process.args)}` ended with status {status}; '
        'its own message stands above'
      )
    return json.loads(answer)

  def close(self) -> None:
    """Ends the worker, whatever it is doing."""
    self._process.kill()
    self._process.communicate()

  def _say(self, message: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has ended, and `answer` says so
      self._process.stdin.write(json.dumps(message) + '\n')
      self._process.stdin.flush()


def serve(prepare: Callable[..., tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]]) -> None:
  """The worker's side: `prepare` gets the job and returns facts and the measurements by name.

  The process is bound to job['threads'] cores before `prepare` imports anything: XLA starts a
  thread for each core that it may use.
  """
  pipe = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what a library prints must not get between the answers
  job = json.loads(sys.stdin.readline())
  with bound(job['threads']):
    answer, measurements = prepare(**job)
    print(json.dumps(answer), file=pipe, flush=True)
    while line := sys.stdin.readline():
      question = json.loads(line)
      print(json.dumps(measurements[question.pop('measure')](**question)), file=pipe, flush=True)


def timed(what: Callable[[int], float], count: int) -> dict[str, float]:
  """What one of `count` takes: its seconds, and the processor's over all threads; `result` is what
  came out at the end.
  """
  start, used = time.perf_counter(), time.process_time()
  result = what(count)
  seconds, used = time.perf_counter() - start, time.process_time() - used
  return {'seconds': seconds / count, 'cpu_seconds': used / count, 'result': result}


@contextlib.contextmanager
def bound(cores: int) -> Iterator[None]:
  """Binds this thread, and all that it starts, to the first of its cores."""
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, sorted(before)[:cores])
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)
