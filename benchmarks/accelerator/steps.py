"""The steps before the study, each of which skips what is written down and writes what it finds at
once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.accelerator import many
from benchmarks.accelerator.choice import fastest, flags_of_xla
from benchmarks.accelerator.jobs import Job
from benchmarks.accelerator.plan import Group, Plan
from benchmarks.accelerator.programs import as_job
from benchmarks.accelerator.record import Record
from benchmarks.bounds import bound
from benchmarks.workers import REPOSITORY
from kd_jax.train import peaks

PRECISIONS = {'float32': {'JAX_DEFAULT_MATMUL_PRECISION': 'highest'}, "the device's own": {}}
COMPILING = 0.65  # of the time for measuring: what is not compiled then is not timed


class Measuring:
  """The steps in one sitting. A context manager: leaving it ends the processes that it started."""

  def __init__(
    self,
    record: Record,
    plan: Plan,
    base: Mapping[str, str],
    out: Path,
    places: Mapping[str, str],
    until: float,
  ):
    self._record = record
    self._plan = plan
    self._base = dict(base)
    self._out, self._places, self._until = out, places, until
    self._stack = contextlib.ExitStack()
    self._tuned = out / 'tuned'  # a file: the first programs are compiled
    self._compiled = time.monotonic() + COMPILING * (until - time.monotonic())
    self._bounds: subprocess.Popen | None = None

  def __enter__(self) -> Measuring:
    return self

  def __exit__(self, *error: object) -> None:
    self._stack.close()

  def _job(self, module: str, job: Mapping[str, Any], environment: Mapping[str, str] = {}) -> Job:
    made = Job(module, job, {**self._base, **environment})
    self._stack.callback(made.close)
    return made

  def machine(self) -> None:
    """Ask what the machine is, and compile what tunes for the others; where an earlier sitting was
    on another device, end.
    """
    with contextlib.suppress(FileNotFoundError):
      self._tuned.unlink()
    self._first = self._start(self._plan.first, '')
    self._asked = self._job('machine', {'data_dir': self._places['data_dir']})
    facts = self._asked.answer(self._until)
    before = self._record.of('machine').get('machine')
    if before and before.get('device') != facts.get('device'):
      sys.exit(
        f'{self._out} holds figures of {before.get("device")}, and this machine has '
        f'{facts.get("device", facts.get("fault"))}: choose another --out, so that none are mixed'
      )
    if facts.get('platform') == 'cpu' and 'CUDA_VISIBLE_DEVICES' not in self._base:
      sys.exit(
        'jax finds no accelerator here: see that its plugin is installed, and that JAX_PLATFORMS '
        'does not leave it out; --rehearse runs all of this on a CPU'
      )
    if not before:
      self._record.add('machine', 'machine', facts)
    if self._places['data_dir'] and not self._record.has('machine', 'data'):
      self._asked.send(measure='data')
    methods = sorted(
      {
        program.method
        for group in (*self._plan.first, *self._plan.groups)
        for program in group.programs
      }
    )
    if self._peak() and any(not self._record.has('roofline', method) for method in methods):
      self._bounds = subprocess.Popen(
        [
          sys.executable,
          '-m',
          'benchmarks.roofline',
          f'--methods={",".join(methods)}',
          f'--out={self._out / "roofline.json"}',
        ],
        cwd=REPOSITORY,
        env=os.environ | self._base | {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''},
        stdout=subprocess.DEVNULL,
      )
      self._stack.callback(self._bounds.kill)

  def prepare(self) -> None:
    """Start the processes that compile what is timed later; they begin on the device once those of
    `first` are ready.
    """
    self._timed = [*self._first, *self._start(self._plan.groups, str(self._tuned))]
    for peers in self._plan.peers:
      if left := tuple(peer for peer in peers if not self._record.has('step', peer.name)):
        inductor = {'TORCHINDUCTOR_CACHE_DIR': str(self._out / 'compiled' / 'inductor')}
        self._timed.append(
          (
            self._job(
              'torch_side', {'peers': [list(p) for p in left], 'after': str(self._tuned)}, inductor
            ),
            left,
          )
        )
    self._checks = {
      name: self._job('correct', {**self._places, 'after': str(self._tuned)}, precise)
      for name, precise in PRECISIONS.items()
      if not self._record.has('correct', name)
    }
    self._stopped = self._start_stopped()

  def correct(self) -> None:
    """Let the other processes go on once the first have tuned, and write down the checks of each
    precision.
    """
    self._ready = {id(job): job.answer(self._compiled) for job, _ in self._first}
    if self._places['data_dir'] and not self._record.has('machine', 'data'):
      self._record.add('machine', 'data', self._asked.answer(self._compiled))
    self._tuned.touch()
    for name, job in self._checks.items():
      self._record.add('correct', name, job.answer(self._compiled))

  def _start(self, groups: Iterable[Group], after: str) -> list[tuple[Job, tuple[Any, ...]]]:
    started = []
    for group in groups:
      if left := tuple(
        program for program in group.programs if not self._record.has('step', program.name)
      ):
        started.append(
          (self._job('programs', as_job(left, after), flags_of_xla(group.xla_flags)), left)
        )
    return started

  def _start_stopped(self) -> dict[str, Job]:
    if self._record.has('resumed', 'deterministic'):
      return {}
    place = self._out / 'resumed'
    self._changes = self._plan.resumed
    if not Path(self._changes.get('teacher_checkpoint', '/')).exists():
      self._changes = {
        name: value for name, value in self._changes.items() if name != 'teacher_checkpoint'
      } | {'method': 'nokd'}
    shutil.rmtree(place, ignore_errors=True)
    return {
      'whole': self._resumed('whole', 0),
      'parts': self._resumed('parts', self._plan.stopped['stop_after']),
    }

  def _resumed(self, folder: str, stop_after: int) -> Job:
    return self._job(
      'resumed',
      {
        'folder': str(self._out / 'resumed' / folder),
        'steps': self._plan.stopped['steps'],
        'stop_after': stop_after,
        'changes': self._changes,
        'after': str(self._tuned),
      },
    )

  def resumed(self) -> None:
    """Compare a run that was stopped in the middle of an epoch, and went on, with one that was left
    alone.
    """
    if not self._stopped:
      return
    first = self._stopped['parts'].answer(self._compiled)
    parts = (
      first if first.get('finished', True) else self._resumed('parts', 0).answer(self._compiled)
    )
    whole = self._stopped['whole'].answer(self._compiled)
    if faults := [answer['fault'] for answer in (first, parts, whole) if 'fault' in answer]:
      self._record.add('resumed', 'deterministic', {'fault': faults[0]})
      return
    same = {name: whole[name] == parts[name] for name in ('last_sha256', 'best_sha256', 'losses')}
    self._record.add(
      'resumed',
      'deterministic',
      {
        'was_stopped': first.get('finished') is False,
        'after_calls': first.get('calls'),
        'method': self._changes['method'],
        'identical': all(same.values()),
        **{f'same_{name}': value for name, value in same.items()},
        'whole': whole,
        'parts': parts,
      },
    )

  def times(self) -> None:
    """Time what is compiled, one after the other, once all of it is compiled."""
    readied = [
      (job, programs, self._ready.get(id(job)) or job.answer(self._compiled))
      for job, programs in self._timed
    ]
    if self._bounds:
      with contextlib.suppress(subprocess.TimeoutExpired):
        self._bounds.wait(timeout=max(0.0, self._until - time.monotonic()))
    self._roofline()
    for job, programs, ready in readied:
      for one in programs:
        answer = (
          ready
          if 'fault' in ready
          else job.ask(self._until + 20, measure='run', name=one.name, seconds=self._plan.seconds)
        )
        self._record.add('step', one.name, answer | self._share(one, answer))
      job.close()

  def seeds(self, *, mps: bool) -> None:
    """Time several processes that train at the same time, with MPS and without."""
    program = self._plan.shared
    most = max(self._plan.processes)
    for served in (False, True) if mps else (False,):
      names = {
        count: f'{count} processes{" under MPS" if served else ""}'
        for count in self._plan.processes
      }
      left = {count: name for count, name in names.items() if not self._record.has('seeds', name)}
      if not left:
        continue
      try:
        with contextlib.ExitStack() as stack:
          places = stack.enter_context(many.mps(self._out / 'mps')) if served else {}
          jobs = many.start(
            most, program, self._base | places | flags_of_xla(fastest(self._record).xla_flags)
          )
          for job in jobs:
            stack.callback(job.close)
          ready = [job for job in jobs if 'fault' not in job.answer(self._until)]
          for count, name in left.items():
            figures = (
              many.throughput(ready[:count], program, self._plan.seconds, self._until + 20)
              if len(ready) >= count
              else {'fault': f'{len(ready)} of {most} processes were ready in time'}
            )
            self._record.add('seeds', name, figures)
      except (OSError, subprocess.SubprocessError) as fault:
        for name in left.values():
          if not self._record.has('seeds', name):
            self._record.add('seeds', name, {'missing': str(fault)})

  def _peak(self) -> peaks.Peak | None:
    return peaks.of(self._record.of('machine')['machine'].get('device', ''))

  def _roofline(self) -> None:
    file = self._out / 'roofline.json'
    peak = self._peak()
    for method, counted in (json.loads(file.read_text()) if file.exists() and peak else {}).items():
      if not self._record.has('roofline', method):
        seconds, by = bound(counted['flops'], counted['bytes'], peak)
        self._record.add(
          'roofline',
          method,
          {
            'milliseconds': 1e3 * seconds,
            'bound_by': by,
            'batch': counted['batch'],
            'flops': counted['flops'],
            'bytes_in_float32': counted['bytes'],
          },
        )

  def _share(self, one: Any, answer: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of the bound in float32 that a step reaches: above 1 in bfloat16.

    A step in bfloat16 moves fewer bytes.
    """
    least = self._record.of('roofline').get(one.method)
    if not least or 'milliseconds' not in answer:
      return {}
    images = one.batch * getattr(one, 'students', 1)
    return {
      'share_of_roofline': least['milliseconds'] / answer['milliseconds'] * images / least['batch']
    }
