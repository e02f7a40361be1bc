"""FSP and factor transfer: their terms beside the formulas written out in numpy, and their phases."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods, models
from kd_jax.losses import maps
from kd_jax.methods.base import cross_entropy
from kd_jax.methods.ft import paraphrasing, transfer
from kd_jax.models import factors
from kd_jax.types import Batch, ConfigError, NetworkSpec
from tests import tiny
from tests.methods.by_hand_modules_test import array, convolved, mse, normalised
from tests.methods.by_hand_test import (
  EXAMPLES,
  LABELS,
  OWN_WEAK,
  STUDENT,
  TAUGHT_WEAK,
  TEACHER,
  ce,
  check,
  kl,
  relu,
  terms,
  unit,
)
from tests.methods.plans_test import named, phases

pytestmark = pytest.mark.usefixtures('float64')


# FSP ----------------------------------------------------------------------------------------------


def flows(outputs):
  """G of each pair of consecutive maps, the larger one in means of equal windows."""
  found = [relu(outputs.layers['stem_norm']), *map(relu, outputs.features)]
  made = []
  for bottom, top in zip(found[:-1], found[1:], strict=True):
    step = bottom.shape[1] // top.shape[1]
    shape = (EXAMPLES, top.shape[1], step, top.shape[2], step, bottom.shape[-1])
    bottom = bottom.reshape(shape).mean((2, 4))
    made.append(np.einsum('bijc,bijd->bcd', bottom, top) / (top.shape[1] * top.shape[2]))
  return made


def test_fsp():
  """The stem, too; unlabelled images count."""
  apart = sum(mse(s, t) for s, t in zip(flows(OWN_WEAK), flows(TAUGHT_WEAK), strict=True))
  assert len(flows(OWN_WEAK)) == 2
  check(terms('fsp')[0], cross_entropy=ce(OWN_WEAK), flow=apart)
  check(terms('fsp', weight=50.0)[0], cross_entropy=ce(OWN_WEAK), flow=50 * apart)


def test_a_stem_that_one_network_does_not_show_is_left_out():
  own = {'weak': OWN_WEAK._replace(layers={})}
  apart = mse(flows(OWN_WEAK)[1], flows(TAUGHT_WEAK)[1])
  check(terms('fsp', own=own)[0], cross_entropy=ce(OWN_WEAK), flow=apart)
  bare = OWN_WEAK._replace(layers={'stem_conv': relu(OWN_WEAK.layers['stem_norm'])})
  assert terms('fsp', own={'weak': bare})[0]['flow'] == pytest.approx(terms('fsp')[0]['flow'])


def test_the_flow_of_one_map_by_itself_is_its_second_moment_and_equal_maps_are_0_apart():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 2, 4)))
  found = maps.flow(x, x)
  np.testing.assert_allclose(found, np.einsum('bijc,bijd->bcd', x, x) / 4, rtol=1e-12)
  assert not maps.flow_distance((x, x), (x, x)).any()
  twice = maps.flow_distance((2 * x, x), (x, x))
  np.testing.assert_allclose(twice, np.square(found).mean((1, 2)), rtol=1e-12)


def test_other_widths_are_refused_in_one_line():
  wide = tiny.network(widths=(4, 6))
  inputs = tiny.init_inputs(tiny.info(STUDENT), tiny.info(wide, tiny.variables(wide)))
  for method in (methods.make('fsp'), phases('fsp')[1].method):
    with pytest.raises(ConfigError, match='have 4, 8 channels, those of tiny 4, 6: equal') as error:
      method.init(inputs)
    assert '\n' not in str(error.value)


def test_a_network_of_one_stage_has_no_flow():
  flat = tiny.network(blocks=(1,), widths=(4,))
  inputs = tiny.init_inputs(tiny.info(flat), tiny.info(flat, tiny.variables(flat)))
  with pytest.raises(ConfigError, match='tiny has one stage: take networks of two or more'):
    methods.make('fsp').init(inputs)


class TestFspsPhases:
  def test_the_flow_first_then_the_labels_alone(self):
    teacher, flow, student = phases('fsp', epochs=240)
    assert named((teacher, flow, student)) == ['teacher', 'flow', 'student']
    assert (flow.role, flow.epochs, student.epochs) == ('stage', 30, 210)
    assert (flow.start, student.start) == (None, 'flow')
    assert flow.optimiser.schedule_options == {'drops': ()}
    assert student.optimiser.schedule_options == {}
    given = tiny.loss_inputs({'weak': OWN_WEAK}, ({'weak': TAUGHT_WEAK},), batch())
    found, _ = student.method.loss(student.method.init(init_inputs()), given)
    check({term: float(value) for term, value in found.items()}, cross_entropy=ce(OWN_WEAK))
    found, _ = flow.method.loss(flow.method.init(init_inputs()), given)
    check({k: float(v) for k, v in found.items()}, flow=terms('fsp')[0]['flow'])

  def test_the_flow_trains_all_but_the_classifier(self):
    _, flow, student = phases('fsp')
    params = models.shapes(models.build(flow.student))['params']
    paths = [
      tuple(part.key for part in path)
      for path, _ in jax.tree_util.tree_leaves_with_path({'student': params})
    ]
    assert {path[1] for path in paths if not flow.method.trains(path)} == {'head'}
    assert all(student.method.trains(path) for path in paths)

  def test_official_adds_its_epochs(self):
    _, flow, student = phases('fsp', recipe='official', epochs=240)
    assert (flow.epochs, student.epochs) == (30, 240)

  def test_a_short_run_has_one_epoch_of_it_and_a_share_of_0_none(self):
    _, flow, student = phases('fsp', epochs=2)
    assert (flow.epochs, student.epochs) == (1, 1)
    _, student = phases('fsp', options={'fsp': {'flow_share': 0.0}})
    assert (student.epochs, student.start) == (20, None)

  @pytest.mark.parametrize(
    ('changed', 'words'),
    [
      ({'epochs': 1}, 'each phase needs at least one'),
      ({'options': {'fsp': {'flow_share': 1.0}}}, r'fsp.flow_share is a share of the epochs'),
      ({'options': {'fsp': {'flow_share': -0.5}}}, r'fsp.flow_share is a share of the epochs'),
    ],
  )
  def test_each_phase_needs_an_epoch(self, changed, words):
    with pytest.raises(ConfigError, match=words):
      phases('fsp', **changed)


# Factor transfer ----------------------------------------------------------------------------------


def stack(params, x):
  for number in (1, 2, 3):
    layer = params[f'conv{number}']
    x = convolved(x, layer) + array(layer['bias'])
    if f'norm{number}' in params:
      x = normalised(x, params[f'norm{number}'])
    x = np.where(x > 0, x, x / 10)
  return x


def places(x):
  return unit((x**2).mean(-1).reshape(EXAMPLES, -1))


def factor(translator, encoder):
  own, target = (relu(outputs.features[-1]) for outputs in (OWN_WEAK, TAUGHT_WEAK))
  return np.abs(places(stack(translator, own)) - places(stack(encoder, target))).mean()


def reconstruction(params):
  target = relu(TAUGHT_WEAK.features[-1])
  return mse(stack(params['decoder'], stack(params['encoder'], target)), target)


def batch():
  return Batch(np.zeros((EXAMPLES, *STUDENT.spec.image_shape)), LABELS, np.arange(EXAMPLES))


def init_inputs(variables=None):
  variables = tiny.variables(TEACHER, seed=100) if variables is None else variables
  return tiny.init_inputs(tiny.info(STUDENT), tiny.info(TEACHER, variables), key=0)


def with_paraphraser(share=0.5):
  """A teacher's variables with those of a paraphraser, drawn."""
  companion = paraphrasing(TEACHER, share=share).companion
  return tiny.variables(companion, seed=100)


