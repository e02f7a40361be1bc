"""The worker that times kd_jax: the compiled step with everything that training does in it, and the host's part.

In the step: gathering the batch, random crop and flip, normalisation, the teacher's forward, the student's forward and
backward, the optimiser, the metrics. Between steps the host makes the batch's index and sends it, as training does.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.rows import Row
from benchmarks.workers import serve

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
STEPS = 100_000  # of the learning rate's schedule: no drop is reached


def prepare(row: Sequence[Any], threads: int) -> tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]:
  """Compiles the step of a row and takes three steps. Measurements: `steps`, `input`."""
  del threads  # the process is bound to its cores
  import jax
  import numpy as np

  from kd_jax import models
  from kd_jax.data import feed, pipeline
  from kd_jax.methods import make
  from kd_jax.train import optim, parallel, state, step
  from kd_jax.types import Frozen, Known, NetworkSpec, Optimiser, Source

  row = Row(*row)
  random = np.random.default_rng(0)
  images = random.integers(0, 256, (row.examples, *row.image_shape), dtype=np.uint8)
  labels = random.integers(0, row.classes, row.examples, dtype=np.int32)

  def network(name: str):
    return models.build(NetworkSpec(name, row.classes, tuple(row.image_shape), mean=MEAN, std=STD))

  student = network(row.student)
  teachers = (network(row.teacher),) if row.teacher else ()
  method, spec, share = make(row.method), Optimiser(), (row.batch,)
  optimiser = optim.sgd(spec, optim.learning_rate(spec, STEPS), method.trains)
  passes = pipeline.steps_per_epoch(row.examples, row.batch)
  run = parallel.make('jit', devices=1)
  preprocess = pipeline.preprocess({'weak': pipeline.weak(crop_padding=4, flip=True)})
  train = run.train(step.train_step(student, teachers, method, optimiser, preprocess), False)
  weights = [models.initialise(jax.random.key(1 + n), net) for n, net in enumerate((student, *teachers))]
  known = [Known(net, variables, models.output_shapes(net))
           for net, variables in zip((student, *teachers), weights, strict=True)]  # fmt: skip
  own = method.init(jax.random.key(8), known[0], tuple(known[1:]))
  now = run.place(state.create(weights[0], own, optimiser))
  frozen = run.place(Frozen(tuple(weights[1:]), own.consts, jax.random.key(9)))
  source = Source(images, labels)
  data = feed.resident(run.place((source,)), (feed.Part(source, np.arange(row.examples, dtype=np.int32)),),
                       pipeline.order(jax.random.key(0), (row.examples,), share), run.split, run.split_steps)  # fmt: skip
  position = run.split(pipeline.positions(share))
  done = 0

  def steps(count: int) -> dict[str, float]:
    nonlocal now, done
    start, used = time.perf_counter(), time.process_time()
    for number in range(done, done + count):
      now, metrics = train(now, frozen, *data.at(number), position)
    loss = float(metrics['loss'][0])
    jax.block_until_ready(now)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    done += count
    return {'seconds': seconds / count, 'cpu_seconds': used / count, 'loss': loss}

  def host_input() -> dict[str, float]:
    """A whole epoch's indices, its permutation included."""
    start = time.perf_counter()
    for number in range(passes, 2 * passes):
      jax.block_until_ready(data.at(number)[1])
    return {'seconds': (time.perf_counter() - start) / passes}

  start = time.perf_counter()
  steps(1)
  first = time.perf_counter() - start
  steps(2)
  host_input()
  facts = {'jax': jax.__version__, 'python': platform.python_version(), 'platform': jax.default_backend(),
           'cores': len(os.sched_getaffinity(0)), 'first_step_seconds': first}  # fmt: skip
  return facts, {'steps': steps, 'input': host_input}


if __name__ == '__main__':
  serve(prepare)
