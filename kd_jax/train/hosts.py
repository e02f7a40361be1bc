"""Several processes that share one run, as on a TPU pod or under Slurm: which, how they find each
other, and who watches them.

jax.distributed joins them. A process whose peer has died is in a program that will never end, and
jax aborts it; so on each host the work is done by a child, and the process that the user started
turns what becomes of it into one line and an exit status.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, NamedTuple, cast

from kd_jax.text import one_line
from kd_jax.types import ConfigError, KdJaxError

# EX_TEMPFAIL: the exit status where another process is gone; the same command again goes on
LOST = 75
HEARTBEAT = 30  # seconds without a sign of life after which a process counts as dead
_PATIENCE = 30  # seconds that a process which ends waits for the others to end
_CHILD = 'KD_JAX_HOSTS_CHILD'
# what jax asks for, too
_SLURM_STEP = ('SLURM_JOB_ID', 'SLURM_STEP_NODELIST', 'SLURM_PROCID', 'SLURM_LOCALID')
_NOISE = re.compile(r'[IWEF]\d{4} \d\d:\d\d:\d\d')  # a line of XLA's own log
# what a collective, or the service that keeps the processes together, logs where one is gone
_GONE = re.compile(
  r'gloo|nccl|coordination|heartbeat|connection (closed|reset)|UNAVAILABLE|ABORTED|'
  r'DEADLINE_EXCEEDED',
  re.IGNORECASE,
)


class Place(NamedTuple):
  """This process among those of a run; jax finds what is None, from Slurm or the TPU."""

  coordinator: str | None = None  # host:port of process 0
  processes: int | None = None
  process: int | None = None


def place(coordinator: str, processes: int, process: int) -> Place | None:
  """Return this process's place by the flags, or else the surroundings; None where it is alone.

  Args:
    coordinator: host:port of process 0, or ''.
    processes: their number; 0 where it is not given.
    process: this one's number; −1 where it is not given.

  Raises:
    ConfigError: the flags do not go together.
  """
  if coordinator or processes or process >= 0:
    if not (re.fullmatch(r'.+:\d+', coordinator) and 0 <= process < processes):
      raise ConfigError(
        'several processes need all of --coordinator_address=HOST:PORT, --num_processes=N and '
        f'--process_id, from 0 to N - 1, not "{coordinator}", {processes} and {process}'
      )
    return Place(coordinator, processes, process) if processes > 1 else None
  if all(name in os.environ for name in _SLURM_STEP) and int(os.environ.get('SLURM_NTASKS', 1)) > 1:
    return Place()
  return Place() if _tpu_workers() > 1 else None


def _tpu_workers() -> int:
  """Return the number of hosts of this TPU, by GKE's variables or the virtual machine's metadata; 0
  where there is none.
  """
  slices = int(os.environ.get('MEGASCALE_NUM_SLICES') or 1)
  names = os.environ.get('TPU_PROCESS_ADDRESSES') or os.environ.get('TPU_WORKER_HOSTNAMES')
  has_tpu = os.path.exists('/dev/accel0') or os.path.exists('/dev/vfio/0')
  if names is None and has_tpu and 'TPU_SKIP_MDS_QUERY' not in os.environ:
    server = os.environ.get('GCE_METADATA_IP', 'metadata.google.internal')
    request = urllib.request.Request(
      f'http://{server}/computeMetadata/v1/instance/attributes/worker-network-endpoints',
      headers={'Metadata-Flavor': 'Google'},
    )
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=3) as answer:
      names = answer.read().decode()
  return slices * len(names.split(',')) if names else 0


def is_watched() -> bool:
  """Return whether `watch` started this process."""
  return _CHILD in os.environ


def join(where: Place) -> None:
  """Join the other processes, in a child of `watch` and before any other operation of jax.

  Raises KdJaxError where they cannot be reached.
  """
  import jax

  _die_with_parent()
  # Gloo, which carries the data between CPUs, writes of its connections to file 1: standard output
  # gets another file.
  sys.stdout = os.fdopen(
    os.dup(1), 'w', buffering=1, encoding=sys.stdout.encoding, errors=sys.stdout.errors
  )
  os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
  try:
    jax.distributed.initialize(
      *where,
      cluster_detection_method='deactivate' if where.coordinator else None,
      heartbeat_timeout_seconds=HEARTBEAT,
      shutdown_timeout_seconds=_PATIENCE,
    )
  except (RuntimeError, ValueError) as error:
    raise KdJaxError(
      f'the processes of this run cannot join ({one_line(error)}): start all of them within 5 '
      f'minutes, with the same coordinator, {where.coordinator or "which jax finds by itself"}'
    ) from error


@contextlib.contextmanager
def leaving_when_lost() -> Iterator[None]:
  """End this process with LOST at once where an operation fails because another process is gone."""
  import jax

  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if jax.process_count() == 1 or not _GONE.search(str(error)):
      raise
    print(f'E0000 00:00:00 {one_line(error)}', file=sys.stderr, flush=True)
    os._exit(LOST)  # the usual way out waits for the other


def watch(command: Sequence[str], say: Callable[[str], None]) -> int:
  """Run a command that joins others, hand signals on to it, and return its exit status: LOST where
  another process is gone.

  `say` is given one line where the command did not end by itself. XLA's log is not shown, but for a
  line that explains this.
  """
  process = subprocess.Popen(
    command,
    stderr=subprocess.PIPE,
    encoding=sys.stderr.encoding,
    errors='replace',
    start_new_session=True,
    env={**os.environ, _CHILD: str(os.getpid())},
  )
  noise: collections.deque[str] = collections.deque(maxlen=200)
  held: list[str] = []
  errors = cast(IO[str], process.stderr)  # of a process with a pipe there is one
  reader = threading.Thread(target=_sift, args=(errors, noise, held))
  reader.start()

  def hand_on(number: int, frame: object) -> None:
    with contextlib.suppress(ProcessLookupError):
      process.send_signal(number)

  signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
  before = {number: signal.signal(number, hand_on) for number in signals}
  try:
    status = process.wait()
    reader.join()
  finally:
    errors.close()
    for number, handler in before.items():
      signal.signal(number, handler)
  if status in (LOST, -signal.SIGABRT):
    reason = next((line for line in noise if _GONE.search(line)), '')
    reason = one_line(reason.partition('] ')[2] or reason)
    say(
      f'another process of this run is gone{f" ({reason})" if reason else ""}; what was saved is '
      'kept: start the same command again on every host, and it goes on'
    )
    return LOST
  sys.stderr.writelines(held)
  if status < 0:
    say(
      f'the work was ended by {signal.Signals(-status).name}; what was saved is kept: the same '
      'command again goes on'
    )
    return 128 - status
  return status


def _sift(lines: Iterable[str], noise: collections.deque[str], held: list[str]) -> None:
  """Show what is not XLA's log, and what does not follow a fatal line of it (its stack).

  An error of the log that may mean that a process is gone can go on over several lines. What
  follows one is held back: it may be this, or a line of kd_jax.
  """
  fatal = gone = False
  for line in lines:
    logged = bool(_NOISE.match(line))
    if logged and line.startswith('F'):
      fatal = True
    if logged and line.startswith('E') and _GONE.search(line):
      gone = True
    if fatal or logged:
      noise.append(line)
    elif gone:
      held.append(line)
    else:
      sys.stderr.write(line)
      sys.stderr.flush()


def _die_with_parent() -> None:
  """End this process with the one that the user started. On Linux."""
  if sys.platform == 'linux':
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(os.environ[_CHILD]):  # it was quicker
      os.kill(os.getpid(), signal.SIGKILL)
