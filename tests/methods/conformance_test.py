"""What every method keeps, in every recipe.

A row that is added to METHODS is covered by standing there.
"""

from __future__ import annotations

import contextlib
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods, models
from kd_jax.methods import METHODS, RECIPES, plans
from kd_jax.methods.base import cross_entropy, no_modules
from kd_jax.types import Batch, ConfigError, Method, NetworkInfo, NetworkSpec, Outputs
from tests import tiny

CASES = tiny.cases()
EXAMPLES = 8
OFTEN = {'kd', 'crd'}  # of one teacher, and with a memory: of the long tests, those of the system

# The options that leave a method's cross-entropy, on every view, and nothing else.
TEACHER_OFF = {
  'kd': {'alpha': 0.0},
  'oh': {'weight': 0.0},
  'rkd': {'cross_entropy_weight': 1.0, 'distillation_weight': 0.0, 'distance': 0.0, 'angle': 0.0},
  'sfd': {'weight': 0.0},
  'pkd': {'alpha': 0.0, 'beta': 0.0},
  'uda': {'alpha': 0.0},
  'stl': {'alpha': 0.0, 'consistency': 0.0},
  'dkd': {'target': 0.0, 'others': 0.0},
  'rld': {'confidence': 0.0, 'others': 0.0},
  'srd': {'weight': 0.0, 'distillation_weight': 0.0},
  'srrl': {'weight': 0.0, 'distillation_weight': 0.0},
  'mlld': {'weight': 0.0, 'cross_entropy_weight': 1.0},
  'ctkd': {'alpha': 0.0},
  **{
    name: {'weight': 0.0}
    for name in ('dist', 'ttm', 'wttm', 'nkd', 'wsld')
    + ('attention', 'fitnet', 'nst', 'sp', 'pkt', 'cc', 'crd', 'deit')
    + ('review', 'vid', 'fsp')
  },
}


# Methods that compare features alone: the classes may differ.
FEATURES_ALONE = {'ab', 'oh', 'attention', 'fitnet', 'nst', 'sp', 'pkt', 'cc', 'crd'}
FEATURES_ALONE |= {'review', 'vid', 'fsp', 'ft'}

# Methods that cannot be turned into cross-entropy by their options.
EXEMPT = {
  'nokd': 'is cross-entropy',
  'uda_nokd': 'is cross-entropy of two views',
  'takd': "is kd's loss",
  'mkd': "is kd's loss",
  'dual': "is kd's loss",
  'ab': 'its first phase has no cross-entropy, and its second is kd',
  'triplet': 'puts another loss in the place of cross-entropy',
  'unsupervised': 'has no labels',
  'simkd': 'learns from maps alone, without labels',
  'ft': 'its paraphraser learns beside the student; phased_test.py has the gradient without it',
}


def every_case(cases):
  return pytest.mark.parametrize('case', cases, ids=str)


# Training steps -----------------------------------------------------------------------------------


@every_case(
  [
    pytest.param(case, marks=() if case.recipe == 'written' else pytest.mark.system)
    for case in CASES
  ]
)
class TestStep:
  """Five steps of tiny networks; the parallel tests look at the same steps."""

  def test_loss_and_gradients_are_finite(self, case):
    taken = tiny.trained(case, 'jit', 1, 'float64')
    chex.assert_tree_all_finite(
      (taken.gradients, taken.metrics, taken.state.params, taken.state.state)
    )

  def test_gradient_reaches_what_the_method_trains_and_nothing_else(self, case):
    """In the first step or the last: a bank that begins with zeros teaches nothing at first."""
    trains, taken = case.method().trains, tiny.trained(case, 'jit', 1, 'float64')
    first, last = paths(taken.gradients), paths(taken.state.opt_state[0])
    reached = {path: bool(leaf.any() or last[path].any()) for path, leaf in first.items()}
    assert reached == {path: trains(path) for path in reached}
    assert any(reached.values())

  def test_the_second_call_compiles_nothing(self, case):
    assert tiny.trained(case, 'jit', 1, 'float64').compiled == [1, 0, 0, 0, 0]

  def test_the_loss_is_the_sum_of_its_terms(self, case):
    for metrics in tiny.trained(case, 'jit', 1, 'float64').metrics:
      terms = [value for name, (value, _) in metrics.items() if name.startswith('term/')]
      assert terms and np.isclose(metrics['loss'][0], sum(terms), rtol=1e-12)


