"""Commands in forks of a process that has imported what they need: such a start costs next to
nothing, where one of Python and JAX takes two seconds of a processor. No tests here.

That process has asked for no device, so that a fork may compute.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 600  # seconds for a command
LATE = (
  'sklearn.datasets',
  'PIL.Image',
  'tensorflow_datasets',
  'orbax.checkpoint',
  'matplotlib.figure',
  'jax.export',
  'rich.table',
  'kd_jax.commands.run',
  'kd_jax.studies.definition',
  'kd_jax.studies.workers',
  'kd_jax.deploy.export',
  'kd_jax.deploy.predict',
  'kd_jax.verify.crosscheck',
  'kd_jax.verify.live',
  'kd_jax.report.study_page',
  'kd_jax.report.run_page',
  'kd_jax.runs.inference',
  'kd_jax.studies.estimate',
  'kd_jax.studies.slurm',
  'ml_collections.config_flags',
)


@functools.cache
def _server() -> subprocess.Popen:
  """Return the process, one for all tests of this one; it ends when its input does."""
  process = subprocess.Popen(
    [sys.executable, '-m', 'tests.forks'],
    cwd=ROOT,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )

  def end() -> None:
    process.communicate(timeout=PATIENCE)

  atexit.register(end)
  return process


def python(
  *arguments: str | os.PathLike,
  cwd: str | os.PathLike | None = None,
  env: Mapping[str, str] | None = None,
  timeout: float = PATIENCE,
) -> subprocess.CompletedProcess:
  """Return what comes of Python with these arguments, which begin with a file, `-m` or `-c`, as
  `subprocess.run([sys.executable, *arguments], capture_output=True, text=True)` does.

  A variable that an import reads once, such as those of JAX, is what it was at the first call.
  """
  server = _server()
  with tempfile.TemporaryDirectory(prefix='forks-') as place:
    printed = [Path(place, name) for name in ('out', 'err')]
    request = {
      'arguments': [os.fspath(argument) for argument in arguments],
      'cwd': os.fspath(cwd or os.getcwd()),
      'environment': dict(os.environ if env is None else env),
      'timeout': timeout,
      'printed': [str(file) for file in printed],
    }
    server.stdin.write(json.dumps(request) + '\n')
    server.stdin.flush()
    code = int(server.stdout.readline())
    return subprocess.CompletedProcess(
      arguments, code, *(file.read_text(errors='replace') for file in printed)
    )


def prepare() -> None:
  """Import what commands would import late, so that forks need not."""
  # a child that computes has no thread of its parent to wait for
  warnings.filterwarnings('ignore', message='.*fork.*')
  warnings.filterwarnings('ignore', category=DeprecationWarning)
  for name in LATE:
    importlib.import_module(name)


def forked(
  function: Callable[[], object], cwd: Path, out: Path, err: Path | None = None, *, timeout: float
) -> int:
  """Call a function in a fork whose output goes to files, and return its exit code: that of a
  signal, negative, where it took too long.
  """
  began = time.monotonic()
  sys.stdout.flush()
  sys.stderr.flush()
  process = os.fork()
  if process == 0:
    _in_fork(function, cwd, out, err)
  while time.monotonic() - began < timeout:
    ended, status = os.waitpid(process, os.WNOHANG)
    if ended:
      return os.waitstatus_to_exitcode(status)
    time.sleep(0.005)
  os.kill(process, signal.SIGKILL)
  return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _in_fork(function: Callable[[], object], cwd: Path, out: Path, err: Path | None) -> None:
  code = 1
  try:
    os.chdir(cwd)
    for number, path in ((1, out), (2, err or out)):
      os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.path.append('')
    sys.dont_write_bytecode = True
    code = function() or 0
  except SystemExit as stopped:
    code = _code(stopped)
  except BaseException:
    traceback.print_exc()
  finally:
    threading._shutdown()  # as Python does at its end: waits for threads that are not daemons
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _code(stopped: SystemExit) -> int:
  """Return the exit code, and print what Python would print."""
  if stopped.code is None or isinstance(stopped.code, int):
    return stopped.code or 0
  print(stopped.code, file=sys.stderr)
  return 1


def _python(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
  """What Python does with its arguments."""
  os.environ.clear()
  # launch.py starts itself anew where the allocator's settings are not in the environment
  os.environ.update({'GLIBC_TUNABLES': '', **environment})
  warnings.resetwarnings()
  warnings.simplefilter('ignore')
  if encoding := environment.get('PYTHONIOENCODING'):
    sys.stdout.reconfigure(encoding=encoding)
    sys.stderr.reconfigure(encoding=encoding)
  how, *rest = arguments
  sys.orig_argv = [sys.executable, *arguments]  # of which a command starts workers
  if how == '-c':
    sys.argv = ['-c', *rest[1:]]
    exec(compile(rest[0], '<string>', 'exec'), {'__name__': '__main__'})
  elif how == '-m':
    sys.argv = rest
    sys.path.insert(0, os.getcwd())
    runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
  else:
    sys.argv = list(arguments)
    runpy.run_path(how, run_name='__main__')


def serve() -> None:
  """Answer requests, a line each on standard input, with exit codes."""
  prepare()
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)
  requests, null = os.fdopen(os.dup(0)), os.open(os.devnull, os.O_RDONLY)
  os.dup2(null, 0)
  for line in requests:
    asked = json.loads(line)
    code = forked(
      lambda asked=asked: _python(asked['arguments'], asked['environment']),
      asked['cwd'],
      *asked['printed'],
      timeout=asked['timeout'],
    )
    answers.write(f'{code}\n')
    answers.flush()


if __name__ == '__main__':
  serve()
