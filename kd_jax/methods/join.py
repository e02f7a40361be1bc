"""Several single-phase methods at once: the sum of their terms."""

from __future__ import annotations

import jax

from kd_jax.types import ConfigError, Method, MethodVariables


def join(parts: tuple[tuple[float, str, Method], ...]) -> Method:
  """Σ_i w_i · (terms of method i). A term that an earlier part has, under the same name, is not
  added again.

  So `kd+oh` is Hinton's loss and overhaul's feature term, with Hinton's share of cross-entropy; the
  paper's RKD joined to `kd` adds its distances and angles alone. Weights stand in the method's
  name: `kd+0.5*oh`.

  Args:
    parts: (weight, name, method), in the order of the name.

  Raises:
    ConfigError: the parts take different BatchNorm statistics of the teacher, or different
      augmentations of one view, or two of them predict; in `loss`, a part adds no term.
  """
  statistics = {method.teacher_statistics for _, _, method in parts}
  if len(statistics) > 1:
    named = ', '.join(f'{name}: {method.teacher_statistics}' for _, name, method in parts)
    raise ConfigError(
      f'these methods take different BatchNorm statistics of the teacher ({named}) and cannot be '
      'joined; set teacher_statistics of one'
    )
  predicting = [(name, method.predict) for _, name, method in parts if method.predict]
  if len(predicting) > 1:
    raise ConfigError(
      f"'{predicting[0][0]}' and '{predicting[1][0]}' both predict in place of the student's "
      'classifier and cannot be joined'
    )
  views: dict[str, str] = {}
  for _, name, method in parts:
    for view, policy in method.views.items():
      if views.setdefault(view, policy) != policy:
        raise ConfigError(
          f"'{name}' has the view '{view}' augmented by {policy}, and a part before it by "
          f'{views[view]}; make their policies equal'
        )

  def init(inputs):
    made = {}
    for number, (_, name, method) in enumerate(parts):
      made[name] = method.init(inputs)
      # the first that draws weights starts as it does alone: `kd+oh` as `oh`
      if jax.tree.leaves(made[name].params):
        inputs = inputs._replace(key=jax.random.fold_in(inputs.key, number))
    return MethodVariables(
      params={name: own.params for name, own in made.items()},
      state={name: own.state for name, own in made.items()},
      constants={name: own.constants for name, own in made.items()},
    )

  def of(variables, name):
    return MethodVariables(*(tree[name] for tree in variables))

  def loss(variables, inputs):
    joined, state = {}, {}
    for weight, name, method in parts:
      terms, state[name] = method.loss(of(variables, name), inputs)
      added = {term: weight * value for term, value in terms.items() if term not in joined}
      if not added:
        raise ConfigError(
          f"'{name}' adds no term to what stands before it in the join; leave it out"
        )
      joined |= added
    return joined, state

  def trains(path):
    if path[0] == 'method':
      return any(
        method.trains((path[0], *path[2:])) for _, name, method in parts if name == path[1]
      )
    return any(method.trains(path) for _, _, method in parts)

  def predict(variables, outputs):
    return predicting[0][1](of(variables, predicting[0][0]), outputs)

  return Method(
    init=init,
    loss=loss,
    predict=predict if predicting else None,
    views=views,
    joint=all(method.joint for _, _, method in parts),
    trains=trains,
    teacher_statistics=statistics.pop(),
  )
