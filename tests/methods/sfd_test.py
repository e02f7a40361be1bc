"""Simple feature distillation's pairs of layers, and its ways of bringing them to one size."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import models
from kd_jax.methods.sfd import RESIZES, pair_layers, select, sfd
from kd_jax.types import Batch, ConfigError, NetworkSpec
from tests import tiny


def known(name: str):
  return tiny.info(models.build(NetworkSpec(name, 10, (32, 32, 3))))


def outputs(of, seed: int):
  draw = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: jnp.asarray(draw.normal(size=leaf.shape), jnp.float32), of.outputs
  )


def value_and_gradient(method, student, teacher):
  own = method.init(tiny.init_inputs(student, teacher, key=0))
  number = jnp.zeros(2, jnp.int32)
  inputs = tiny.loss_inputs(
    {'weak': outputs(student, 1)},
    ({'weak': outputs(teacher, 2)},),
    Batch(jnp.zeros((2, 32, 32, 3)), number, number),
  )

  def loss(params):
    return method.loss(own._replace(params=params), inputs)[0]['feature']

  return jax.value_and_grad(loss)(own.params)


def test_blocks_are_spread_over_the_teachers_of_the_same_size():
  pairs = pair_layers(known('resnet8').outputs, known('resnet26').outputs)
  assert pairs == {
    'stem_conv': 'stem_conv',
    'stem_norm': 'stem_norm',
    'stage1_block1': 'stage1_block4',
    'stage2_block1': 'stage2_block4',
    'stage3_block1': 'stage3_block4',
  }


def test_where_their_numbers_do_not_divide_a_block_meets_the_next_one():
  """Three of a stage over four: 4/3, 8/3 and 12/3, rounded up."""
  pairs = pair_layers(known('resnet20').outputs, known('resnet26').outputs)
  assert [pairs[f'stage2_block{block}'] for block in (1, 2, 3)] == [
    'stage2_block2',
    'stage2_block3',
    'stage2_block4',
  ]


@pytest.mark.parametrize(
  ('teacher', 'counterpart'), [('wrn16_1', 'final_norm'), ('resnet26', 'stage3_block4')]
)
def test_every_layer_of_a_pre_activation_student_has_a_counterpart(teacher, counterpart):
  """Its final BatchNorm, before the last ReLU, has the teacher's, or else the last block's map,
  which stands there in a ResNet.
  """
  student = known('wrn10_1')
  pairs = pair_layers(student.outputs, known(teacher).outputs)
  assert set(pairs) == set(student.outputs.layers) and pairs['final_norm'] == counterpart
  assert select('stages', tuple(pairs)) == tuple(pairs)

  def term(layers):
    return float(value_and_gradient(sfd(layers=layers), student, known(teacher))[0])

  assert term('all') > term(f'first:{len(pairs) - 1}')


@pytest.mark.parametrize(
  ('student', 'teacher', 'expected'),
  [
    ('resnet10', 'resnet8', [1, 2, 3, 3]),  # 4×4 beside 8×8: the next larger one
    ('resnet8', 'resnet10', [1, 2, 3]),
  ],
)
def test_a_stage_of_no_teachers_size_has_the_next_larger_one(student, teacher, expected):
  pairs = pair_layers(known(student).outputs, known(teacher).outputs)
  found = [pairs[f'stage{number}_block1'] for number in range(1, len(expected) + 1)]
  assert found == [f'stage{number}_block1' for number in expected]


def test_a_student_larger_than_every_stage_has_the_first():
  small = known('resnet8')
  shrunk = small.outputs._replace(
    features=small.outputs.features[1:],
    layers={
      name.replace('stage2', 'stage1').replace('stage3', 'stage2'): layer
      for name, layer in small.outputs.layers.items()
      if not name.startswith('stage1')
    },
  )
  assert pair_layers(small.outputs, shrunk)['stage1_block1'] == 'stage1_block1'


@pytest.mark.parametrize('resize', RESIZES)
def test_every_way_of_resizing_gives_another_finite_loss(resize):
  value, _ = value_and_gradient(sfd(resize=resize), known('resnet10'), known('resnet8'))
  usual, _ = value_and_gradient(sfd(), known('resnet10'), known('resnet8'))
  assert np.isfinite(value) and (value == usual) == (resize == 'max_pool')


def test_transposed_convolutions_are_trained_where_maps_grow():
  _, gradient = value_and_gradient(
    sfd(resize='transposed_convolution'), known('resnet10'), known('resnet8')
  )
  assert {name: leaf['kernel'].shape for name, leaf in gradient.items()} == {
    'stage4_block1': (2, 2, 512, 64)
  }
  assert gradient['stage4_block1']['kernel'].any()


@pytest.mark.parametrize('resize', RESIZES)
def test_there_are_no_modules_where_nothing_grows(resize):
  student, teacher = known('resnet8'), known('resnet26')
  assert sfd(resize=resize).init(tiny.init_inputs(student, teacher)).params == {}
  chex.assert_trees_all_equal(
    value_and_gradient(sfd(resize=resize), student, teacher)[0],
    value_and_gradient(sfd(), student, teacher)[0],
  )


def test_a_map_that_does_not_grow_by_a_whole_number_is_refused():
  student, teacher = known('resnet8'), known('resnet8')
  layer = teacher.outputs.layers['stage3_block1']
  wider = jax.ShapeDtypeStruct((2, 12, 12, 64), layer.dtype)
  odd = teacher._replace(
    outputs=teacher.outputs._replace(
      features=(*teacher.outputs.features[:2], wider),
      layers=teacher.outputs.layers | {'stage3_block1': wider},
    )
  )
  with pytest.raises(ConfigError, match='by a whole number'):
    sfd(resize='transposed_convolution').init(tiny.init_inputs(student, odd))
