"""Every recipe trains as its PyTorch rendering does, and a rendering with any other number or form
does not.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from kd_jax import methods
from kd_jax.types import OptimiserSpec
from kd_jax.verify import beside, live
from kd_jax.verify.numbers import Check, Uncovered


def test_without_torch_it_is_said(monkeypatch):
  monkeypatch.setattr(live, 'available', lambda: False)
  (line,) = live.check_live()
  assert isinstance(line, Uncovered) and 'torch is not installed' in line.why


pytest.importorskip('torch', reason="torch is not installed: pip install -e '.[torch]'")
# torch's, of arrays that it shares with numpy
pytestmark = pytest.mark.filterwarnings('ignore::UserWarning')
from kd_jax.verify import torch_recipes  # noqa: E402 - needs torch

SHORT = {'epochs': 3}  # of a run; AB's phases are 2 and 1 of them
USUAL = [(live.cases(*row)[0], phases) for row, phases in torch_recipes.RECIPES.items()]
CHOSEN = [
  (beside.Case(name, options=options), phases)
  for (name, options), phases in torch_recipes.OPTIONS.items()
]
OTHERS = [
  (case, phases) for row, phases in torch_recipes.RECIPES.items() for case in live.cases(*row)[1:]
]


def every(cases):
  return pytest.mark.parametrize(
    ('case', 'phases'), cases, ids=lambda part: str(part) if isinstance(part, beside.Case) else ''
  )


def error(case, phases, **how) -> float:
  found = [curves.error() for curves in beside.compare(case, phases, **SHORT, **how)]
  # a NaN fails its check, too
  return max(found) if all(each == each for each in found) else float('inf')


def mutants(phase):
  """The phase with each of its numbers and forms changed, by the name of what was."""
  for name, value in phase.weights.items():
    # a threshold shows where images lie between the two
    factor = 0.5 if name == 'confidence' else 1.01
    yield name, phase._replace(weights={**phase.weights, name: value * factor})
  if len(phase.views) > 1:
    yield 'joint', phase._replace(joint=not phase.joint)
  if phase.teachers:
    yield (
      'statistics',
      phase._replace(statistics='batch' if phase.statistics == 'running' else 'running'),
    )
    yield 'relu_placement', phase._replace(relu_placement='' if phase.relu_placement else 'pool')
  if phase.connectors not in ('', 'temperature'):  # a number has no other form
    yield (
      'connectors',
      phase._replace(connectors='always' if phase.connectors == 'other widths' else 'other widths'),
    )
  if len(phase.teachers) > 1:
    yield 'teachers', phase._replace(teachers=phase.teachers[:-1])
  yield 'epochs', phase._replace(epochs=lambda whole: phase.epochs(whole) + 1)


@every([*USUAL, *CHOSEN])
def test_both_sides_agree_and_every_mutant_fails(case, phases):
  assert error(case, phases) <= 1e-9
  for number, phase in enumerate(phases):
    for what, mutant in mutants(phase):
      changed = (*phases[:number], mutant, *phases[number + 1 :])
      assert not error(case, changed) <= live.TOLERANCE, (
        f'{case}, {phase.name}: nothing shows that {what} is another'
      )


@every(OTHERS)
def test_both_sides_agree_on_networks_of_other_widths(case, phases):
  assert error(case, phases) <= 1e-9


def _momentum(student):
  student.bn1.momentum = 0.2


def _epsilon(student):
  student.bn1.eps = 1e-4


def _kernel(student):
  student.layer2[0].conv2.weight.data = (
    student.layer2[0].conv2.weight.data.transpose(2, 3).contiguous()
  )


def _class(student):
  student.linear.weight.data = student.linear.weight.data.flip(0)


@pytest.mark.parametrize(
  'fault',
  [
    {'optimiser': replace(beside.OPTIMISER, options={'weight_decay': 5.1e-4})},
    {'optimiser': replace(beside.OPTIMISER, options={'nesterov': False})},
    {'optimiser': replace(beside.OPTIMISER, schedule_options={'drops': (2 / 3,)})},
    {'alter': _momentum},
    {'alter': _epsilon},
    {'alter': _kernel},
    {'alter': _class},
  ],
)
def test_a_wrong_constant_of_training_shows(fault):
  assert error(beside.Case('kd'), torch_recipes.RECIPES['kd', 'written'], **fault) > live.TOLERANCE


def test_the_table_says_where_the_curves_part():
  (curves,) = beside.compare(
    beside.Case('nokd'),
    torch_recipes.RECIPES['nokd', 'written'],
    **SHORT,
    optimiser=OptimiserSpec(learning_rate=0.06),
  )
  assert curves.parted(live.TOLERANCE) == 2  # the first step is taken from the same weights


# The table ----------------------------------------------------------------------------------------


def test_every_recipe_of_every_method_has_a_rendering_or_a_reason():
  assert {name for name, _ in live.rows()} == set(methods.METHODS)
  lost = [row for row in live.rows() if row not in torch_recipes.RECIPES and row not in live.EXEMPT]
  assert not lost, (
    'give kd_jax.verify.torch_recipes a rendering of these, or kd_jax.verify.live a reason'
  )
  for name, recipe in torch_recipes.RECIPES:
    assert (name, recipe) in live.rows() or '+' in name


def test_a_row_without_a_rendering_fails_the_crosscheck(monkeypatch):
  monkeypatch.setitem(methods.METHODS, 'newcomer', methods.METHODS['kd'])
  monkeypatch.setattr(live, 'check', lambda case, phases: iter((Check(str(case), 0.0, 1.0),)))
  failed = [line.what for line in live.check_live() if isinstance(line, Check) and not line.passed]
  assert failed == [
    f'newcomer, {recipe}: kd_jax.verify.torch_recipes has no rendering'
    for recipe in ('written', 'official')
  ]


def test_a_reason_takes_a_row_out_of_the_checks(monkeypatch):
  monkeypatch.setitem(methods.METHODS, 'newcomer', methods.METHODS['nokd'])
  monkeypatch.setitem(live.EXEMPT, ('newcomer', 'written'), 'needs a cluster')
  monkeypatch.setattr(live, 'check', lambda case, phases: iter((Check(str(case), 0.0, 1.0),)))
  lines = list(live.check_live())
  assert all(line.passed for line in lines if isinstance(line, Check))
  assert Uncovered('newcomer, written, beside PyTorch', 'needs a cluster') in lines


def test_networks_of_other_widths_and_phases_are_among_the_cases():
  pairs = {(case.teacher, case.student) for case, _ in OTHERS}
  assert {
    ('wrn10_2', 'thin_resnet8'),
    ('resnet10', 'thin_resnet8'),
    ('wrn10_2', 'wrn10_1'),
  } <= pairs
  methods_of_features = {
    name
    for row in torch_recipes.RECIPES
    for name in ('ab', 'oh', 'rkd', 'sfd', 'pkd')
    if row[0] == name
  }
  assert methods_of_features <= {case.method for case, _ in OTHERS}


def test_stl_counts_some_images_and_leaves_out_others():
  """The threshold is no dead letter in the check: images of the first batches lie on both sides of
  it.
  """
  import torch

  from kd_jax.verify import torch_side

  start = beside.begin(live.cases('stl', 'written')[0], 3, 8)
  student, sure = torch_side.render(beside.drawn('student', start.networks['student'])).train(), []
  for images, labels in zip(start.images, start.labels, strict=True):
    views = [
      torch.as_tensor(view.copy()).permute(0, 3, 1, 2) for view in beside.views(images).values()
    ]
    sure.append(
      student(torch.cat(views)).logits[: len(labels)][labels < 0].softmax(1).amax(1) > 0.8
    )
  assert torch.cat(sure).any() and not torch.cat(sure).all()
