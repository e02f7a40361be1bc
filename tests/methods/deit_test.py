"""DeiT's distillation token beside its formulas in numpy, and as a network predicts by it."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import methods, models
from kd_jax.deploy import classifier, export, formats, runners
from kd_jax.files.networks import save_network
from kd_jax.methods.deit import deit
from kd_jax.models.vit import DISTILLATION_TOKEN, vit
from kd_jax.types import Batch, ConfigError, MethodVariables, Network, NetworkSpec, Outputs
from tests import tiny

B, K, D = 6, 5, 8
DRAW = np.random.default_rng(0)
TEACHER, LOGITS = (DRAW.normal(size=(B, K)).astype(np.float32) for _ in range(2))
EMBEDDING, TOKEN = (DRAW.normal(size=(B, D)).astype(np.float32) for _ in range(2))
HEAD = {
  'kernel': DRAW.normal(size=(D, K)).astype(np.float32),
  'bias': DRAW.normal(size=K).astype(np.float32),
}
LABELS = np.array([0, 1, 2, 3, 4, -1], np.int32)
WITH, WITHOUT = {DISTILLATION_TOKEN: TOKEN[:, None, None]}, {}


def log_softmax(z):
  shifted = z - z.max(-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def terms(layers, **options):
  student = Outputs(LOGITS, (), layers, EMBEDDING)
  teacher = Outputs(TEACHER, (), {}, EMBEDDING)
  batch = Batch(np.zeros((B, 8, 8, 3), np.float32), LABELS, LABELS)
  inputs = tiny.loss_inputs({'weak': student}, ({'weak': teacher},), batch)
  return deit(**options).loss(MethodVariables(params={'head': HEAD}), inputs)[0]


def second(layers):
  return (TOKEN if layers else EMBEDDING) @ HEAD['kernel'] + HEAD['bias']


@pytest.mark.parametrize('layers', [WITH, WITHOUT], ids=['token', 'embedding'])
class TestLoss:
  def test_hard(self, layers):
    """Images without a label count in the teacher's part alone."""
    own, apart = log_softmax(LOGITS), log_softmax(second(layers))
    hard = -np.mean([own[n, LABELS[n]] for n in range(5)])
    decided = -np.mean(apart[np.arange(B), TEACHER.argmax(-1)])
    for weight in (0.5, 0.1):
      found = terms(layers, weight=weight)
      assert float(found['cross_entropy']) == pytest.approx((1 - weight) * hard, rel=1e-5)
      assert float(found['distillation_token']) == pytest.approx(weight * decided, rel=1e-5)

  def test_soft(self, layers):
    p, q = log_softmax(TEACHER / 3), log_softmax(second(layers) / 3)
    found = terms(layers, weight=0.1, soft=True)
    expected = 0.1 * 9 * (np.exp(p) * (p - q)).sum(-1).mean()
    assert float(found['distillation_token']) == pytest.approx(expected, rel=1e-5)

  def test_both_classifiers_predict(self, layers):
    outputs = Outputs(LOGITS, (), layers, EMBEDDING)
    own = MethodVariables(params={'head': HEAD})
    softmax = deit().predict(own, outputs)
    expected = (np.exp(log_softmax(LOGITS)) + np.exp(log_softmax(second(layers)))) / 2
    np.testing.assert_allclose(np.exp(softmax), expected, rtol=1e-5)
    logits = methods.make('deit', recipe='official').predict(own, outputs)
    np.testing.assert_allclose(logits, (LOGITS + second(layers)) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ('chosen', 'said'),
  [
    ({'weight': 1.5}, 'weight between 0 and 1, not 1.5'),
    ({'temperature': 0.0}, 'temperature is a finite number greater than 0'),
    ({'prediction': 'sum'}, "deit.prediction is one of softmax, logits, not 'sum'"),
  ],
)
def test_options_out_of_range(chosen, said):
  with pytest.raises(ConfigError, match=said):
    methods.make('deit', chosen={'deit': chosen})


def student(spec: NetworkSpec) -> Network:
  return Network(spec, *vit(spec, width=D, depth=2, heads=2, distilled=True))


def small(distilled: bool = True, **options) -> Network:
  spec = NetworkSpec('vit_tiny_distilled', K, (8, 8, 3))
  return Network(spec, *vit(spec, width=D, depth=2, heads=2, distilled=distilled, **options))


def test_the_token_stands_second_and_is_no_part_of_the_maps():
  plain, with_token = small(distilled=False), small()
  one, other = map(models.output_shapes, (plain, with_token))
  assert [f.shape for f in one.features] == [f.shape for f in other.features]
  assert set(other.layers) - set(one.layers) == {DISTILLATION_TOKEN}
  assert other.layers[DISTILLATION_TOKEN].shape == (2, 1, 1, D)
  params = tiny.variables(with_token)['params']
  assert params['position'].shape == (1, 4 + 2, D)
  # The class token is the first of the two: what the second begins with moves its output most.
  image = np.zeros((1, 8, 8, 3), np.float32)

  def apart(name):
    moved = params | {name: params[name] + 1.0}
    return [
      with_token.module.apply({'params': each}, image, train=False) for each in (params, moved)
    ]

  before, after = apart(DISTILLATION_TOKEN)
  moved_token = np.abs(before.layers[DISTILLATION_TOKEN] - after.layers[DISTILLATION_TOKEN]).max()
  assert moved_token > np.abs(before.embedding - after.embedding).max()


def test_without_a_class_token_there_is_none():
  with pytest.raises(ConfigError, match="stands beside a class token: take pooling='token'"):
    small(pooling='mean')


def test_it_learns_by_the_token():
  """The first gradient reaches the token and the second classifier."""
  with tiny.quick_compilation():
    ready = tiny.ready(methods.make('deit'), teachers=1, pair=(small(), small()))
    now, _ = ready.step(ready.state, ready.frozen, ready.block(0))
  gradients = jax.device_get(now.opt_state[0])
  assert np.any(gradients['student'][DISTILLATION_TOKEN])
  assert np.any(gradients['method']['head']['kernel'])


def test_predict_and_export_follow(tmp_path, monkeypatch):
  """A network in a folder, as a run leaves it, predicts by both."""
  spec = NetworkSpec('tests.methods.deit_test:student', K, (8, 8, 3))
  network = models.build(spec)
  variables = tiny.variables(network)
  head = {'kernel': jnp.full((D, K), 0.02), 'bias': jnp.arange(K, dtype=jnp.float32)}
  own = {'params': {'head': head}, 'state': {}, 'constants': {}}
  made = {'name': 'deit', 'recipe': 'official', 'options': {'deit': {}}}
  saved = {**variables, 'method': own}
  save_network(tmp_path / 'network', spec, saved, {'method': made, 'classes': list('abcde')})
  images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
  outputs = network.module.apply(variables, images / np.float32(255), train=False)
  expected = methods.make('deit', recipe='official').predict(MethodVariables(**own), outputs)
  loaded = classifier.load(tmp_path / 'network')
  np.testing.assert_allclose(loaded.logits(images), expected, rtol=1e-4, atol=1e-4)
  monkeypatch.setattr(runners, '_SECONDS', 0.01)
  program = export.export(tmp_path / 'network', 'stablehlo', say=lambda line: None)
  np.testing.assert_allclose(
    formats.load(program).run(images / np.float32(255)), expected, rtol=1e-4, atol=1e-4
  )
  assert json.loads((program.parent / f'{program.name}.json').read_text())['classes'][0] == 'a'
