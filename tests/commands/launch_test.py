"""The command line: what it understands, and some of what it does not; all of that is in
bad_cases.py.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from absl import logging

import kd_jax.runs.run
from kd_jax import config as configuration
from kd_jax import models
from kd_jax.commands import config_file, main, run
from kd_jax.files.networks import save_network
from kd_jax.train import loop
from kd_jax.types import NetworkSpec
from tests import forks, tiny

ROOT = Path(__file__).resolve().parents[2]
# ml_collections loads a configuration file by a function that Python 3.11 calls deprecated.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')


class Outcome(NamedTuple):
  code: int
  out: str
  err: str


@pytest.fixture
def here(tmp_path, monkeypatch):
  """A folder with a file, which the command is given in."""
  folder = tmp_path / 'here'
  folder.mkdir()
  (folder / 'file').write_text('mine')
  monkeypatch.chdir(folder)
  monkeypatch.setattr(sys, 'path', list(sys.path))  # an own network's folder is added
  monkeypatch.setattr(sys, 'dont_write_bytecode', True)  # of the configuration files
  return folder


@pytest.fixture
def command(here, monkeypatch, capsys):
  """Does in this process what `python launch.py …` does."""
  monkeypatch.setattr(loop, 'run', lambda *rest, **more: pytest.fail('it trains'))
  verbosity = logging.get_verbosity()

  def call(*arguments: str, program: str = 'launch.py') -> Outcome:
    monkeypatch.setattr(sys, 'argv', [program, *arguments])
    try:
      code = main.call(*main.subcommand(arguments))
    except SystemExit as stopped:
      code = stopped.code
    finally:
      # under this name ml_collections loads every configuration file
      sys.modules.pop('config_config', None)
    return Outcome(code, *capsys.readouterr())

  yield call
  logging.set_verbosity(verbosity)


def process(folder, *arguments: str, program: Path = ROOT / 'launch.py') -> Outcome:
  done = forks.python(program, *arguments, cwd=folder)
  return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def kd_jax_script(tmp_path):
  """The file that an installer writes for the command kd-jax."""
  script = tmp_path / 'bin' / 'kd-jax'
  script.parent.mkdir()
  script.write_text(
    'import sys\n\nfrom kd_jax.commands.main import command\n\nif __name__ == "__main__":\n  '
    'sys.exit(command())\n'
  )
  return script


def contents(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
    for path in folder.rglob('*')
  }


def assert_refused(outcome, said, here, before):
  assert outcome.code == 2 and outcome.out == ''
  (line,) = outcome.err.splitlines()
  assert line.startswith('launch.py: ') and said in line
  assert contents(here) == before


def test_a_batch_that_the_devices_cannot_share(command, here):
  before = contents(here)
  outcome = command('--config=digits_kd', '--config.batch_size=60')
  assert_refused(outcome, '60 images of a batch cannot be shared evenly by 8 devices', here, before)


@pytest.mark.parametrize(
  'spec',
  [NetworkSpec('thin_resnet14', 7, (16, 16, 1)), NetworkSpec('thin_resnet8', 10, (16, 16, 1))],
)
def test_an_own_network_that_does_not_fit(command, here, spec):
  save_network(here / 'network', spec, tiny.variables(models.build(spec)), {})
  before = contents(here)
  assert_refused(
    command('--config=digits_kd', '--config.teacher_checkpoint=network'),
    'teacher_checkpoint network is',
    here,
    before,
  )


def test_a_published_network_of_another_architecture(command, here, pretrained_dir):
  before = contents(here)
  outcome = command(
    '--config=digits_kd',
    '--config.dataset=digits32',
    '--config.teacher=resnet8',
    '--config.student=resnet8',
    f'--config.teacher_checkpoint={pretrained_dir}/resnet26_cifar10.pth',
  )
  assert_refused(outcome, 'resnet26_cifar10.pth', here, before)


@pytest.mark.parametrize(
  ('arguments', 'said'),
  [
    ('--config.epoch=3', "unknown configuration key 'epoch'. Did you mean 'epochs'?"),
    ('--config=nosuch.py', "No such file or directory: 'nosuch.py'"),
    (
      '--config=digits_kd --config.batch_size=2000 --workdir=new',
      'a batch of 2000 needs at least as many images',
    ),
    ('--config=digits_kd --workdir=file', 'cannot be written (File exists)'),
  ],
)
def test_mistakes_as_processes(here, arguments, said):
  before = contents(here)
  assert_refused(process(here, *arguments.split()), said, here, before)


def test_help_lists_every_key(command, here):
  before = contents(here)
  for argument in ('--help', '-h', '--helpfull'):
    outcome = command(argument)
    assert outcome.code == 0 and outcome.err == ''
    for name in configuration.names():
      assert re.search(rf'(^|[ ,]){re.escape(name)}=', outcome.out, re.MULTILINE), name
  assert contents(here) == before


def test_help_as_a_process(here):
  outcome = process(here, '--help')
  assert outcome.code == 0 and outcome.err == '' and 'python launch.py --config=' in outcome.out


def test_the_installed_command_speaks_of_itself(command, here, kd_jax_script):
  outcome = command('--config=cifar10_kdd', program='/usr/bin/kd-jax')
  assert outcome.code == 2 and outcome.err.startswith(
    "kd-jax: unknown configuration 'cifar10_kdd'. Did you mean 'cifar10_kd'?"
  )
  outcome = process(here, 'run', '--help', program=kd_jax_script)
  assert (
    outcome.code == 0
    and outcome.err == ''
    and 'kd-jax --config=cifar10_kd' in outcome.out
    and 'launch.py' not in outcome.out
  )


def test_an_older_installation_s_script_still_starts_it(here, kd_jax_script):
  kd_jax_script.write_text(kd_jax_script.read_text().replace('kd_jax.commands.main', 'kd_jax.main'))
  outcome = process(here, '--version', program=kd_jax_script)
  assert outcome.code == 0 and outcome.out.startswith('kd-jax ')


def test_the_installed_command_starts_workers(here, kd_jax_script):
  """Each of the two says itself that it finds no data; this process prepares none."""
  before = contents(here)
  outcome = process(
    here,
    '--config',
    'paper/digits',
    '--workers=2',
    '--config.dataset=cifar10',
    '--config.data_dir=nosuch',
    program=kd_jax_script,
  )
  assert outcome.code == 2
  said = [
    line
    for line in outcome.err.splitlines()
    if line.startswith("kd-jax: row 'NOKD': the data directory ")
  ]
  assert len(said) == 2 and len(outcome.err.splitlines()) == 2 and contents(here) == before


@pytest.fixture
def handed(monkeypatch):
  """What the command hands to kd_jax.runs.run."""
  calls = []

  def run(config, folder, *, after):
    calls.append((config, str(folder)))
    return [{'name': 'student', 'test_accuracy': 0.5, 'test_examples': 50}]

  monkeypatch.setattr(kd_jax.runs.run, 'run', run)
  return calls


def test_without_flags_it_is_the_quick_start_from_any_folder(command, monkeypatch):
  called = []
  monkeypatch.setattr(
    run, 'many', lambda study, folder, *more: called.append((study.definition.title, folder)) or 0
  )
  assert command() == Outcome(0, '', '') and called == [
    ('Digits: a teacher in place of labels', 'runs/quickstart')
  ]


def test_without_flags_of_a_run_it_says_where_results_lie(command, handed):
  outcome = command('--config=digits_kd')
  ((config, folder),) = handed
  assert outcome.code == 0 and outcome.err == '' and 'Results lie in runs/digits_kd' in outcome.out
  assert config.dataset == 'digits' and folder == 'runs/digits_kd'


def test_a_key_that_every_row_sets_is_refused(command, here):
  before = contents(here)
  assert_refused(
    command('--config.method=rkd'),
    'every row of this study sets method, so that rkd would change nothing: choose a '
    'single run, such as --config=digits_kd --config.method=rkd',
    here,
    before,
  )


@pytest.mark.parametrize(
  'arguments', [['--config=cifar10_rkd'], ['-config', 'cifar10_rkd'], ['--config', 'cifar10_rkd']]
)
@pytest.mark.parametrize('program', ['launch.py', 'kd-jax'])
def test_a_configuration_by_its_bare_name(command, handed, program, arguments):
  outcome = command(*arguments, '--config.seed=3', program=program)
  ((config, folder),) = handed
  assert outcome.code == 0 and (config.method, config.seed, folder) == (
    'rkd',
    3,
    'runs/cifar10_rkd',
  )


def test_a_study_by_its_bare_name(command, monkeypatch):
  called = []
  monkeypatch.setattr(
    run,
    'many',
    lambda study, folder, given, arguments: (
      called.append((study.definition.title, folder, given.workers, given.dry_run)) or 0
    ),
  )
  assert command('--config=paper/digits', '--dry_run').code == 0
  assert called == [('Digits: does a teacher help?', 'runs/digits', 1, True)]


def test_every_configuration_has_a_bare_name():
  assert {'quickstart', 'digits_kd', 'cifar10_kd', 'paper/digits'} <= set(config_file.names())
  assert {config_file.CONFIGS / f'{name}.py' for name in config_file.names()} == set(
    (ROOT / 'configs').rglob('*.py')
  )


@pytest.mark.parametrize('name', ['digits_kd', 'cifar10_kd'])
def test_flags_change_what_the_file_says(command, handed, name):
  path = str(ROOT / 'configs' / f'{name}.py')
  assert (
    command(
      '--config',
      path,
      '--config.epochs=6',
      '--config.seed',
      '3',
      '--config.kd.temperature=4',
      '--config.mean=(.5,)',
      '--config.std=(.25,)',
      '--config.baseline',
    ).code
    == 0
  )
  ((config, folder),) = handed
  assert (config.epochs, config.seed, config.options['kd']['temperature']) == (6, 3, 4.0)
  assert (config.mean, config.std, config.baseline) == ((0.5,), (0.25,), True)
  assert folder == f'runs/{name}'


def test_the_workdir_is_the_one_named(command, handed):
  assert 'Results lie in elsewhere' in command('--config=digits_kd', '--workdir=elsewhere').out
  assert handed[0][1] == 'elsewhere'


def test_the_workdir_may_lie_at_home(command, handed, monkeypatch):
  monkeypatch.setenv('HOME', '/at/home')
  assert command('--config=digits_kd', '--workdir=~/runs/mine').code == 0
  assert handed[0][1] == '/at/home/runs/mine'


@pytest.mark.parametrize(
  ('stop', 'said'),
  [
    (
      loop.Interrupted,
      'Stopped; everything is saved in elsewhere. The same command goes on from here.\n',
    ),
    (
      KeyboardInterrupt,
      'Stopped at once. What was saved in elsewhere is kept, and the same command goes on from '
      'it.\n',
    ),
  ],
)
def test_stopping_is_no_mistake(command, monkeypatch, stop, said):
  def interrupted(config, folder, *, after):
    raise stop

  monkeypatch.setattr(kd_jax.runs.run, 'run', interrupted)
  assert command('--config=digits_kd', '--workdir=elsewhere') == Outcome(130, said, '')


def test_faults_of_our_own_are_not_hidden(command, monkeypatch):
  def faulty(config, folder, *, after):
    raise ZeroDivisionError

  monkeypatch.setattr(kd_jax.runs.run, 'run', faulty)
  with pytest.raises(ZeroDivisionError):
    command('--config=digits_kd')
