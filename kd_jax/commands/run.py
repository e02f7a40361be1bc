"""Starts a run: flags → configuration → kd_jax.run.

The command `kd-jax`, and `python launch.py` in a checkout.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging

PACKAGE = Path(__file__).resolve().parents[1]
# Configurations lie inside the package where a wheel is installed, and beside it in a checkout.
CONFIGS = PACKAGE / 'configs' if (PACKAGE / 'configs').is_dir() else PACKAGE.parent / 'configs'
# Huge pages, and memory that one step gives back is there for the next: else the kernel clears it
# again each time, which takes longer than the arithmetic on it. `kd_jax.train.memory.give_back`
# returns it after each phase.
TUNABLES = ':'.join(
  f'glibc.malloc.{tunable}'
  for tunable in ('hugetlb=1', 'mmap_max=0', f'trim_threshold={2**40}', 'arena_max=1')
)
ONEDNN = '--xla_cpu_experimental_onednn_custom_call=true'
HELP = {'-h', '--help', '-help', '--helpfull', '--helpshort'}
_CONFIG = ('--config', '-config')


def command() -> None:
  """The command: parses sys.argv and runs it in this process, or in one with huge pages that takes
  its place.
  """
  settle_environment()
  try:
    app.run(main, flags_parser=parse)
  except BrokenPipeError:
    from kd_jax.commands.command_line import unread

    unread()


def parse(argv: list[str]) -> list[str]:
  """Reads the flags.

  Every mistake is one line and exit code 2; `--help` prints the keys and exits 0.
  """
  from ml_collections import config_flags

  from kd_jax import config as configuration
  from kd_jax.commands import output, usage

  output.settle()
  if HELP & set(argv):
    print(usage.text(program(), names()) + configuration.describe(), flush=True)
    sys.exit(0)
  argv = with_files(argv)
  logging.set_verbosity(logging.ERROR)  # what ml_collections warns of is refused below
  config_flags.DEFINE_config_file('config', sys_argv=argv)
  flags.DEFINE_string('workdir', '', 'where everything of the run is kept')
  flags.DEFINE_integer('workers', 1, 'processes that work on a study', lower_bound=1)
  flags.DEFINE_integer('slurm_workers', 0, 'of a study: workers to submit to Slurm', lower_bound=0)
  flags.DEFINE_list(
    'slurm', [], 'parameters of submitit for them, such as timeout_min=240,slurm_partition=gpu'
  )
  flags.DEFINE_bool('dry_run', False, 'print what a study would run, and train nothing')
  flags.DEFINE_string(
    'coordinator_address', '', 'of several processes that share a run: host:port of process 0'
  )
  flags.DEFINE_integer(
    'num_processes', 0, 'of several processes that share a run: how many they are', lower_bound=0
  )
  flags.DEFINE_integer(
    'process_id',
    -1,
    'of several processes that share a run: the number of this one, from 0',
    lower_bound=-1,
  )
  try:
    left = flags.FLAGS(argv)
    given = flags.FLAGS.config
    known = hasattr(given, 'to_dict')  # a file that could not be loaded says so only now
  # absl and ml_collections raise a dozen kinds; each is a mistake on the command line
  except Exception as error:
    fail(_explain(error, argv))
  if len(left) > 1:
    name, _, value = left[1].partition('=')
    fail(
      f"unexpected argument '{left[1]}': flags look like --config.epochs=6; see "
      f'--help.{_key_of(name, value)}'
    )
  if not known:
    fail(f'--config names no file whose get_config() returns a configuration;{_choices("")}')
  return left


def program() -> str:
  """What the user calls this command."""
  return 'python launch.py' if Path(sys.argv[0]).name == 'launch.py' else 'kd-jax'


def _start() -> list[str]:
  """The words that start this command again, in this folder."""
  return ['python', sys.argv[0]] if Path(sys.argv[0]).name == 'launch.py' else [program()]


def _resolves(arguments: Sequence[str]) -> bool:
  """Whether arguments of a run give a valid configuration.

  The flags of this process stay as they are.
  """
  from ml_collections import config_flags

  from kd_jax import config as configuration

  argv, values = with_files([sys.argv[0], *arguments]), flags.FlagValues()
  try:
    config_flags.DEFINE_config_file('config', flag_values=values, sys_argv=argv)
    values(
      [
        argument
        for number, argument in enumerate(argv)
        if number == 0 or argument.startswith('--config')
      ]
    )
    configuration.resolve(values.config)
  except (Exception, SystemExit):  # as where the flags of this process are read
    return False
  return True


def names() -> list[str]:
  """The configurations that come with kd_jax: 'cifar10_kd', …, 'paper/digits'."""
  return sorted(
    path.relative_to(CONFIGS).with_suffix('').as_posix() for path in CONFIGS.rglob('*.py')
  )


def with_files(argv: list[str]) -> list[str]:
  """The arguments with a file for each bare name that --config names; with that of the quick start
  where there is no --config.
  """
  if not any(argument.partition('=')[0] in _CONFIG for argument in argv[1:]):
    return [argv[0], f'--config={CONFIGS / "quickstart.py"}', *argv[1:]]
  given = [argv[0]]
  for before, argument in itertools.pairwise(argv):
    flag, equals, name = argument.partition('=')
    if before in _CONFIG:
      given.append(_file(argument))
    else:
      given.append(f'{flag}={_file(name)}' if flag in _CONFIG and equals else argument)
  return given


def main(argv: list[str]) -> None:
  """Runs what the flags say: one run, or a study."""
  del argv
  logging.set_verbosity(logging.WARNING)
  from kd_jax import config as configuration
  from kd_jax.commands import following
  from kd_jax.files import places
  from kd_jax.report import pictures, terminal
  from kd_jax.runs.run import run
  from kd_jax.studies import definition
  from kd_jax.train import hosts, parallel
  from kd_jax.train.loop import Interrupted
  from kd_jax.types import KdJaxError

  workdir = os.path.expanduser(flags.FLAGS.workdir) or str(
    Path('runs') / Path(flags.FLAGS['config'].config_filename).stem
  )
  given, workers, dry = flags.FLAGS.config, flags.FLAGS.workers, flags.FLAGS.dry_run
  if not configuration.is_utf8(workdir):
    fail(f'--workdir holds bytes that are no UTF-8, {workdir!r}: give it another name')
  try:
    places.check_local('--workdir', workdir)
    given_place = flags.FLAGS.coordinator_address, flags.FLAGS.num_processes, flags.FLAGS.process_id
    if definition.is_study(given):
      if given_place != ('', 0, -1):
        fail(
          '--coordinator_address, --num_processes and --process_id share out a single run; a study '
          'is shared by all who work in '
          'its --workdir: start the same command on each machine without them'
        )
      many(
        definition.resolve(given), workdir, workers=workers, dry=dry, jobs=flags.FLAGS.slurm_workers
      )
      return
    if flags.FLAGS.slurm_workers:
      fail(
        '--slurm_workers is for studies, such as --config=paper/digits, and --config is a single '
        'run'
      )
    if workers > 1 or dry:
      fail(
        f'--{"dry_run" if dry else "workers"} is for studies, such as --config=paper/digits, and '
        f'--config is a single run'
      )
    config, place = configuration.resolve(given), hosts.place(*given_place)
    if place and not hosts.is_watched():
      sys.exit(hosts.watch([sys.executable, *sys.orig_argv[1:]], complain))
    if place:
      hosts.join(place)
    with hosts.leaving_when_lost():
      rows = run(config, workdir, after=pictures.of_run)
  except KdJaxError as error:
    fail(str(error))
  except KeyboardInterrupt:
    print(
      f'Stopped at once. What was saved in {workdir} is kept, and the same command goes on from it.'
    )
    sys.exit(130)
  except Interrupted:
    if parallel.leads():
      print(f'Stopped; everything is saved in {workdir}. The same command goes on from here.')
    sys.exit(130)
  if not parallel.leads():
    return
  once = None if place else sys.argv[1:]  # several processes are not started by one command
  print(terminal.end_of_run(rows))
  commands = following.of_run(workdir, config, start=_start(), arguments=once, resolves=_resolves)
  print(
    f'\nResults lie in {workdir}: results.json, curves.png, comparison.png, and the networks under '
    f'networks/.\nNext:\n\n'
    f'{following.shown(commands)}\n\n`{program()} --help` lists what can be set.'
  )


def many(study, workdir: str, *, workers: int, dry: bool, jobs: int) -> None:
  """A study, by this process, by several, or by jobs of a cluster."""
  from kd_jax.commands import following
  from kd_jax.report import pictures, terminal
  from kd_jax.studies import estimate, slurm
  from kd_jax.studies import workers as engine

  if dry:
    estimate.dry_run(study, workdir)
    return
  if jobs:
    command = [sys.executable, *sys.orig_argv[1:], '--slurm_workers=0']
    made = slurm.submit(
      command, jobs, Path(workdir).absolute(), slurm.parameters(flags.FLAGS.slurm)
    )
    print(
      f'Submitted {", ".join(job.job_id for job in made)}. What they print is in {workdir}/jobs; '
      f'`squeue` shows them.'
    )
    return
  if workers > 1:
    status = engine.spread([sys.executable, *sys.orig_argv[1:], '--workers=1'], workers)
    if status:
      sys.exit(status)
  else:
    engine.work(study, workdir, after=pictures.of_study)
  if not engine.is_one_of_several():
    commands = following.of_study(workdir, start=_start(), arguments=sys.argv[1:])
    print(
      f'\n{terminal.end_of_study(workdir)}\n\nThe picture of it is {workdir}/comparison.png, and all '
      f'else lies beside it. Next:\n\n'
      f'{following.shown(commands)}'
    )


def settle_environment() -> None:
  """Sets what must be in the environment before JAX, or before the process, starts; what the user
  has set goes before it.

  Small convolutions are XLA's slowest on an x86 CPU: oneDNN, which is in its wheels, takes them.
  The flag is an experimental one, and one that XLA does not know ends the process: it is set for
  the versions alone that it was tried with.

  On a CPU a step writes hundreds of megabytes, and the kernel takes longer to hand pages out than
  the arithmetic on them. On Linux this process is started anew, with glibc set to ask for huge ones
  and to keep them from step to step.
  """
  from kd_jax.commands import accelerators

  accelerators.settle()
  flags_of_xla = os.environ.get('XLA_FLAGS', '')
  if accelerators.is_tried() and ONEDNN.partition('=')[0] not in flags_of_xla:
    os.environ['XLA_FLAGS'] = f'{flags_of_xla} {ONEDNN}'.strip()
  keep_compiled()
  if sys.platform == 'linux' and 'GLIBC_TUNABLES' not in os.environ:
    os.environ['GLIBC_TUNABLES'] = TUNABLES
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def keep_compiled() -> None:
  """Programs that XLA compiles will be kept in the user's cache folder, unless JAX's own setting
  says otherwise.

  Not on a machine without accelerators where oneDNN takes convolutions: XLA cannot write such
  programs, and complains of each.
  """
  from kd_jax.commands import accelerators

  if accelerators.present() or ONEDNN not in os.environ.get('XLA_FLAGS', ''):
    os.environ.setdefault(
      'JAX_COMPILATION_CACHE_DIR',
      os.path.expanduser(
        os.path.join(os.environ.get('XDG_CACHE_HOME') or '~/.cache', 'kd_jax', 'compiled')
      ),
    )


def fail(message: str) -> None:
  """One line, and exit code 2."""
  complain(message)
  sys.exit(2)


def complain(message: str) -> None:
  """One line on standard error."""
  from kd_jax.commands import command_line

  command_line.complain(program().split()[-1], message)


def _explain(error: Exception, argv: list[str]) -> str:
  """One line for whatever the flag libraries raised."""
  from kd_jax import config as configuration
  from kd_jax import text
  from kd_jax.types import KdJaxError

  known = configuration.names()
  keys = [match[1] for argument in argv[1:] if (match := re.match(r'--?config\.([^=]*)', argument))]
  keys += re.findall('Key "(.+?)" does not exist', str(error))  # set in a configuration file
  for key in keys:
    if key not in known:
      hint = text.closest(key, known)
      return f"unknown configuration key '{key}'.{hint} `{program()} --help` lists the keys"
  if isinstance(error, OSError | ImportError):
    reason = (
      str(error)
      .splitlines()[-1]
      .strip()
      .removeprefix('Configuration is not available because of an earlier failure to load: ')
    )
    missing = re.search("No such file or directory: '(.+)'", reason)
    return (
      f'the configuration file cannot be read ({reason}).{_choices(missing[1] if missing else "")}'
    )
  if 'Traceback (most recent call last)' in str(error):  # of the file's get_config()
    return f'the configuration file fails: {str(error).splitlines()[-1]}'
  if isinstance(error, flags.UnrecognizedFlagError):
    name, _, value = str(error.flagvalue).partition('=')
    return str(error) if 'Did you mean' in str(error) else f'{error}.{_key_of(name, value)}'
  if isinstance(error, flags.IllegalFlagValueError):
    return text.mistyped(str(error), configuration.defaults())
  if isinstance(error, flags.Error | KdJaxError):
    return str(error)
  return f'the configuration file fails: {type(error).__name__}: {error}'


def _key_of(name: str, value: str | None) -> str:
  """What key of the configuration a flag or an argument was meant to be."""
  from kd_jax import config as configuration
  from kd_jax import text

  return text.key_of(name.lstrip('-'), value or '', configuration.names())


def _file(name: str) -> str:
  """The file of a configuration that comes with kd_jax; another name has to be a file."""
  from kd_jax.files import places

  if name in names():
    return str(CONFIGS / f'{name}.py')
  if reason := places.refusal('--config', name):
    fail(reason)
  if name and '.py' not in name and not os.path.isfile(name):
    fail(f"unknown configuration '{name}'.{_choices(name)}")
  return name


def _choices(name: str) -> str:
  """What --config takes, for the end of a message, and the name that was meant, where
  one is close.
  """
  from kd_jax import text

  known = names()
  bare = re.sub(r'^(.*/)?configs/|\.py$', '', name)
  return (
    f'{text.closest(bare, known)} --config takes a file, or one of the names {", ".join(known)}'
  )