@pytest.mark.parametrize('share', [0.5, 0.25, 0.01])
def test_ft_in_one_phase(share):
  found, variables = terms('ft', share=share)
  translator, paraphraser = variables.params['translator'], variables.params['paraphraser']
  few = max(int(8 * share), 1)
  assert translator['conv3']['kernel'].shape == (3, 3, few, few)
  assert 'norm1' in translator and 'norm1' not in paraphraser['encoder']
  check(
    found,
    cross_entropy=ce(OWN_WEAK),
    factor=200 * factor(translator, paraphraser['encoder']),
    reconstruction=reconstruction(paraphraser),
  )


def test_the_student_does_not_reach_the_paraphraser():
  """Its gradient is that of the reconstruction alone."""
  method = methods.make('ft')
  variables = method.init(init_inputs())
  given = tiny.loss_inputs({'weak': OWN_WEAK}, ({'weak': TAUGHT_WEAK},), batch())

  @jax.jit
  def gradients(params):
    def loss(params, names):
      made, _ = method.loss(variables._replace(params=params), given)
      return sum(made[name] for name in names)

    return [
      jax.grad(loss)(params, names)['paraphraser']
      for names in (('factor',), ('reconstruction',), ('factor', 'reconstruction'))
    ]

  none, alone, both = gradients(variables.params)
  assert not any(leaf.any() for leaf in jax.tree.leaves(none))
  assert all(leaf.any() for leaf in jax.tree.leaves(alone))
  chex.assert_trees_all_close(alone, both, rtol=1e-12)


