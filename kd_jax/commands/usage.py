"""What `python launch.py --help` prints, but for the keys."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

_TEXT = """Distils a network. Without flags: the quick start, a small study on real digits, a minute or two on a laptop.

  {program}
  {program} --config=cifar10_kd --workdir=runs/kd
  {program} --config=cifar10_kd --workdir=runs/short --config.epochs=6 --config.kd.temperature=4

The same command again goes on where the last one was stopped. A study is many runs, and one table of them:

  {program} --config=paper/digits --workdir=runs/digits
  python -m kd_jax.report runs/digits

  --config=NAME       a configuration that comes with kd_jax, or a file of your own (default: quickstart). The names are
                      {names}
  --workdir=DIR       where everything of the run is kept (default: runs/<name of the config>)
  --workers=N         of a study: processes that work on it, each on its share of the cores (default: 1)
  --slurm_workers=N   of a study: submit N workers to Slurm, with submitit's parameters in --slurm=timeout_min=240,slurm_partition=gpu
  --dry_run           of a study: print its runs, their operations and about how long they take; train nothing
  --coordinator_address=HOST:PORT --num_processes=N --process_id=I
                      several processes that share one run, on as many hosts: process 0's address, their number, and which one
                      this is; on a TPU pod and under srun they are found by themselves
  --config.KEY=VALUE  changes a key; of a study, in all its rows, and scale, seeds and sweep_seeds are keys, too. The keys
                      with their defaults, which the file may change:

"""


def text(program: str, names: Sequence[str]) -> str:
  """Return the usage of the command, which the user calls `program`, with the names of the
  configurations that come with kd_jax.
  """
  shown = textwrap.fill(
    ', '.join(names), 122, initial_indent=22 * ' ', subsequent_indent=22 * ' '
  ).lstrip()
  return _TEXT.format(program=program, names=shown)
