"""The few test images that a run keeps in its examples/ folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd_jax import models
from kd_jax.runs import test_split
from kd_jax.runs.network_files import Found
from kd_jax.types import NetworkSpec, Trained


@pytest.fixture
def found(tmp_path):
  trained = Trained(models.build(NetworkSpec('thin_resnet8', 2, (8, 8, 1))), {})
  return Found(trained, 'student', tmp_path / 'networks' / 'student')


def test_examples_are_the_pixels_of_the_files_by_name(found, tmp_path):
  drawn = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
  (tmp_path / 'examples').mkdir()
  for number, pixels in enumerate(drawn):
    Image.fromarray(pixels).save(tmp_path / 'examples' / f'{number}.png')
  np.testing.assert_allclose(test_split.examples(found), drawn[..., None] / 255, atol=1e-6)


def test_without_a_folder_or_with_a_damaged_file_there_are_none(found, tmp_path):
  assert test_split.examples(found) is None
  (tmp_path / 'examples').mkdir()
  assert test_split.examples(found) is None
  (tmp_path / 'examples' / 'a.png').write_bytes(b'no image')
  assert test_split.examples(found) is None


def test_a_network_that_is_no_runs_has_none(found, tmp_path):
  (tmp_path / 'examples').mkdir()
  Image.new('L', (8, 8)).save(tmp_path / 'examples' / 'a.png')
  assert len(test_split.examples(found)) == 1
  for place in (tmp_path / 'other' / 'student', Path('student.pth')):
    assert test_split.examples(found._replace(place=place)) is None
