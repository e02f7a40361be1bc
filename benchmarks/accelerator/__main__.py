"""The first minutes on a GPU or TPU: what it is, whether it computes what it should, how fast; then
a study.

  python -m benchmarks.accelerator --minutes=12 --out=DIR [--study='CONFIG FLAG …']…

Each result is written at once, as a line of DIR/results.jsonl and in DIR/summary.md. The same
command goes on where it was stopped: what is written down is not measured again. The order is
  machine     device, memory, driver, versions
  correct     losses and published networks against reference numbers, in float32 and as the device
              takes it (TF32)
  resumed     whether a run that was stopped ends with the bits of one that was not, with
              `deterministic`
  step        a training step of each method, in float32 and bfloat16, beside PyTorch's on the same
              device
  roofline    what a step takes at least by the device's data sheet
  seeds       students side by side: in one program, and in several processes
  study       for the time that is left, by as many processes as were fastest; DIR/study.tar.gz has
              its records
A machine without a network gets data and packages by benchmarks.accelerator.pack and unpack.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

from absl import flags

from benchmarks import command
from benchmarks.accelerator import choice, plan, steps, studying
from benchmarks.accelerator.jobs import environment
from benchmarks.accelerator.record import Record
from kd_jax.train.environment import set_accelerator_flags

FLAGS = flags.FLAGS
flags.DEFINE_float('minutes', 12, 'of this sitting, at most', lower_bound=0.1)
flags.DEFINE_float('measuring', 4, 'of them, at most, before the study begins', lower_bound=0.1)
flags.DEFINE_string('out', None, 'where the results are kept', required=True)
flags.DEFINE_multi_string(
  'study',
  [],
  "a configuration of a study and flags of its own, such as 'paper/table3 --config.seeds=1'; of "
  'several, one after the other',
)
flags.DEFINE_integer(
  'study_workers', 0, 'processes that work on it; 0: as many as were fastest', lower_bound=0
)
flags.DEFINE_bool('mps', True, "also try several processes under CUDA's MPS, where it is there")
flags.DEFINE_bool(
  'rehearse', False, 'on a CPU, at a hundredth of the size: whether all of this runs'
)
flags.DEFINE_string('data_dir', os.environ.get('KD_JAX_DATA', ''), 'prepared data with cifar10')
flags.DEFINE_string(
  'pretrained', os.environ.get('KD_JAX_PRETRAINED', ''), 'folder of the published networks'
)
flags.DEFINE_string(
  'reference',
  os.environ.get('KD_JAX_REFERENCE', ''),
  'folder of the reference numbers of kd_jax.crosscheck',
)


def main(argv: list[str]) -> None:
  """Take one step after the other."""
  set_accelerator_flags()
  if len(argv) > 1:
    sys.exit(f"benchmarks.accelerator takes flags alone, and '{argv[1]}' is none; see --help")
  began = time.monotonic()
  out = Path(FLAGS.out).absolute()
  until, measured = (
    began + 60 * minutes for minutes in (FLAGS.minutes, min(FLAGS.minutes, FLAGS.measuring))
  )
  chosen = plan.rehearsal() if FLAGS.rehearse else plan.full(FLAGS.pretrained, FLAGS.data_dir)
  record = Record(out)
  on_the_cpu = {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''} if FLAGS.rehearse else {}
  base = environment(out) | on_the_cpu
  signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(130))
  places = {
    'reference': FLAGS.reference,
    'pretrained': FLAGS.pretrained,
    'data_dir': FLAGS.data_dir,
  }
  with steps.Measuring(record, chosen, base, out, places, measured) as measuring:
    measuring.machine()
    measuring.prepare()
    measuring.correct()
    measuring.resumed()
    measuring.times()
    measuring.seeds(mps=FLAGS.mps)
  for text in FLAGS.study or chosen.studies:
    _study(record, text, base, out, until)
  print(f'The results lie in {out}: results.jsonl, summary.md.', flush=True)


def _study(record: Record, text: str, base: Mapping[str, str], out: Path, until: float) -> None:
  """Work on a study, 'NAME FLAG FLAG …', unless an earlier sitting finished it or too little time
  is left to begin.
  """
  sittings = [line for line in record.of('study').values() if line['study'] == text]
  if (
    any(line['status'] == 0 for line in sittings)
    or until - time.monotonic() < studying.SAVING + studying.ARCHIVING
  ):
    return
  fastest, (name, *given) = choice.fastest(record), text.split()
  workers = FLAGS.study_workers or fastest.processes
  if FLAGS.data_dir and not FLAGS.rehearse:
    given += [f'--config.data_dir={FLAGS.data_dir}', '--config.download=False']
  folder = out / 'study' / f'{Path(name).stem}-{zlib.crc32(text.encode()):08x}'
  with choice.served(fastest.mps, out) as mps:
    environment = {**base, **mps, **choice.flags_of_xla(fastest.xla_flags)}
    ended = studying.run(name, given, workers, folder, environment, until - studying.ARCHIVING)
  ended['archive_bytes'] = studying.archive(out / 'study', out)
  used = {'study': text, 'folder': folder.name, 'workers': workers, **fastest._asdict()}
  record.add('study', f'{text}, sitting {len(sittings) + 1}', used | ended)


if __name__ == '__main__':
  command.run(main)
