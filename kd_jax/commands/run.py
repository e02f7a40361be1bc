"""`kd-jax run`, `kd-jax` and `python launch.py`: one run, or a study."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kd_jax.commands.command_line import Parser, at_least, complain, prog

if TYPE_CHECKING:
  from kd_jax.config import Config
  from kd_jax.studies.definition import Study

_ALONE = '', 0, -1  # the address of a process that shares its run with none
_BOOLEANS = {'true': True, 't': True, '1': True, 'false': False, 'f': False, '0': False}


def parser() -> Parser:
  """Return the flags of a run, but for those of its configuration."""
  from kd_jax.commands import usage

  made = Parser(prog('run'), usage.description(prog('run')))
  made.add_argument(
    '--config',
    metavar='NAME',
    help='a configuration that comes with kd_jax, or a file of your own (default: quickstart)',
  )
  workdir = 'where everything of the run is kept (default: runs/<name of the config>)'
  made.add_argument('--workdir', default='', metavar='DIR', help=workdir)
  workers = 'of a study: processes that work on it, each on its share of the cores (default: 1)'
  made.add_argument('--workers', type=at_least(1), default=1, metavar='N', help=workers)
  rows = "of a study: run these rows alone, divided by ';'; the records keep the others"
  made.add_argument('--rows', default='', metavar='NAME;…', help=rows)
  sweep = (
    'try these values on validation, and run the best; several --sweep: every combination. Of a '
    'single run it makes a study; of a study it is of --rows'
  )
  made.add_argument('--sweep', action='append', default=[], metavar='KEY=VALUE,…', help=sweep)
  jobs = 'of a study: submit N workers to Slurm'
  made.add_argument('--slurm_workers', type=at_least(0), default=0, metavar='N', help=jobs)
  slurm = "submitit's parameters for them, such as timeout_min=240,slurm_partition=gpu"
  made.add_argument('--slurm', default='', metavar='NAME=VALUE,…', help=slurm)
  made.add_argument(
    '--dry_run',
    type=_truth,
    nargs='?',
    const=True,
    default=False,
    metavar='BOOL',
    help='of a study: print its runs, their operations and about how long they take; train nothing',
  )
  made.add_argument('--nodry_run', dest='dry_run', action='store_false', help=argparse.SUPPRESS)
  shared = 'of several processes that share one run, on as many hosts: '
  address = f'{shared}the address of process 0'
  made.add_argument('--coordinator_address', default='', metavar='HOST:PORT', help=address)
  count = f'{shared}how many they are'
  made.add_argument('--num_processes', type=at_least(0), default=0, metavar='N', help=count)
  number = f'{shared}which one this is, from 0; on a TPU pod and under srun all three are known'
  made.add_argument('--process_id', type=at_least(-1), default=-1, metavar='I', help=number)
  made.epilog = usage.keys()
  return made


def main(arguments: list[str]) -> int:
  """Run what the arguments configure: one run, or a study. Return the exit code."""
  own = parser()
  given, rest = own.parse_known_args(arguments)
  from kd_jax import config as configuration
  from kd_jax.commands import config_file, sweeping
  from kd_jax.files import places
  from kd_jax.studies import definition
  from kd_jax.train import parallel
  from kd_jax.train.loop import Interrupted

  chosen, name = config_file.parse(given.config, rest, command=own.prog, other_flags=own.flags())
  rows = [row.strip() for row in given.rows.split(';') if row.strip()]
  if given.sweep and not definition.is_study(chosen):
    name += '_sweep'  # in the folder of the single run it could not lie
  chosen = sweeping.configured(chosen, sweeping.parse(given.sweep), rows)
  workdir = os.path.expanduser(given.workdir) or str(Path('runs') / name)
  if not configuration.is_utf8(workdir):
    own.error(f'--workdir holds bytes that are no UTF-8, {workdir!r}: give it another name')
  places.check_local('--workdir', workdir)
  try:
    if definition.is_study(chosen):
      if _address(given) != _ALONE:
        own.error(
          '--coordinator_address, --num_processes and --process_id share out a single run; a study '
          'is shared by all who work in its --workdir: start the same command on each machine '
          'without them'
        )
      return many(definition.resolve(chosen, only=rows), workdir, given, arguments)
    for flag in ('slurm_workers', 'dry_run', 'workers', 'rows'):
      if getattr(given, flag) != own.get_default(flag):
        own.error(
          f'--{flag} is for studies, such as --config=paper/digits, and --config is a single run'
        )
    return one(configuration.resolve(chosen), workdir, given, arguments)
  except KeyboardInterrupt:
    print(
      f'Stopped at once. What was saved in {workdir} is kept, and the same command goes on from it.'
    )
  except Interrupted:
    if parallel.is_process_0():
      print(f'Stopped; everything is saved in {workdir}. The same command goes on from here.')
  return 130


def one(config: Config, workdir: str, given: argparse.Namespace, arguments: Sequence[str]) -> int:
  """Train one run, in this process or as one of several. Return the exit code."""
  from kd_jax.commands import config_file, following
  from kd_jax.report import pictures, terminal
  from kd_jax.runs.run import run
  from kd_jax.train import hosts, parallel

  program = prog('run')
  place = hosts.place(*_address(given))
  if place:
    if not hosts.is_watched():
      again = [sys.executable, *sys.orig_argv[1:]]
      return hosts.watch(again, lambda message: complain(program, message))
    hosts.join(place)
  with hosts.leaving_when_lost():
    rows = run(config, workdir, after=pictures.of_run)
  if not parallel.is_process_0():
    return 0
  once = None if place else arguments  # several processes are not started by one command
  commands = following.of_run(
    workdir, config, start=_start(), arguments=once, resolves=config_file.resolves
  )
  print(
    f'{terminal.end_of_run(rows)}\n\nResults lie in {workdir}: results.json, curves.png, '
    f'comparison.png, and the networks under networks/.\nNext:\n\n{following.shown(commands)}\n\n'
    f'`{program} --help` lists what can be set.'
  )
  return 0


def many(study: Study, workdir: str, given: argparse.Namespace, arguments: Sequence[str]) -> int:
  """Work on a study in this process, in several, or in jobs of a cluster. Return the exit code."""
  from kd_jax.commands import following
  from kd_jax.report import pictures, terminal
  from kd_jax.studies import estimate, slurm, workers

  if given.dry_run:
    estimate.dry_run(study, workdir)
    return 0
  again = [sys.executable, *sys.orig_argv[1:]]
  if count := given.slurm_workers:
    parameters = slurm.parameters([pair for pair in given.slurm.split(',') if pair])
    folder = Path(workdir).absolute()
    jobs = slurm.submit([*again, '--slurm_workers=0'], count, folder, parameters)
    print(
      f'Submitted {", ".join(job.job_id for job in jobs)}. What they print is in {workdir}/jobs; '
      '`squeue` shows them.'
    )
    return 0
  if given.workers > 1:
    if status := workers.spread([*again, '--workers=1'], given.workers):
      return status
  else:
    workers.work(study, workdir, after=pictures.of_study)
  if not workers.is_one_of_several():
    commands = following.of_study(workdir, start=_start(), arguments=arguments)
    print(
      f'\n{terminal.end_of_study(workdir)}\n\nThe picture of it is {workdir}/comparison.png, and '
      f'all else lies beside it. Next:\n\n{following.shown(commands)}'
    )
  return 0


def _address(given: argparse.Namespace) -> tuple[str, int, int]:
  return given.coordinator_address, given.num_processes, given.process_id


def _start() -> list[str]:
  """Return the words that start this command again, in this folder."""
  program = prog('run')
  return ['python', sys.argv[0]] if program.startswith('python') else [program]


def _truth(text: str) -> bool:
  if text.lower() not in _BOOLEANS:
    raise argparse.ArgumentTypeError(f"it is true or false, not '{text}'")
  return _BOOLEANS[text.lower()]
