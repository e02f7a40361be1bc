"""Several single-phase methods at once: the sum of their terms."""

from __future__ import annotations

import jax

from kd_jax.types import KdJaxError, Method, MethodState


def join(parts: tuple[tuple[float, str, Method], ...]) -> Method:
  """Σ_i w_i · (terms of method i). A term that an earlier part has, under the same name, is not
  added again.

  So `kd+oh` is Hinton's loss and overhaul's feature term, with Hinton's share of cross-entropy; the
  paper's RKD joined to `kd` adds its distances and angles alone. Weights stand in the method's
  name: `kd+0.5*oh`.

  Args:
    parts: (weight, name, method), in the order of the name.

  Raises:
    KdJaxError: the parts want teachers with different BatchNorm statistics, or one view with
      different augmentations; in `loss`, a part adds no term.
  """
  statistics = {method.teacher_statistics for _, _, method in parts}
  if len(statistics) > 1:
    named = ', '.join(f'{name}: {method.teacher_statistics}' for _, name, method in parts)
    raise KdJaxError(
      f'these methods want different BatchNorm statistics of the teacher ({named}) and cannot be '
      f'joined; set '
      'teacher_statistics of one'
    )
  views: dict[str, str] = {}
  for _, name, method in parts:
    for view, policy in method.views.items():
      if views.setdefault(view, policy) != policy:
        raise KdJaxError(
          f"'{name}' wants the view '{view}' augmented by {policy}, and a part before it by "
          f'{views[view]}; make '
          'their policies equal'
        )

  def init(key, student, teachers):
    states = {}
    for number, (_, name, method) in enumerate(parts):
      states[name] = method.init(key, student, teachers)
      # the first that draws weights starts as it does alone: `kd+oh` as `oh`
      if jax.tree.leaves(states[name].params):
        key = jax.random.fold_in(key, number)
    return MethodState(
      *({name: state[field] for name, state in states.items()} for field in range(3))
    )

  def loss(params, stats, student, teachers, batch, consts, key, *, axis):
    joined, kept = {}, {}
    for weight, name, method in parts:
      terms, kept[name] = method.loss(
        params[name], stats[name], student, teachers, batch, consts[name], key, axis=axis
      )
      added = {term: weight * value for term, value in terms.items() if term not in joined}
      if not added:
        raise KdJaxError(
          f"'{name}' adds no term to what stands before it in the join; leave it out"
        )
      joined |= added
    return joined, kept

  def trains(path):
    if path[0] == 'method':
      return any(
        method.trains((path[0], *path[2:])) for _, name, method in parts if name == path[1]
      )
    return any(method.trains(path) for _, _, method in parts)

  return Method(
    init, loss, views, all(method.joint for _, _, method in parts), trains, statistics.pop()
  )
