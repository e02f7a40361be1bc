"""Where images live changes nothing: the same pixels reach the step, and every evaluated image is
counted once.
"""

from __future__ import annotations

import threading

import chex
import jax
import numpy as np
import pytest

from kd_jax.data import feed, pipeline
from kd_jax.data.feed import Split
from kd_jax.train import evaluation, metrics, parallel
from kd_jax.types import Source
from tests import tiny

KEY = jax.random.key(2)


@pytest.fixture(autouse=True, scope='module')
def quick():
  with tiny.quick_compilation():
    yield


def source(count: int, seed: int = 0) -> Source:
  draw = np.random.default_rng(seed)
  return Source(
    draw.integers(0, 256, (count, 4, 4, 3), np.uint8), draw.integers(0, 5, count).astype(np.int32)
  )


def parts() -> tuple[Split, ...]:
  """A source of which some images are held out, and one that is whole."""
  return (
    Split(source(40), np.arange(4, 40, dtype=np.int32)[::-1]),
    Split(source(17, seed=1), np.arange(17, dtype=np.int32)),
  )


def order():
  return pipeline.order(KEY, tuple(len(part.index) for part in parts()), (8, 8))


def pixels(fed) -> Source:
  """What the step's own gather makes of a block, on one device."""
  return Source(*evaluation.gather(fed.sources, fed.index, fed.sources[0].image.shape[1:3]))


def position(spread):
  return spread.split(pipeline.positions((8, 8)))


def resident(spread) -> feed.Feed:
  placed = tuple(spread.place(part.source) for part in parts())
  return feed.resident(placed, parts(), order(), position(spread), spread.split, spread.split_steps)


def streamed(order, split=lambda tree: tree) -> feed.Feed:
  return feed.streamed(parts(), order, pipeline.positions((8, 8)), split)


@pytest.mark.parametrize('kind', parallel.KINDS)
def test_streamed_blocks_hold_the_pixels_and_numbers_of_resident_ones(kind):
  spread = parallel.make(kind, devices=1)
  undealt = (
    (lambda tree: tree)
    if kind == 'jit'
    else (lambda tree: jax.tree.map(lambda leaf: leaf[0], tree))
  )
  at_home, from_host = resident(spread), streamed(order(), spread.split)
  for number in (0, 1, 2, 9, 3):
    one, other = at_home.at(number), from_host.at(number)
    assert other.index == (None, None)
    chex.assert_trees_all_equal(one.example, other.example)
    chex.assert_trees_all_equal(
      pixels(one._replace(index=undealt(one.index))),
      pixels(other._replace(sources=undealt(other.sources))),
    )
  from_host.close()
  at_home.close()


@pytest.mark.parametrize(('kind', 'devices'), [('jit', 2), ('pmap', 2)])
def test_several_steps_are_given_the_index_and_the_numbers_of_each(kind, devices):
  spread = parallel.make(kind, devices=devices, steps=4)
  fed = resident(spread)
  together = fed.several(3, 4)
  for number in range(4):
    for field in ('index', 'example'):
      of_step = jax.tree.map(
        lambda leaf, n=number: np.asarray(leaf)[n] if kind == 'jit' else np.asarray(leaf)[:, n],
        getattr(together, field),
      )
      alone = jax.tree.map(np.asarray, getattr(fed.at(3 + number), field))
      chex.assert_trees_all_equal(of_step, alone)


def test_a_feed_gives_the_images_of_its_part():
  (part, _), chosen = parts(), order()(3)[0]
  fed = streamed(order())
  block = fed.at(3)
  fed.close()
  (source, _), example = block.sources, part.index[chosen]
  np.testing.assert_array_equal(block.example[0], example)
  np.testing.assert_array_equal(source.image, part.source.image[example])
  np.testing.assert_array_equal(source.label, part.source.label[example])


class TestStreamed:
  def test_prepares_blocks_ahead(self):
    asked, ready = [], threading.Event()

    def remembered(number):
      asked.append(number)
      if number == feed.AHEAD:
        ready.set()
      return order()(number)

    fed = streamed(remembered)
    fed.at(0)
    assert ready.wait(10)
    fed.at(1)
    fed.close()
    assert asked[: feed.AHEAD + 1] == list(range(feed.AHEAD + 1)) and len(set(asked)) == len(asked)

  def test_a_fault_in_the_thread_reaches_the_caller(self):
    def broken(number):
      raise OSError('the disk is gone')

    fed = streamed(broken)
    with pytest.raises(OSError, match='the disk is gone'):
      fed.at(0)
    fed.close()

  def test_closing_ends_the_thread(self):
    fed = streamed(order())
    fed.at(0)
    fed.close()
    assert not [t for t in threading.enumerate() if t.name.startswith('kd_jax-feed')]


class TestEvaluation:
  @pytest.mark.parametrize('streamed', [False, True])
  @pytest.mark.parametrize('count', [1, 7, 8, 9, 24])
  def test_every_image_once_and_padding_masked(self, count, streamed):
    part = Split(source(40), np.arange(40, dtype=np.int32)[::-1][:count])
    seen = []
    for sources, index, mask in feed.evaluation(
      part,
      8,
      placed=None if streamed else part.source,
      own=lambda tree: tree,
      split=lambda tree: tree,
    ):
      images, labels = evaluation.gather(sources, index, sources[0].image.shape[1:3])
      assert images.shape[0] == 8 and mask.dtype == np.float32 and (index[0] is None) == streamed
      kept = np.asarray(mask) > 0
      seen += list(
        zip(
          np.asarray(images)[kept].reshape(-1, 48).tolist(),
          np.asarray(labels)[kept].tolist(),
          strict=True,
        )
      )
    images, labels = part.source.image[part.index], part.source.label[part.index]
    assert seen == list(zip(images.reshape(-1, 48).tolist(), labels.tolist(), strict=True))

  @pytest.mark.parametrize('kind', parallel.KINDS)
  @pytest.mark.parametrize('streamed', [False, True])
  def test_as_many_are_counted_as_go_in(self, kind, streamed):
    """27 images in blocks of 16 on eight devices: accuracy and loss are those of the images one by
    one.
    """
    network = tiny.network(blocks=(1,), widths=(4,))
    variables, spread = tiny.variables(network), parallel.make(kind)
    draw = np.random.default_rng(0)
    image, label = (
      draw.integers(0, 256, (30, tiny.SIDE, tiny.SIDE, 3), np.uint8),
      draw.integers(0, tiny.CLASSES, 30),
    )
    stored = Source(image, label.astype(np.int32))
    part = Split(stored, np.arange(3, 30, dtype=np.int32))
    with tiny.quick_compilation():
      evaluate = spread.evaluate(
        evaluation.evaluation_step(network, pipeline.to_unit, axis=spread.axis), streamed
      )
      blocks = feed.evaluation(
        part,
        16,
        placed=None if streamed else spread.place(stored),
        own=spread.own,
        split=spread.split,
      )
      placed = spread.place(variables)
      with tiny.compilations() as count:
        totals = metrics.add({}, [evaluate(placed, *block) for block in blocks])
      logits = network.module.apply(
        variables, stored.image[part.index].astype(np.float32) / 255, train=False
      ).logits
    logits, labels = np.asarray(logits), stored.label[part.index]
    assert totals['accuracy'] == [(np.argmax(logits, -1) == labels).sum(), 27] and count() == 1
    probability = np.asarray(jax.nn.softmax(logits))[np.arange(27), labels]
    assert totals['loss'][1] == 27 and totals['loss'][0] == pytest.approx(
      -np.log(probability).sum(), rel=1e-4
    )
