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


class WorkerEnded(Exception):  # noqa: N818 - it names what happened
  """A worker ended before it answered; why, it has written to standard error."""


class Worker:
  """A running `python -m module` that prepares for its job.

  `answer` first waits for the facts that it reports when it is ready.
  """

  def __init__(
    self, python: str, module: str, job: Mapping[str, Any], environment: Mapping[str, str]
  ):
    self._command = [python, '-m', module]
    self._process = subprocess.Popen(
      self._command,
      cwd=REPOSITORY,
      env={**os.environ, **environment},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    assert self._process.stdin and self._process.stdout
    self._input, self.output = self._process.stdin, self._process.stdout
    self.send(job)

  def ask(self, **message: Any) -> Any:
    """Return the worker's answer to a message.

    Raises:
      WorkerEnded: there is none.
    """
    self.send(message)
    return self.answer()

  def answer(self) -> Any:
    """Return the worker's next answer.

    Raises:
      WorkerEnded: there is none.
    """
    answer = self.output.readline()
    if not answer:
      status = self._process.wait()
      self.close()
      raise WorkerEnded(
        f'the benchmark worker `{" ".join(self._command)}` ended with status {status}; its own '
        'message stands above'
      )
    return json.loads(answer)

  def close(self) -> None:
    """End the worker, whatever it is doing."""
    self._process.kill()
    self._process.communicate()

  def send(self, message: Mapping[str, Any]) -> None:
    """Send a job or a question, without waiting for the answer."""
    with contextlib.suppress(BrokenPipeError):  # it has ended, and `answer` raises it
      self._input.write(json.dumps(message) + '\n')
      self._input.flush()


def serve(prepare: Callable[..., tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]]) -> None:
  """Be a worker: `prepare` gets the job and returns facts and the measurements by name.

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
  """Return what one of `count` takes: its seconds, and the processor's over all threads.

  `result` is what came out at the end.
  """
  start, used = time.perf_counter(), time.process_time()
  result = what(count)
  seconds, used = time.perf_counter() - start, time.process_time() - used
  return {'seconds': seconds / count, 'cpu_seconds': used / count, 'result': result}


@contextlib.contextmanager
def bound(cores: int) -> Iterator[None]:
  """Bind this thread, and all that it starts, to the first of its cores."""
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, sorted(before)[:cores])
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)
