"""The row of an imported teacher."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from kd_jax import models
from kd_jax.files import packing, records
from kd_jax.models import predicting
from kd_jax.runs import evaluation, rows, teacher_doubts, teachers
from kd_jax.runs.context import Context
from kd_jax.train import parallel
from kd_jax.types import FileError, KdJaxError, Trained


def row(context: Context, name: str, trained: Trained, origin: teachers.Origin) -> dict[str, Any]:
  """Return the row of an imported teacher, from its record or evaluated now.

  It is evaluated before its student is trained: a network under the wrong normalisation or ReLU
  placement is worse than none.

  Raises FileError where it is another network than when the run began.
  """
  place = context.folder / 'phases' / name / 'result.json'
  spec = trained.network.spec
  weights = packing.fingerprint(trained.variables)
  network = json.loads(json.dumps(spec._asdict()))  # as JSON has it

  def recorded() -> tuple[dict[str, Any], dict[str, Any] | None]:
    with contextlib.suppress(KdJaxError):  # it is damaged, or not there
      record = records.read_sealed(place)
      return record['rows'][0], record.get('network')
    return {}, None

  before, network_before = parallel.broadcast(recorded)
  replaced = FileError(
    f'{origin.place} is another network than it was when the run in {context.folder} began: bring '
    'it back, or choose another --workdir'
  )
  if before.get('last_sha256', weights) != weights or network_before not in (None, network):
    raise replaced
  if network_before:
    return before
  started = time.perf_counter()
  parts = context.parts
  evaluate = evaluation.evaluator(context, trained.network)
  validation = None
  if parts.validation:
    validation = evaluate(trained.variables, parts.validation)['accuracy']
  test = evaluate(trained.variables, parts.test)['accuracy']
  # An older kd_jax recorded no network.
  if before and abs(test - before['test_accuracy']) > 1e-3:
    raise replaced
  taken = models.assumed(spec)
  context.say(
    f'{name}: {spec.name} from {origin.place} has {test:.2%} on the test images'
    f'{taken and f", with {taken}"}.'
  )
  for line in predicting.words(trained.network):
    context.say(f'{name}: {line}.')
  for line in teacher_doubts.remarks(
    trained,
    test,
    dataset=context.identity.dataset,
    parts=parts,
    origin=origin,
    facts=teachers.facts(origin.place),
  ):
    context.say(line)
  made = rows.of_network(
    context,
    name,
    trained,
    role='teacher',
    method='imported',
    teachers=[],
    validation_accuracy=validation,
    test_accuracy=test,
    seconds=time.perf_counter() - started,
    last_sha256=weights,
  )
  record = {'rows': [made], 'history': [], 'network': network}
  parallel.on_process_0(lambda: records.write_sealed(place, record))
  return made