def plain(method: Method) -> Method:
  """The cross-entropy of a method's views, and nothing else."""

  def loss(variables, inputs):
    hard = sum(cross_entropy(outputs, inputs) for outputs in inputs.student.values())
    return {'cross_entropy': hard}, variables.state

  return Method(init=no_modules, loss=loss, views=method.views, joint=method.joint)


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=pytest.mark.system if name in OFTEN else pytest.mark.whole)
    for name in TEACHER_OFF
  ],
)
def test_without_its_teacher_a_methods_steps_are_those_of_cross_entropy_bit_for_bit(name):
  method = methods.make(name, chosen={name: TEACHER_OFF[name]})
  off, alone = (
    tiny.ready(method, teachers=1, preprocess=tiny.augmented),
    tiny.ready(plain(method), preprocess=tiny.augmented),
  )
  with tiny.quick_compilation():
    off, alone = tiny.take(off), tiny.take(alone)
  chex.assert_trees_all_equal(off.state.params['student'], alone.state.params['student'])
  chex.assert_trees_all_equal(off.state.state['student'], alone.state.state['student'])
  assert len({float(metrics['loss'][0]) for metrics in off.metrics}) == tiny.STEPS


def test_parts_of_a_join_draw_weights_of_their_own():
  student, teacher = tiny.network(), tiny.network(blocks=(2, 1))
  inputs = tiny.init_inputs(tiny.info(student), tiny.info(teacher, tiny.variables(teacher)))
  drawn = {name: methods.make(name).init(inputs).params for name in ('oh', 'kd+oh', 'kd+ab+oh')}
  chex.assert_trees_all_equal(drawn['kd+oh']['oh'], drawn['oh'])
  kernels = [
    {path: leaf for path, leaf in paths(drawn['kd+ab+oh'][name]).items() if path[-1] == 'kernel'}
    for name in ('ab', 'oh')
  ]
  assert kernels[0] and kernels[0].keys() == kernels[1].keys()
  assert not any(np.array_equal(kernels[0][path], kernels[1][path]) for path in kernels[0])


def test_every_method_can_do_without_its_teacher_or_is_exempt():
  assert set(TEACHER_OFF) | set(EXEMPT) == set(METHODS) and not set(TEACHER_OFF) & set(EXEMPT)


@every_case(
  [
    pytest.param(
      case,
      marks=pytest.mark.system
      if case.name in OFTEN and case.recipe == 'written'
      else pytest.mark.whole,
    )
    for case in CASES
  ]
)
class TestRealNetworks:
  """What TestStep and the parallel tests hold, on ResNet26 → ResNet8 at 32×32."""

  @staticmethod
  def steps(case, kind: str, devices: int) -> tiny.Taken:
    pair = tuple(
      models.build(
        NetworkSpec(name, tiny.CLASSES, (32, 32, 3), case.placement, compute_dtype='float64')
      )
      for name in reversed(PAPER)
    )
    with jax.enable_x64(), tiny.quick_compilation():
      return tiny.take(
        tiny.ready(
          case.method(),
          teachers=case.teachers,
          kind=kind,
          devices=devices,
          dtype='float64',
          pair=pair,
        )
      )

  def test_conforms(self, case):
    taken = self.steps(case, 'jit', 1)
    chex.assert_tree_all_finite(
      (taken.gradients, taken.metrics, taken.state.params, taken.state.state)
    )
    reached = {path: bool(leaf.any()) for path, leaf in paths(taken.gradients).items()}
    assert reached == {path: case.method().trains(path) for path in reached}
    assert taken.compiled == [1, 0, 0, 0, 0]
    spread = self.steps(case, 'pmap', 2)
    # After five steps at a rate of .1 rounding has grown a millionfold and more; the first
    # gradients show what the axis does.
    chex.assert_trees_all_close(taken.gradients, spread.gradients, rtol=1e-8, atol=1e-8)


# Losses, given the outputs of networks ------------------------------------------------------------


