"""Every command says what it takes, and refuses what it does not know in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kd_jax import __version__
from kd_jax.commands import command_line, main, report
from kd_jax.commands import run as run_command
from tests import forks

ROOT = Path(__file__).resolve().parents[2]
WORKERS = {
  'benchmarks/kd_jax_side.py',
  'benchmarks/peer.py',
  # the benchmarks start these by themselves
  *(
    f'benchmarks/accelerator/{name}.py'
    for name in ('correct', 'machine', 'programs', 'resumed', 'torch_side')
  ),
  *(f'benchmarks/sizes/{name}.py' for name in ('finished', 'pictures', 'reading')),
}
# These say what they take before JAX is there; the others look it up, or name it in their
# signatures.
LIGHT = (
  'kd_jax.report',
  'kd_jax.export',
  'kd_jax.predict',
  'kd_jax.crosscheck',
  'benchmarks',
  'benchmarks.every_config',
  'benchmarks.gallery',
  'benchmarks.quickstart',
  'benchmarks.roofline',
)


def commands() -> dict[str, list[str]]:
  """Name → arguments of the interpreter, of each file that can be run."""
  found = {'launch.py': ['launch.py']}
  for part in ('kd_jax', 'benchmarks'):
    for path in sorted((ROOT / part).rglob('*.py')):
      name = path.relative_to(ROOT).as_posix()
      if "__name__ == '__main__'" in path.read_text(encoding='utf-8') and name not in WORKERS:
        module = name.removesuffix('.py').removesuffix('/__main__').replace('/', '.')
        found[module] = ['-m', module]
  return found


COMMANDS = commands()


@pytest.fixture(scope='module')
def without_jax(tmp_path_factory) -> str:
  """A folder to look in first, which hides JAX."""
  folder = tmp_path_factory.mktemp('without')
  (folder / 'jax.py').write_text('raise ImportError("jax was imported")\n')
  return str(folder)


def run(name: str, *arguments: str, before: str = '') -> subprocess.CompletedProcess:
  if not before:
    return forks.python(*COMMANDS[name], *arguments, cwd=ROOT)
  return subprocess.run(
    [sys.executable, *COMMANDS[name], *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=600,
    env={**os.environ, 'PYTHONPATH': os.pathsep.join((before, str(ROOT)))},
  )


@pytest.mark.parametrize('name', COMMANDS)
def test_help(name, without_jax):
  done = run(name, '--help', before=without_jax if name in LIGHT else '')
  assert done.returncode == 0 and done.stderr == ''
  own = f'kd-jax {name.removeprefix("kd_jax.")}'
  said = own if name.startswith('kd_jax.') else f'python {" ".join(COMMANDS[name])}'
  assert '--' in done.stdout and said in done.stdout


@pytest.mark.parametrize('name', COMMANDS)
def test_a_mistake_is_one_line(name):
  done = run(name, '--nothing=1')
  assert done.returncode == 2 and done.stdout == '' and len(done.stderr.splitlines()) == 1


def test_help_may_be_read_in_part():
  """By `head`, say. The pipe has no reader from the start here."""
  reading, writing = os.pipe()
  os.close(reading)
  command = [sys.executable, *COMMANDS['launch.py'], '--help']
  done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=600)
  os.close(writing)
  assert (done.returncode, done.stderr) == (0, b'')


def test_hidden_jax_is_noticed(without_jax):
  assert 'jax was imported' in run('launch.py', '--help', before=without_jax).stderr


def test_they_are_found():
  assert {'launch.py', *LIGHT} <= set(COMMANDS)


@pytest.fixture
def kd_jax(monkeypatch, capsys):
  """Do in this process what `kd-jax …` does: its exit code, output and errors."""

  def call(*arguments):
    monkeypatch.setattr(sys, 'argv', ['/usr/bin/kd-jax', *arguments])
    try:
      code = main.call(*main.subcommand(arguments))
    except SystemExit as stopped:
      code = stopped.code or 0
    return code, *capsys.readouterr()

  return call


@pytest.mark.parametrize('argument', ['--help', '-h', '-help', '--helpfull'])
def test_the_command_lists_its_subcommands(kd_jax, argument):
  code, out, error = kd_jax(argument)
  assert (code, error) == (0, '') and all(f'\n  {name} ' in out for name in main.COMMANDS)


@pytest.mark.parametrize('name', main.COMMANDS)
@pytest.mark.parametrize('argument', ['--help', '-h', '-help'])
def test_a_subcommand_has_help_of_80_columns(kd_jax, name, argument):
  code, out, error = kd_jax(name, argument)
  assert (code, error) == (0, '') and out.startswith(f'usage: kd-jax {name}'.removesuffix(' run'))
  assert max(map(len, out.splitlines())) <= command_line.WIDTH


@pytest.mark.parametrize('name', main.COMMANDS)
def test_a_subcommand_refuses_a_misspelt_flag(kd_jax, name):
  code, out, error = kd_jax(name, '--nothing=1')
  assert code == 2 and not out and error.count('\n') == 1
  assert error.startswith(f'kd-jax {name}: '.replace(' run', ''))


def test_its_version(kd_jax):
  assert kd_jax('--version') == (0, f'kd-jax {__version__}\n', '')


def test_a_run_needs_no_subcommand(monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['kd-jax'])
  assert main.subcommand(['run', '--workers=2']) == ('run', ['--workers=2'])
  assert main.subcommand(['--workers=2']) == ('run', ['--workers=2'])
  assert main.subcommand([]) == ('run', []) and main.subcommand(['--help']) == ('', ['--help'])
  monkeypatch.setattr(sys, 'argv', ['launch.py'])
  assert main.subcommand(['--help']) == ('run', ['--help'])
  assert main.subcommand(['report', 'x']) == ('report', ['x'])


@pytest.mark.parametrize('flag', [['--out=x'], ['--out', 'x'], ['-out=x'], ['-out', 'x']])
def test_one_style_of_flags(flag):
  assert report.parser().parse_args(['run', *flag]).out == 'x'


@pytest.mark.parametrize(
  ('given', 'dry'),
  [('', False), ('--dry_run', True), ('--dry_run=false', False), ('--nodry_run', False)],
)
def test_a_flag_that_is_true_or_false(given, dry):
  found, rest = run_command.parser().parse_known_args(
    [*given.split(), '--config.seed', '-3', '--workdir', 'x', '--config.mean', '(-.5, 1)']
  )
  assert (found.dry_run, found.workdir) == (dry, 'x')
  assert rest == ['--config.seed', '-3', '--config.mean', '(-.5, 1)']


def test_a_fault_of_kd_jax_is_not_hidden(monkeypatch):
  monkeypatch.setattr(report, 'main', lambda arguments: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    main.call('report', [])


def test_ctrl_c_is_no_mistake(kd_jax, monkeypatch):
  def interrupted(arguments):
    raise KeyboardInterrupt

  monkeypatch.setattr(report, 'main', interrupted)
  assert kd_jax('report', 'x') == (130, '', 'Stopped.\n')
