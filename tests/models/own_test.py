"""Networks of one's own: what is taken, and what is said of what is not."""

from __future__ import annotations

import itertools
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods, models
from kd_jax.types import Batch, KdJaxError, LogitsOnly, NetworkSpec
from tests import own_code, tiny

_number = itertools.count()
SHAPE = (8, 8, 3)


@pytest.fixture
def make(tmp_path, monkeypatch):
  """Writes a module under a name of its own, into the current folder, and gives a function factory
  → Network.
  """
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', list(sys.path))
  monkeypatch.setattr(sys, 'dont_write_bytecode', True)

  def write(*changes, more=''):
    module = f'own_{next(_number)}'
    own_code.write(tmp_path, module, *changes, more=more)
    return lambda factory='small', **spec: models.build(
      NetworkSpec(f'{module}:{factory}', 5, SHAPE, **spec)
    )

  return write


def fails(said, call, *arguments, **named):
  with pytest.raises(KdJaxError, match=re.escape(said)) as caught:
    call(*arguments, **named)
  assert '\n' not in str(caught.value)


def test_is_a_network_like_any_other(make):
  network = make()(mean=(0.5,) * 3, std=(0.25,) * 3)
  variables = models.initialise(jax.random.key(0), network)
  image = np.random.default_rng(0).random((3, *SHAPE), np.float32)
  outputs = network.module.apply(variables, image, train=False)
  assert outputs.logits.shape == (3, 5) and network.norms == (('norm',),)
  assert models.count_parameters(variables['params']) == 4 * 27 + 8 + 25
  assert models.relu_placement(network.spec.name, 'stage') == 'block'


def test_a_network_without_statistics_has_none(make):
  network = make()('bare')
  assert models.shapes(network)['batch_stats'] == {}
  assert isinstance(models.output_shapes(network), LogitsOnly)


@pytest.mark.parametrize('kind', ['jit', 'pmap'])
@pytest.mark.parametrize('factory', ['small', 'bare'])
def test_trains_on_several_devices(make, kind, factory):
  """Student and teacher; five steps compile once."""
  network = make()(factory)
  with tiny.quick_compilation():
    taken = tiny.take(
      tiny.ready(methods.make('kd'), teachers=1, kind=kind, devices=4, pair=(network, network))
    )
  assert all(np.isfinite(m['loss'][0]) for m in taken.metrics) and not any(taken.compiled[1:])


@pytest.mark.parametrize(
  'method',
  ['oh', 'rkd', 'sfd', 'pkd', 'kd+0.5*ab', 'attention', 'nst', 'fitnet', 'sp', 'pkt', 'cc', 'crd']
  + ['simkd', 'review', 'vid', 'srd', 'srrl', 'fsp', 'ft'],
)
def test_a_method_that_wants_more_than_logits_refuses(make, method):
  """At the latest when its first step is traced."""
  network = make()('bare')
  with pytest.raises(
    KdJaxError,
    match="the method asks a network for its (features|embedding|layers)|by the name 'head'",
  ):
    ready = tiny.ready(methods.make(method), teachers=1, pair=(network, network))
    ready.step(ready.state, ready.frozen, ready.block(0))


@pytest.mark.parametrize(
  'method', ['dkd', 'dist', 'ttm', 'wttm', 'nkd', 'rld', 'wsld', 'mlld', 'ctkd']
)
def test_a_method_of_logits_asks_for_nothing_else(make, method):
  network = make()('bare')
  own = tiny.info(network)
  made = methods.make(method)
  inputs = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), own.outputs)
  label = np.zeros(2, np.int32)
  batch = Batch(jnp.zeros((2, *network.spec.image_shape)), label, label)
  seen = dict.fromkeys(made.views, inputs)
  given = tiny.loss_inputs(seen, (seen,), batch)
  variables = made.init(tiny.init_inputs(own, tiny.info(network, tiny.variables(network))))
  terms, _ = made.loss(variables, given)
  assert all(np.isfinite(value) for value in terms.values())


def test_overhaul_needs_norms_and_ab_a_head(make):
  network = make(("name='head'", "name='last'"))('without_norms')
  info = tiny.info(network, tiny.variables(network))
  fails('names none: name them', methods.make('oh').init, tiny.init_inputs(info, info))
  fails("by the name 'head'", methods.make('ab').init, tiny.init_inputs(info, info))


def test_sfd_needs_the_names_of_blocks(make):
  info = tiny.info(make(("{'stage1_block1': x}", "{'mine': x}"))())
  fails('a stage for each feature', methods.make('sfd').init, tiny.init_inputs(info, info))


@pytest.mark.parametrize(
  'name', ['a:b:c', ':small', 'own:', 'my-own:small', 'a b:c', 'own:small()', '1:2', 'a/b:c']
)
def test_names_that_are_none(name):
  fails('is no name of an own network', models.build, NetworkSpec(name, 5, SHAPE))