def paths(tree) -> dict[tuple[str, ...], np.ndarray]:
  return {
    tuple(part.key for part in path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


class Seen:
  """Random outputs of a student and its teachers in float64, and the loss of a case on them,
  compiled once.
  """

  def __init__(self, case: tiny.Case, method=None):
    self.method = method or case.method()
    student, teacher = tiny.network(dtype='float64'), tiny.network(dtype='float64', blocks=(2, 1))
    weights = tuple(tiny.variables(teacher, seed=100 + number) for number in range(case.teachers))
    self.own = self.method.init(
      tiny.init_inputs(tiny.info(student), *(tiny.info(teacher, w) for w in weights))
    )
    self.student = {
      view: self.random(student, 1 + number) for number, view in enumerate(self.method.views)
    }
    self.teachers = tuple(
      {
        view: self.random(teacher, 50 + 10 * place + number)
        for number, view in enumerate(self.method.views)
      }
      for place in range(case.teachers)
    )
    image = np.random.default_rng(3).uniform(size=(EXAMPLES, *student.spec.image_shape))
    label = np.array([0, 1, 2, 3, 4, 0, -1, -1], np.int32)
    self.batch = Batch(image, label, np.arange(EXAMPLES, dtype=np.int32))
    self.terms = jax.jit(self._terms)

  @staticmethod
  def random(network, seed: int) -> Outputs:
    draw = np.random.default_rng(seed)
    return jax.tree.map(
      lambda leaf: draw.normal(size=leaf.shape), models.output_shapes(network, batch=EXAMPLES)
    )

  def _terms(self, student, teachers, batch, key):
    return self.method.loss(self.own, tiny.loss_inputs(student, teachers, batch, key=key))[0]

  def value(self, student, teachers, batch) -> float:
    with tiny.quick_compilation():
      return float(sum(self.terms(student, teachers, batch, jax.random.key(0)).values()))

  def loss(self, *, examples=lambda leaf: leaf, batch: Batch | None = None) -> float:
    """The loss with every array of examples passed through `examples` first."""
    student, teachers, batch = jax.tree.map(
      examples, (self.student, self.teachers, batch or self.batch)
    )
    return self.value(student, teachers, batch)


@functools.cache
def seen(case: tiny.Case) -> Seen:
  return Seen(case)


@pytest.mark.usefixtures('float64')
@every_case(CASES)
class TestLoss:
  @pytest.mark.system
  def test_the_order_of_a_batch_does_not_count(self, case):
    if case.name == 'cc':
      pytest.skip('compares neighbours in the batch')
    order = np.random.default_rng(0).permutation(EXAMPLES)
    assert seen(case).loss(examples=lambda leaf: leaf[order]) == pytest.approx(
      seen(case).loss(), abs=1e-6, rel=1e-9
    )

  def test_the_cross_entropy_is_a_constant_share_of_the_views(self, case):
    """Whatever else a method does, its term 'cross_entropy' is the same multiple of the labelled
    images' cross-entropy.
    """
    shares = []
    for factor in (1.0, 3.0):
      student = jax.tree.map(lambda leaf, factor=factor: factor * leaf, seen(case).student)
      terms = seen(case).terms(student, seen(case).teachers, seen(case).batch, jax.random.key(0))
      if 'cross_entropy' not in terms:
        pytest.skip('has no cross-entropy')
      inputs = tiny.loss_inputs(student, (), seen(case).batch)
      views = sum(cross_entropy(outputs, inputs) for outputs in student.values())
      shares.append(float(terms['cross_entropy'] / views))
    assert shares[0] == pytest.approx(shares[1], rel=1e-12)
    assert 0 < shares[0] <= 1


@pytest.mark.system
@pytest.mark.usefixtures('float64')
@pytest.mark.parametrize('name', TEACHER_OFF)
def test_without_its_teacher_a_method_is_cross_entropy_bit_for_bit(name):
  """Loss and gradient with respect to everything that the student computes; the networks and steps
  are the same code.
  """
  off = Seen(tiny.Case(name, 'written', 1), methods.make(name, chosen={name: TEACHER_OFF[name]}))

  def loss(student):
    return sum(off._terms(student, off.teachers, off.batch, jax.random.key(0)).values())

  def alone(student):
    inputs = tiny.loss_inputs(student, (), off.batch)
    return sum(cross_entropy(outputs, inputs) for outputs in student.values())

  with tiny.quick_compilation():
    values = [jax.jit(jax.value_and_grad(f))(off.student) for f in (loss, alone)]
  chex.assert_trees_all_equal(*values)


# The table ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', METHODS)
class TestRow:
  def test_recipes_set_options_of_the_method_or_its_plan(self, name):
    row = METHODS[name]
    assert set(row.recipes) | set(row.relu_placement) <= set(RECIPES)
    for options in row.recipes.values():
      assert set(options) <= set(methods.options(name)) | set(plans.options(name))
    assert set(row.relu_placement.values()) <= set(models.RELU_PLACEMENTS)

  def test_every_option_has_a_default_of_the_type_that_recipes_give_it(self, name):
    defaults = methods.options(name) | plans.options(name)
    for options in METHODS[name].recipes.values():
      for option, value in options.items():
        assert isinstance(value, type(defaults[option]))

  def test_has_a_plan(self, name):
    assert METHODS[name].plan in plans.PLANS


# Pairs of networks --------------------------------------------------------------------------------

PAPER = ('resnet26', 'resnet8')
PAIRS = [
  PAPER,
  ('resnet18', 'resnet8'),
  ('wrn16_4', 'resnet8'),
  ('resnet26', 'wrn10_1'),
  ('thin_resnet56', 'thin_resnet8'),
  ('resnet18', 'mobilenet_v2'),
]
# the student's last stage is smaller than any of the teacher's
MISMATCHED = ('resnet8', 'resnet10')


@functools.cache
def known(name: str, placement: str) -> NetworkInfo:
  spec = NetworkSpec(name, 10, (32, 32, 3), models.relu_placement(name, placement))
  return tiny.info(models.build(spec))


def terms(case: tiny.Case, teacher: NetworkInfo, student: NetworkInfo):
  """The terms of a pair's loss, as shapes."""
  method = case.method()

  def once(key, outputs, weights):
    teachers = (teacher._replace(variables=w) for w in weights)
    own = method.init(tiny.init_inputs(student, *teachers, key=key))
    number = jnp.zeros(2, jnp.int32)
    batch = Batch(jnp.zeros((2, 32, 32, 3)), number, number)
    of_student, of_teacher = (dict.fromkeys(method.views, o) for o in outputs)
    inputs = tiny.loss_inputs(of_student, (of_teacher,) * len(weights), batch, key=key)
    return method.loss(own, inputs)[0]

  return jax.eval_shape(
    once,
    jax.random.key(0),
    (student.outputs, teacher.outputs),
    (teacher.variables,) * case.teachers,
  )


@every_case(
  [
    case
    for case in CASES
    if case.teachers and (case.recipe == 'written' or case.placement != 'block')
  ]
)
class TestPairs:
  @pytest.mark.parametrize('pair', PAIRS, ids='-'.join)
  def test_a_pair_of_any_families_works(self, case, pair):
    if case.name == 'fsp' and pair != PAPER:
      pytest.skip('takes networks of equal widths; phased_test.py has its refusal')
    found = terms(case, *(known(name, case.placement) for name in pair))
    assert found and {term.shape for term in found.values()} == {()}

  def test_stages_that_no_teacher_has_are_refused_in_one_line(self, case):
    teacher, student = (known(name, case.placement) for name in MISMATCHED)
    all_stages = {'ab', 'oh', 'pkd', 'attention', 'nst', 'review', 'vid'}
    if not all_stages & {name for _, name in methods.parse(case.name)}:
      pytest.skip('compares no feature of every stage')
    with pytest.raises(ConfigError, match='features of one size are needed') as error:
      terms(case, teacher, student)
    assert len(str(error.value).splitlines()) == 1

  def test_other_classes_are_refused_where_logits_are_compared(self, case):
    network = tiny.network()
    student = tiny.info(network)
    teacher = student._replace(
      network=network._replace(spec=network.spec._replace(classes=tiny.CLASSES + 2))
    )
    compared = {name for _, name in methods.parse(case.name)} - FEATURES_ALONE
    with pytest.raises(ConfigError, match='classes') if compared else contextlib.nullcontext():
      jax.eval_shape(
        lambda key, weights: case.method().init(
          tiny.init_inputs(
            student, *(teacher._replace(variables=weights),) * case.teachers, key=key
          )
        ),
        jax.random.key(0),
        teacher.variables,
      )
