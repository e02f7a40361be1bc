"""Runs every configuration for CIFAR-10 briefly, from an imported teacher, and prints what each of
them costs beside KD.

  python -m benchmarks.every_config --teacher=resnet26_cifar10.pth --data_dir=…
  --workdir=/tmp/configs

A run is a process of its own, one after the other, so that its peak memory is its own; one that is
in the folder is not repeated. The times are of whatever else the machine does: leave it alone, or
read the ratios with care.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks import command

FLAGS = flags.FLAGS
flags.DEFINE_string('teacher', None, 'the imported teacher, a .pth file or a network folder')
flags.DEFINE_string(
  'data_dir', '', "where prepared data lies; empty: tensorflow_datasets' own folder"
)
flags.DEFINE_string('workdir', None, 'where the runs and table.json are put')
flags.DEFINE_integer('train_examples', 10_000, 'training images', lower_bound=128)
flags.DEFINE_integer(
  'epochs',
  2,
  'passes over them; two at least, since AB needs one for each of its phases',
  lower_bound=2,
)
flags.DEFINE_list('only', [], 'run these configurations alone, such as kd,oh; empty: all')

REPOSITORY = Path(__file__).parent.parent
FOLDER = REPOSITORY / 'configs'
UNLABELLED = ('stl', 'unsupervised')
# Dual training has nothing to train side by side where its teacher is there already: without it,
# both of its phases run.
OWN_TEACHER = 'dual from scratch'


def main(argv: list[str]) -> None:
  """Run what is missing and print the table."""
  if len(argv) > 1 or not (FLAGS.teacher and FLAGS.workdir):
    sys.exit(
      'benchmarks.every_config takes flags alone and needs --teacher=FILE and --workdir=FOLDER; '
      'see --help'
    )
  names = [path.stem.removeprefix('cifar10_') for path in sorted(FOLDER.glob('cifar10_*.py'))]
  names = ['kd', *(name for name in (*names, OWN_TEACHER) if name != 'kd')]
  if unknown := sorted(set(FLAGS.only) - set(names)):
    sys.exit(f"there is no configuration '{unknown[0]}' to run; there are {', '.join(names)}")
  folder = Path(FLAGS.workdir).absolute()
  folder.mkdir(parents=True, exist_ok=True)
  rows = []
  for name in FLAGS.only or names:
    rows.append(run(name, folder / name.replace(' ', '_')))
    print(f'{name}: {json.dumps(rows[-1])}', flush=True)
  (folder / 'table.json').write_text(json.dumps(rows, indent=2) + '\n')
  print('\n'.join(table(rows)))


def run(name: str, folder: Path) -> dict[str, Any]:
  """One configuration: its rows of results.json with each phase's last terms, and the process's
  peak memory and time.
  """
  measured = folder / 'measured.json'
  if measured.exists():
    return json.loads(measured.read_text())
  config = name.split()[0]
  command = [
    sys.executable,
    'launch.py',
    f'--config={FOLDER / f"cifar10_{config}.py"}',
    f'--workdir={folder}',
    f'--config.train_examples={FLAGS.train_examples}',
    f'--config.epochs={FLAGS.epochs}',
    f'--config.data_dir={FLAGS.data_dir}',
    '--config.download=False',
  ]
  if name != OWN_TEACHER:
    command.append(f'--config.teacher_checkpoint={FLAGS.teacher}')
  if config in UNLABELLED:
    command.append('--config.unlabelled_dataset=tiny_imagenet32')
  folder.mkdir(parents=True, exist_ok=True)
  os.chdir(REPOSITORY)
  with (folder / 'output.txt').open('w') as output:
    start = time.perf_counter()
    streams = [(os.POSIX_SPAWN_DUP2, output.fileno(), stream) for stream in (1, 2)]
    _, status, usage = os.wait4(
      os.posix_spawn(sys.executable, command, os.environ, file_actions=streams), 0
    )
  if status:
    sys.exit(f'{name} ended with {os.waitstatus_to_exitcode(status)}; see {folder / "output.txt"}')
  phases = []
  for row in json.loads((folder / 'results.json').read_text()):
    stored = folder / 'phases' / row['name'] / 'result.json'
    history = json.loads(stored.read_text())['history'] if stored.exists() else []
    if history:
      phases.append(
        {
          'name': row['name'],
          'student': row['student'],
          'epochs': row['epochs'],
          'loss': history[-1]['train_loss'],
          'terms': history[-1]['terms'],
          'test_accuracy': row['test_accuracy_last'],
          'images_per_second': row['images_per_second'],
        }
      )
  measured_rows = {
    'config': name,
    'phases': phases,
    'gigabytes': usage.ru_maxrss / 2**20,
    'seconds': time.perf_counter() - start,
  }
  measured.write_text(json.dumps(measured_rows) + '\n')
  return measured_rows


def table(rows: list[dict[str, Any]]) -> list[str]:
  """A Markdown table: a line a phase, in milliseconds for a batch of 128 and gigabytes, beside
  KD's.
  """
  base = next((row for row in rows if row['config'] == 'kd'), None)
  lines = [
    '| configuration | phase | network | terms, last epoch | test % | ms a step | × KD | peak GB | '
    '× KD |',
    '|---' * 9 + '|',
  ]
  for row in rows:
    memory = row['gigabytes'] / base['gigabytes'] if base else float('nan')
    for number, phase in enumerate(row['phases']):
      speed = phase['images_per_second']
      ratio = base['phases'][-1]['images_per_second'] / speed if base else float('nan')
      terms = ', '.join(
        f'{term.replace("_", " ")} {value:.3g}' for term, value in phase['terms'].items()
      )
      whole = (
        [f'{row["gigabytes"]:.2f}', f'{memory:.2f}']
        if number == len(row['phases']) - 1
        else ['', '']
      )
      cells = [
        row['config'] if not number else '',
        phase['name'].replace('_', ' '),
        phase['student'],
        terms,
        f'{phase["test_accuracy"]:.1%}'.rstrip('%'),
        f'{128_000 / speed:.0f}',
        f'{ratio:.2f}',
        *whole,
      ]
      lines.append(f'| {" | ".join(cells)} |')
  return lines


if __name__ == '__main__':
  command.run(main)