def test_a_module_that_is_not_there(make):
  make()
  fails(
    'the network nosuch.net:small cannot be had: it was not found in',
    models.build,
    NetworkSpec('nosuch.net:small', 5, SHAPE),
  )


@pytest.mark.parametrize(
  ('changes', 'more', 'said'),
  [
    ((), 'import nosuch_library\n', "its import of 'nosuch_library' was not found"),
    ((), '1 / 0\n', 'cannot be imported: ZeroDivisionError: division by zero (own_'),
    ((), 'def x(:\n', 'cannot be imported: SyntaxError'),
    (
      (('def small', 'def smal'),),
      '',
      "has no 'small'; its functions are smal, without_norms, bare",
    ),
    ((), 'small = 3\n', 'is no function: it is of the type int'),
    (
      (),
      'def small():\n  pass\n',
      'cannot be called with a NetworkSpec alone (too many positional arguments)',
    ),
    (
      (),
      'def small(spec, width):\n  pass\n',
      "cannot be called with a NetworkSpec alone (missing a required argument: 'width')",
    ),
    (
      (),
      'def small(spec):\n  return spec.nosuch\n',
      "fails: AttributeError: 'NetworkSpec' object has no attribute 'nosuch' (own_",
    ),
    ((), "def small(spec):\n  raise KdJaxError('needs 32 pixels')\n", 'needs 32 pixels'),
    ((), 'def small(spec):\n  return Bare(spec.classes)\n', 'returns a Bare and not a Network'),
    (
      (),
      'def small(spec):\n  return Network(None, Bare(5), ())\n',
      'returns a Network of another spec',
    ),
    (
      (),
      'def small(spec):\n  return Network(spec, Bare, ())\n',
      'whose module is a type and not a flax.linen.Module',
    ),
    (
      (('self, image, *, train)', 'self, image)'),),
      '',
      "makes Net, whose __call__ takes no argument 'train'",
    ),
    (
      (('  axis_name: str | None = None\n', ''), ('axis_name=self.axis_name, ', '')),
      '',
      "makes Net, which has no field 'axis_name'",
    ),
    (
      (('return Outputs(', 'return ('),),
      '',
      'returns a tuple from __call__ and not Outputs or LogitsOnly',
    ),
    (
      (('Dense(self.classes', 'Dense(3'),),
      '',
      'returns logits of shape [B, 3]: for 5 classes they are [B, 5]',
    ),
    (
      (('Outputs(logits', 'Outputs(logits[0]'),),
      '',
      'returns logits of shape [5]: the batch comes first',
    ),
    (
      (('Outputs(logits', "Outputs(logits.astype('bfloat16')"),),
      '',
      'returns logits in bfloat16: outputs are float32',
    ),
    ((('(x,), {', '(), {'),), '', 'returns no tuple of features'),
    ((('(x,), {', '[x], {'),), '', 'returns no tuple of features'),
    ((('(x,), {', '(embedding,), {'),), '', 'returns features[0] of shape [B, 4]: a map is'),
    ((("{'stage1_block1': x}", '(x,)'),), '', 'returns a tuple for layers'),
    (
      (("{'stage1_block1': x}", "{'stage1_block1': logits}"),),
      '',
      'returns stage1_block1 of shape [B, 5]',
    ),
    (((', embedding)', ', x)'),), '', 'returns an embedding of shape [B, 2, 2, 4]'),
    (
      (('nn.relu(x)', "nn.relu(x + self.variable('cache', 'seen', jnp.zeros, ()).value)"),),
      '',
      "keeps variables in 'cache'",
    ),
    (
      (('nn.relu(x)', 'nn.Dropout(0.5, deterministic=not train)(x)'),),
      '',
      'fails at train=True: InvalidRngError',
    ),
    ((('strides=4', 'strides=(4, 4, 4)'),), '', 'fails when its weights are drawn: '),
    ((("name='head'", "name='the/head'"),), '', "names a variable 'the/head'"),
    ((("(('norm',),)", "(('norm',), ('norm',))"),), '', 'names 2 norms'),
    (
      (("(('norm',),)", "(('conv',),)"),),
      '',
      "names the norm ('conv',), and no scale and bias lie there",
    ),
    ((('(x,), {', '(x[..., :2],), {'),), '', "names the norm ('norm',), which has other channels"),
  ],
)
def test_faults_are_told_in_one_line(make, changes, more, said):
  fails(said, make(*changes, more=more))


def test_relus_stand_where_it_puts_them(make):
  fails(
    "relu_placement 'pool', of the configuration or a recipe, does not apply",
    make(),
    relu_placement='pool',
  )


def test_weights_of_earlier_code(make):
  one, other = make()(), make(('WIDTH = 4', 'WIDTH = 6'))()
  variables = tiny.variables(one)
  assert models.with_weights(one.spec, variables, 'runs/x').variables is variables
  fails(
    'the weights in runs/x are not those of', models.with_weights, other.spec, variables, 'runs/x'
  )
  fails(
    'is missing there', models.with_weights, one.spec, {**variables, 'batch_stats': {}}, 'runs/x'
  )
