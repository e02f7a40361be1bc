"""`kd-jax probe`: what the features of networks are worth on labelled images."""

from __future__ import annotations

from pathlib import Path

from kd_jax.commands.command_line import Parser, prog

_TEXT = """Measures frozen features on labelled images: the vote of the 20 nearest neighbours,
and a linear probe. Beside the networks stands the first one's architecture with
fresh weights, and beside each network with a classifier of these classes what
that gets by itself.

  kd-jax probe runs/dino runs/supervised --config=cifar10_nokd

The configuration names the images. The training images that it leaves
(--config.train_examples=500 of them, by its seed) are the neighbours and fit the
probe, its validation images choose the probe's penalty, its test images measure.
Intervals are of the choice of the test images alone: seeds add to them."""


def parser() -> Parser:
  """Return the arguments of the command, but for those of its configuration."""
  made = Parser(prog('probe'), _TEXT)
  networks = 'a workdir (its student), a folder under its networks/, or a .pth'
  made.add_argument('networks', metavar='NETWORK', nargs='+', help=networks)
  config = 'of the labelled images, as of kd-jax run'
  made.add_argument('--config', required=True, metavar='NAME', help=config)
  made.add_argument('--out', default='', metavar='FILE', help='a JSON file for what is measured')
  saved = 'a folder for the first network with its probe as classifier, for predict and export'
  made.add_argument('--save', default='', metavar='DIR', help=saved)
  made.epilog = '--config.KEY=VALUE changes a key, as of kd-jax run, whose help lists them.'
  return made


def main(arguments: list[str]) -> int:
  """Probe networks; return the exit code."""
  own = parser()
  flags = [argument for argument in arguments if argument.startswith('--config.')]
  given = own.parse_args([argument for argument in arguments if argument not in flags])
  from kd_jax import config as configuration
  from kd_jax.commands import config_file
  from kd_jax.files import places, records
  from kd_jax.measures import statistics
  from kd_jax.report import probe_table, tables, terminal
  from kd_jax.runs import probing
  from kd_jax.studies import definition

  for flag in ('out', 'save'):
    places.check_local(f'--{flag}', getattr(given, flag))
  chosen, _ = config_file.parse(given.config, flags, command=own.prog, other_flags=own.flags())
  if definition.is_study(chosen):
    own.error('--config is a study, and one data set is probed on: name a run, such as digits_kd')
  config = configuration.resolve(chosen)
  rows, classes = probing.probe(given.networks, config)
  record = probing.recorded(rows, config)
  print(tables.terminal(probe_table.table(record), width=terminal.width()))
  first, *others = rows[1], rows[0], *rows[2:]
  print(f'\n{record["test_examples"]:,} test images. {first.name}, its linear probe, against')
  for row in others:
    for what, right in (('the linear probe', row.linear), ('the classifier', row.itself)):
      if right is not None:
        apart = statistics.on_same_images(first.linear.tolist(), right.tolist())
        print(f'  {what} of {row.name}: {probe_table.points(apart)}')
  if given.out:
    records.write_json(given.out, record)
  if given.save:
    probing.save(rows[1], given.networks[0], Path(given.save), classes, config.dataset)
    print(f'\nIt classifies: kd-jax predict {given.save} IMAGES')
  return 0
