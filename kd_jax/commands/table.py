"""`kd-jax table`: a table of a teacher's logits, which is a teacher for later runs."""

from __future__ import annotations

from pathlib import Path

from kd_jax.commands.command_line import Parser, at_least, prog

_TEXT = """Writes a table of a teacher's logits, for runs to look up.

  kd-jax table --config=cifar10_kd --teacher=resnet26.pth --out=resnet26.npz
  kd-jax run --config=cifar10_kd --config.teacher_checkpoint=resnet26.npz

The table holds each training image in every view that crop_padding and flip make
of it, and the validation and test images as they are. Any run may use it that
shows its teacher no others, and one that would is refused before it starts."""


def parser() -> Parser:
  """Return the arguments of the command, but for those of its configuration."""
  made = Parser(prog('table'), _TEXT)
  config = 'the configuration of the runs, as of kd-jax run: it names the data'
  made.add_argument('--config', metavar='NAME', help=config)
  teacher = (
    'a workdir, a network folder, a .pth of PyTorch or a .jax of jax.export '
    "(default: the configuration's teacher_checkpoint)"
  )
  made.add_argument('--teacher', default='', metavar='PATH', help=teacher)
  made.add_argument('--out', required=True, metavar='FILE', help='the table, a .npz')
  embeddings = 'write the embeddings of the images of unlabelled_dataset, not logits'
  made.add_argument('--embeddings', action='store_true', help=embeddings)
  views = (
    'of embeddings: of so many views of each picture, drawn by crop_padding, flip and augment '
    '(default: of the picture as it is)'
  )
  made.add_argument('--views', type=at_least(0), default=0, metavar='N', help=views)
  made.epilog = '--config.KEY=VALUE changes a key, as of kd-jax run, whose help lists them.'
  return made


def main(arguments: list[str]) -> int:
  """Write a table; return the exit code."""
  own = parser()
  given, rest = own.parse_known_args(arguments)
  from kd_jax import config as configuration
  from kd_jax.commands import config_file
  from kd_jax.runs import embeddings, logits_table, preparation
  from kd_jax.studies import definition

  if given.teacher:
    rest.append(f'--config.teacher_checkpoint={given.teacher}')
  chosen, _ = config_file.parse(given.config, rest, command=own.prog, other_flags=own.flags())
  if definition.is_study(chosen):
    own.error('--config is a study, and a table is for single runs: name one, such as digits_kd')
  config = configuration.resolve(chosen)
  if not config.teacher_checkpoint or ',' in config.teacher_checkpoint:
    own.error('a table is of one teacher: name its file with --teacher')
  if given.views and not given.embeddings:
    own.error('--views is of a table of --embeddings; one of logits has every view: leave it out')
  preparation.start_devices(config)
  if given.embeddings:
    embeddings.of_teacher(Path(given.out), config, views=given.views, seed=config.seed)
    print(f'Students learn from it with kd-jax embed --table={given.out}')
    return 0
  logits_table.of_teacher(given.out, config)
  print(f'Runs look it up with --config.teacher_checkpoint={given.out}')
  return 0
