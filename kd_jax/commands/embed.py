"""`kd-jax embed`: a student distilled from a table of embeddings, on pictures without labels."""

from __future__ import annotations

import os
from pathlib import Path

from kd_jax.commands.command_line import Parser, prog

_TEXT = """Distils a student from a table of embeddings, on pictures without labels.

  kd-jax embed --table=dino.csv --config.unlabelled_dataset=photos \\
      --workdir=runs/dino
  kd-jax probe runs/dino --config=cifar10_nokd

The table has a row for each picture, by its path below the folder: a .csv of names
and numbers, a dictionary that torch.save wrote, .safetensors, or what
kd-jax table --embeddings wrote.

--config.method_options=objective=mse chooses what is compared: cosine (the
default), mse, rkd, sp, pkt or bank."""


def parser() -> Parser:
  """Return the arguments of the command, but for those of its configuration."""
  made = Parser(prog('embed'), _TEXT)
  made.add_argument('--table', required=True, metavar='FILE', help='of the embeddings')
  config = 'the keys of the training (default: embedding, which comes with kd_jax)'
  made.add_argument('--config', default='embedding', metavar='NAME', help=config)
  workdir = "where everything of the run is kept (default: runs/<the table's name>)"
  made.add_argument('--workdir', default='', metavar='DIR', help=workdir)
  made.epilog = '--config.KEY=VALUE changes a key, as of kd-jax run, whose help lists them.'
  return made


def main(arguments: list[str]) -> int:
  """Distil a student; return the exit code."""
  own = parser()
  given, rest = own.parse_known_args(arguments)
  from kd_jax import config as configuration
  from kd_jax.commands import config_file
  from kd_jax.files import places
  from kd_jax.runs import embedded
  from kd_jax.studies import definition
  from kd_jax.text import duration
  from kd_jax.train.loop import Interrupted

  rest.append(f'--config.teacher_checkpoint={given.table}')
  chosen, _ = config_file.parse(given.config, rest, command=own.prog, other_flags=own.flags())
  if definition.is_study(chosen):
    own.error('--config is a study, and a student is distilled by a single run')
  config = configuration.resolve(chosen)
  workdir = os.path.expanduser(given.workdir) or str(Path('runs') / Path(given.table).stem)
  places.check_local('--workdir', workdir)
  try:
    row = embedded.distil(config, workdir)
  except Interrupted:
    print(f'Stopped; everything is saved in {workdir}. The same command goes on from here.')
    return 130
  print(
    f'{row["student"]}: {row["epochs"]} epochs of {row["train_examples"]:,} pictures in '
    f'{duration(row["seconds"])}; of epoch {row["best_epoch"]}. What its features are worth:\n\n'
    f'  kd-jax probe {workdir} --config=CONFIG_OF_LABELLED_IMAGES'
  )
  return 0
