"""The process that trains a short phase with `deterministic`, to its end or until it is stopped in
the middle of an epoch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accelerator import jobs
from benchmarks.workers import serve


@jobs.answering
def prepare(
  threads: int, folder: str, steps: int, stop_after: int, changes: dict[str, Any], after: str
) -> jobs.Prepared:
  """Trains from the newest checkpoint in `folder` to the end, or to `stop_after` calls of `steps`
  steps where that is not 0.
  """
  del threads
  from kd_jax import config
  from kd_jax.runs import preparation, run, training
  from kd_jax.runs.context import Student
  from kd_jax.train import loop, parallel

  jobs.wait_for(after)
  chosen = config.default(**config.PAPER)
  chosen.update(**changes, deterministic=True)
  prepared = preparation.prepare(config.resolve(chosen))
  prepared = replace(prepared, devices=parallel.make('jit', devices=1, steps=steps))
  asked = 0
  phase = prepared.phases[-1]
  place = Path(folder)

  def stop() -> bool:
    nonlocal asked
    asked += 1
    return bool(stop_after) and asked >= stop_after

  context = run.context(prepared, place, stop=stop, say=lambda text: None)
  rows = [
    {'name': name, 'validation_accuracy': 0.0, 'test_accuracy': 0.0} for name in prepared.imported
  ]
  try:
    (done,) = training.train(
      [Student(context, phase)], prepared.imported, rows, place / 'checkpoints'
    )
  except loop.Interrupted:
    return {'finished': False, 'calls': asked}, {}
  losses = [[row['train_loss'], row['validation_loss']] for row in done.history]
  return {
    'finished': True,
    'calls': asked,
    'last_sha256': done.rows[-1]['last_sha256'],
    'best_sha256': done.rows[-1]['best_sha256'],
    'losses': losses,
    'losses_sha256': hashlib.sha256(json.dumps(losses).encode()).hexdigest()[:16],
  }, {}


if __name__ == '__main__':
  serve(prepare)