def test_ft_learns_from_the_paraphraser_that_its_teacher_brings():
  teacher = with_paraphraser()
  method = transfer(weight=3.0, share=0.5)
  variables = method.init(init_inputs(teacher))
  given = tiny.loss_inputs({'weak': OWN_WEAK}, ({'weak': TAUGHT_WEAK},), batch())
  found, state = jax.jit(lambda variables: method.loss(variables, given))(variables)
  assert set(variables.params) == {'translator'} and set(state) == {'norm1', 'norm2', 'norm3'}
  encoder = teacher['params']['paraphraser']['encoder']
  check(
    {term: float(value) for term, value in found.items()},
    cross_entropy=ce(OWN_WEAK),
    factor=3 * factor(variables.params['translator'], encoder),
  )


def test_the_first_phase_trains_the_paraphraser_alone():
  method = paraphrasing(TEACHER, share=0.5)
  variables = method.init(init_inputs())
  given = tiny.loss_inputs({'weak': OWN_WEAK}, ({'weak': TAUGHT_WEAK},), batch())
  found, state = method.loss(variables, given)
  expected = reconstruction(variables.params['paraphraser'])
  check({k: float(v) for k, v in found.items()}, reconstruction=expected)
  assert state is variables.state
  assert method.trains(('method', 'paraphraser', 'encoder', 'conv1', 'kernel'))
  assert not method.trains(('method', 'head', 'kernel'))
  assert not method.trains(('student', 'head', 'kernel'))


def test_the_companion_predicts_as_the_teacher():
  companion = paraphrasing(TEACHER, share=0.5).companion
  variables = with_paraphraser()
  plain = {k: v for k, v in variables['params'].items() if k != 'paraphraser'}
  assert jax.tree.structure(plain) == jax.tree.structure(tiny.variables(TEACHER)['params'])
  image = np.random.default_rng(0).uniform(size=(2, *TEACHER.spec.image_shape))
  found, expected, read_back = (
    jax.jit(lambda variables, module=module: module.apply(variables, image, train=False))(given)
    for module, given in (
      (companion.module, variables),
      (TEACHER.module, {**variables, 'params': plain}),
      (TEACHER.module, variables),
    )
  )
  chex.assert_trees_all_equal(found, expected, read_back)
  assert companion.module.clone(axis_name='i').module.axis_name == 'i'


