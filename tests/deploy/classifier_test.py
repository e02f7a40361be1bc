"""Networks as objects: what they compute, and the images that they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import models
from kd_jax.deploy import classifier
from kd_jax.files.networks import save_network
from kd_jax.models import precomputed
from kd_jax.types import KdJaxError, NetworkSpec
from tests import tiny

SPEC = NetworkSpec('thin_resnet8', 4, (8, 8, 3), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
CLASSES = ('cat', 'dog', 'owl', 'fox')
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), np.uint8)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """The network as a folder, as a function of jax.export and as a table of its logits."""
  top = tmp_path_factory.mktemp('classifier')
  network, variables = models.build(SPEC), tiny.variables(models.build(SPEC))
  save_network(top / 'network', SPEC, variables, {'classes': CLASSES})

  @jax.jit
  def logits(image):
    return network.module.apply(variables, image, train=False).logits

  shape = jax.export.symbolic_shape('b, 8, 8, 3')
  exported = jax.export.export(logits)(jax.ShapeDtypeStruct(shape, jnp.float32))
  (top / 'network.jax').write_bytes(exported.serialize())
  found = np.asarray(logits(IMAGES / np.float32(255)))
  precomputed.write(
    top / 'table.npz', np.asarray(precomputed.fingerprint(IMAGES)), found, SPEC.image_shape
  )
  return top


@pytest.fixture(scope='module')
def network(folder):
  return classifier.load(folder / 'network')


def test_what_is_known_of_it(network, folder):
  assert (network.spec, network.classes, network.parameters) == (SPEC, CLASSES, 77_652)
  program = classifier.load(folder / 'network.jax')
  assert program.parameters is None and program.classes == tuple('0123')
  assert (program.spec.classes, program.spec.image_shape) == (4, (8, 8, 3))


@pytest.mark.parametrize('name', ['network.jax', 'table.npz'])
def test_all_forms_say_the_same(network, folder, name):
  other = classifier.load(folder / name)
  np.testing.assert_allclose(other.logits(IMAGES), network.logits(IMAGES), atol=1e-5)


def test_batches_and_types_change_nothing(network):
  whole = network.logits(IMAGES)
  assert whole.shape == (7, 4) and whole.dtype == np.float32
  for images, batch in ((IMAGES, 3), (IMAGES / np.float32(255), None), (jnp.asarray(IMAGES), 64)):
    np.testing.assert_allclose(network.logits(images, batch=batch), whole, atol=1e-5)
  assert network.logits(IMAGES[:0]).shape == (0, 4)
  np.testing.assert_allclose(network.probabilities(IMAGES).sum(-1), 1)
  assert (network.predict(IMAGES) == whole.argmax(-1)).all()


@pytest.mark.parametrize(
  ('images', 'said'),
  [
    (IMAGES[0], r'takes images of shape \[B, 8, 8, 3\], and these are \[8, 8, 3\]'),
    (IMAGES.transpose(0, 3, 1, 2), r'these are \[7, 3, 8, 8\]'),
    (IMAGES / 255, 'uint8, or float32 in .* not float64'),
    (IMAGES.astype(np.int32), 'not int32'),
    (IMAGES.astype(np.float32), r'lie in \[0, 1\], and these between 0 and 255'),
    (np.full_like(IMAGES, np.nan, np.float32), 'between nan and nan'),
    (IMAGES / np.float32(255) - 1, 'undo their normalisation'),
  ],
)
def test_wrong_images_are_refused(network, images, said):
  with pytest.raises(KdJaxError, match=said) as caught:
    network.logits(images)
  assert '\n' not in str(caught.value)


def test_what_a_table_does_not_hold_is_refused(folder):
  table = classifier.load(folder / 'table.npz')
  with pytest.raises(KdJaxError, match='no finite logits for 2 of 9 images: a table holds'):
    table.logits(np.concatenate([IMAGES, 255 - IMAGES[:2]]))


@pytest.mark.parametrize(
  ('name', 'given', 'said'),
  [
    ('network', {'network': 'resnet8'}, 'is a thin_resnet8, not resnet8'),
    ('network', {'weights': 'ema'}, 'weights is for a PyTorch checkpoint'),
    ('network.jax', {'network': 'thin_resnet8'}, 'network is for a .pth'),
    ('table.npz', {'unstated': {'mean': (0.5,)}}, 'mean is for a .pth'),
    ('nosuch', {}, 'nosuch does not exist'),
  ],
)
def test_what_does_not_fit_is_refused(folder, name, given, said):
  with pytest.raises(KdJaxError, match=said):
    classifier.load(folder / name, **given)


def test_a_format_that_there_is_not(network):
  with pytest.raises(KdJaxError, match="'tflite' is no format; there are stablehlo"):
    network.export('tflite')
