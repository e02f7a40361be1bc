from __future__ import annotations

import jax
import numpy as np
import pytest

from kd_jax.deploy import runners
from kd_jax.deploy.runners import Runner
from kd_jax.types import KdJaxError, Trained
from tests import tiny

NETWORK = tiny.network()
VARIABLES = tiny.variables(NETWORK)
REFERENCE = runners.in_jax(Trained(NETWORK, VARIABLES))


def changed(change):
  return Runner(lambda image: change(np.array(REFERENCE.run(image))), REFERENCE.image_shape)


def test_a_network_agrees_with_itself():
  found = runners.compare(REFERENCE, REFERENCE)
  # A processor may round the same image differently in a batch of another size.
  assert max(found.pop('probabilities'), found.pop('logits')) <= 1e-7
  assert found == {'tolerance': 1e-5, 'images': 16, 'test_images': 0, 'batches': [1, 16]}


def test_a_fault_on_an_example_alone_is_noticed():
  examples = np.full((3, *REFERENCE.image_shape), 0.25, np.float32)
  found = runners.compare(REFERENCE, REFERENCE, examples=examples)
  assert (found['images'], found['test_images'], found['batches']) == (16, 3, [1, 19])

  def run(image):
    logits = np.array(REFERENCE.run(image))
    logits[(image == 0.25).all((1, 2, 3))] += 1e-3
    return logits

  wrong = Runner(run, REFERENCE.image_shape)
  runners.compare(wrong, REFERENCE)
  with pytest.raises(KdJaxError, match='differ by'):
    runners.compare(wrong, REFERENCE, examples=examples)


def test_softmax():
  logits = np.array([[0, np.log(3)], [1000, 1000 + np.log(3)], [-np.inf, 0]])
  np.testing.assert_allclose(runners.softmax(logits), [[0.25, 0.75], [0.25, 0.75], [0, 1]])


def one_class(logits):
  logits[-1, 1] += 5e-5
  return logits


@pytest.mark.parametrize(
  'fault',
  [
    one_class,
    lambda logits: logits + 1e-4,
    lambda logits: logits[:, ::-1],
    lambda logits: np.full_like(logits, np.nan),
  ],
)
def test_a_fault_in_the_outputs_is_noticed(fault):
  with pytest.raises(KdJaxError, match='differ by'):
    runners.compare(changed(fault), REFERENCE)


@pytest.mark.parametrize(
  'fault',
  [lambda logits: logits[:1], lambda logits: logits[:, :-1], lambda logits: logits[:, None]],
)
def test_another_shape_is_noticed(fault):
  with pytest.raises(KdJaxError, match='give an array of shape'):
    runners.compare(changed(fault), REFERENCE)


def test_a_shift_that_no_probability_shows_is_noticed():
  """Saturated: the probabilities are 0 and 1 whatever the logits' last digits."""
  large = Runner(lambda image: 1e3 * REFERENCE.run(image), REFERENCE.image_shape)
  wrong = Runner(lambda image: 1e3 * REFERENCE.run(image) * (1 + 1e-4), REFERENCE.image_shape)
  with pytest.raises(KdJaxError, match='its logits differ'):
    runners.compare(wrong, large)


@pytest.mark.parametrize('leaf', range(len(jax.tree.leaves(VARIABLES))))
def test_each_weight_counts(leaf):
  """A change of any array of the network is seen by the images that it is compared on."""
  leaves, structure = jax.tree.flatten(VARIABLES)
  leaves[leaf] = leaves[leaf] * 1.01 + 0.01
  with pytest.raises(KdJaxError):
    runners.compare(
      runners.in_jax(Trained(NETWORK, jax.tree.unflatten(structure, leaves))), REFERENCE
    )


def test_latencies_take_turns(monkeypatch):
  monkeypatch.setattr(runners, '_SECONDS', 0.05)
  calls, clock = [], [0.0]
  monkeypatch.setattr(runners.time, 'perf_counter', lambda: clock[0])

  def slow(name, seconds):
    def run(image):
      calls.append((name, len(image)))
      clock[0] += seconds
      return image

    return Runner(run, (2, 2, 1))

  quick, slower = runners.latencies([slow('a', 0.001), slow('b', 0.01)], 4)
  assert set(calls) == {('a', 4), ('b', 4)} and calls[:4] == [('a', 4), ('b', 4)] * 2
  # the first does not count
  assert quick['batch'] == 4 and quick['runs'] == slower['runs'] == len(calls) / 2 - 1 >= 5
  assert (quick['median_ms'], slower['median_ms']) == pytest.approx((1, 10))