def test_a_factor_has_a_channel():
  assert [factors.factors(8, share) for share in (1.0, 0.5, 0.3, 0.01)] == [8, 4, 2, 1]


class TestFtsPhases:
  def test_the_paraphraser_first_then_the_student_for_all_epochs(self):
    teacher, paraphraser, student = phases('ft', epochs=240)
    assert named((teacher, paraphraser, student)) == ['teacher', 'paraphraser', 'student']
    assert (paraphraser.role, paraphraser.epochs, student.epochs) == ('stage', 30, 240)
    assert (paraphraser.teachers, student.teachers) == (('teacher',), ('paraphraser_teacher',))
    assert student.start == 'paraphraser'
    assert paraphraser.optimiser.learning_rate == pytest.approx(0.02)
    assert paraphraser.optimiser.schedule_options == {'drops': ()}
    assert student.optimiser.learning_rate == 0.1
    assert paraphraser.method.companion.spec == teacher.student

  def test_an_imported_teacher_keeps_its_own_network(self):
    spec = NetworkSpec('wrn10_2', 10, (32, 32, 3))
    paraphraser, _ = phases('ft', imported=('teacher',), imported_specs={'teacher': spec})
    assert paraphraser.method.companion.spec == spec

  def test_a_teacher_that_no_spec_builds_is_refused(self):
    spec = NetworkSpec('teacher.stablehlo', 10, (32, 32, 3))
    with pytest.raises(ConfigError, match='teacher.stablehlo is as it was made'):
      phases('ft', imported=('teacher',), imported_specs={'teacher': spec})

  def test_a_share_of_0_is_one_phase(self):
    _, student = phases('ft', options={'ft': {'paraphraser_share': 0.0}})
    assert (student.epochs, student.start, student.teachers) == (20, None, ('teacher',))

  @pytest.mark.parametrize(
    ('option', 'value', 'words'),
    [
      ('paraphraser_share', 1.0, r'in \[0, 1\), not 1.0'),
      ('paraphraser_rate', 0.0, 'ft.paraphraser_rate is a finite number greater than 0'),
      ('share', 0.0, 'ft.share is a share of channels, above 0 and at most 1, not 0.0'),
      ('share', 1.5, 'ft.share is a share of channels, above 0 and at most 1, not 1.5'),
    ],
  )
  def test_numbers_that_cannot_be_are_refused(self, option, value, words):
    with pytest.raises(ConfigError, match=words):
      phases('ft', options={'ft': {option: value}})


def test_without_its_weight_ft_leaves_the_student_to_the_labels():
  """Its gradient is that of cross-entropy, bit for bit; the paraphraser learns all the same."""
  method = methods.make('ft', chosen={'ft': {'weight': 0.0}})
  variables = method.init(init_inputs())

  def of_ft(student):
    given = tiny.loss_inputs({'weak': student}, ({'weak': TAUGHT_WEAK},), batch())
    return sum(method.loss(variables, given)[0].values())

  def alone(student):
    return cross_entropy(student, tiny.loss_inputs({}, (), batch()))

  with tiny.quick_compilation():
    chex.assert_trees_all_equal(*(jax.jit(jax.grad(f))(OWN_WEAK) for f in (of_ft, alone)))


@pytest.mark.parametrize('name', ['fsp', 'ft'])
def test_each_joins_kd_in_one_phase(name):
  assert named(phases(f'kd+{name}')) == ['teacher', 'student']
  joined, alone = terms(f'kd+0.8*{name}')[0], terms(name)[0]
  kds = {'cross_entropy': 0.5 * ce(OWN_WEAK), 'distillation': 0.5 * kl(OWN_WEAK, TAUGHT_WEAK, 5.0)}
  check(joined, **({term: 0.8 * value for term, value in alone.items()} | kds))
