"""Views that are drawn by a number."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from kd_jax.data import pipeline, seeded

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
POLICY = pipeline.weak(crop_padding=2, flip=True)


def test_a_view_follows_from_the_seed_the_images_number_and_its_own():
  draw = seeded.views(POLICY, seed=3)
  example, view = jnp.arange(6) + 40, jnp.full(6, 2)
  shown = np.asarray(draw(jnp.asarray(IMAGES), example, view))
  back = np.asarray(draw(jnp.asarray(IMAGES[::-1]), example[::-1], view))[::-1]
  np.testing.assert_array_equal(shown, back)  # whatever the batch
  for other in (
    seeded.views(POLICY, seed=4)(jnp.asarray(IMAGES), example, view),
    draw(jnp.asarray(IMAGES), example + 1, view),
    draw(jnp.asarray(IMAGES), example, view + 1),
  ):
    assert (np.asarray(other) != shown).any()
