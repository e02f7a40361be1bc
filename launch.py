"""Starts a run: flags → configuration → kd_jax.run. `python launch.py --help` tells what can be set."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

from absl import app, flags, logging

ROOT = Path(__file__).resolve().parent
USAGE = """Distils a network. Without flags: the quick start, on real digits, a minute or two on a laptop.

  python launch.py
  python launch.py --config=configs/cifar10_kd.py --workdir=runs/kd
  python launch.py --config=configs/cifar10_kd.py --workdir=runs/short --config.epochs=6 --config.kd.temperature=4

The same command again goes on where the last one was stopped.

  --config=FILE       a file under configs/ (default: configs/quickstart.py)
  --workdir=DIR       where everything of the run is kept (default: runs/<name of the config>)
  --config.KEY=VALUE  changes a key; these are the keys with their defaults, which the file may change:

"""


def parse(argv: list[str]) -> list[str]:
  """Reads the flags. Every mistake is one line and exit code 2; `--help` prints the keys and exits 0."""
  from ml_collections import config_flags

  from kd_jax import config as configuration

  if {'-h', '--help', '-help', '--helpfull', '--helpshort'} & set(argv):
    print(USAGE + configuration.describe())
    sys.exit(0)
  if not any(a.lstrip('-').split('=')[0] == 'config' for a in argv[1:]):
    argv = [argv[0], f'--config={ROOT / "configs" / "quickstart.py"}', *argv[1:]]
  config_flags.DEFINE_config_file('config', sys_argv=argv)
  flags.DEFINE_string('workdir', '', 'where everything of the run is kept')
  try:
    left = flags.FLAGS(argv)
    given = flags.FLAGS.config
  except Exception as error:  # absl and ml_collections raise a dozen kinds; each is a mistake on the command line
    fail(_explain(error, argv, configuration.names()))
  if len(left) > 1:
    fail(f"unexpected argument '{left[1]}': flags look like --config.epochs=6; see --help")
  if given is None or not hasattr(given, 'to_dict'):
    fail('--config names no configuration file; give one of configs/*.py')
  return left


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  from kd_jax import config as configuration
  from kd_jax.run import run
  from kd_jax.train.loop import Interrupted
  from kd_jax.types import KdJaxError

  workdir = flags.FLAGS.workdir or str(Path('runs') / Path(flags.FLAGS['config'].config_filename).stem)
  try:
    run(configuration.resolve(flags.FLAGS.config), workdir)
  except KdJaxError as error:
    fail(str(error))
  except Interrupted:
    print(f'Stopped; everything is saved in {workdir}. The same command goes on from here.')
    sys.exit(130)
  print(f'\nResults lie in {workdir}: results.json, curves.png, comparison.png, and the networks under networks/.')


def fail(message: str) -> None:
  print(f'launch.py: {" ".join(message.split())}', file=sys.stderr)
  sys.exit(2)


def _explain(error: Exception, argv: list[str], names: list[str]) -> str:
  """One line for whatever the flag libraries raised."""
  for argument in argv[1:]:
    key, _, value = argument.lstrip('-').partition('=')
    if key.startswith('config.') and key.removeprefix('config.') not in names:
      near = difflib.get_close_matches(key.removeprefix('config.'), names, n=1)
      hint = f" Did you mean '{near[0]}'?" if near else ''
      return f"unknown configuration key '{key.removeprefix('config.')}'.{hint} `python launch.py --help` lists the keys"
    if key == 'config' and isinstance(error, OSError | ImportError):
      choices = ', '.join(sorted(p.name for p in (ROOT / 'configs').glob('*.py')))
      return f"the configuration file '{value}' cannot be read ({error}); those here are {choices}"
  return f'{type(error).__name__}: {error}'


if __name__ == '__main__':
  app.run(main, flags_parser=parse)
