"""ConvNeXt, MobileNetV3 and EfficientNet in PyTorch against published counts and kd_jax."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip('torch')
from kd_jax import models  # noqa: E402 - after the check for torch
from kd_jax.models import convnext, efficientnet, mobilenet_v3  # noqa: E402
from kd_jax.pytorch import rendering  # noqa: E402 - needs torch
from kd_jax.pytorch.names import to_torch  # noqa: E402
from kd_jax.types import NetworkSpec  # noqa: E402
from tests.models.families_test import PARAMETERS  # noqa: E402
from tests.pytorch.rendering_test import check_equals_kd_jax, small  # noqa: E402

ROWS = [*convnext.ROWS, *mobilenet_v3.ROWS, *efficientnet.ROWS]


@pytest.mark.parametrize('name', ROWS)
def test_parameter_counts(name):
  with torch.device('meta'):
    network = rendering.build(name, classes=1000, image_shape=(224, 224, 3))
  assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(
  'name', ['convnext_atto', 'mobilenet_v3_large', 'mobilenet_v3_small_timm', 'efficientnet_b1']
)
def test_names_are_those_that_are_written(name):
  with torch.device('meta'):
    network = rendering.build(name, classes=7, image_shape=(32, 32, 3))
  spec = NetworkSpec(name, 7, (32, 32, 3))
  shapes = models.shapes(models.build(spec))
  written = to_torch(_zeros(shapes), spec)
  assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == {
    key: value.shape for key, value in written.items()
  }


def _zeros(shapes):
  if isinstance(shapes, dict):
    return {name: _zeros(inner) for name, inner in shapes.items()}
  return np.broadcast_to(np.zeros((), np.float32), shapes.shape)


@pytest.mark.system
@pytest.mark.parametrize(
  ('name', 'train'),
  [
    ('convnext_atto', False),
    ('mobilenet_v3_small', True),
    ('mobilenet_v3_small_timm', False),
    ('mobilenet_v3_large', False),
    ('mobilenet_v3_large_timm', True),
    ('efficientnet_b0', True),
    ('efficientnet_b2', False),
  ],
)
def test_equals_kd_jax(name, train):
  check_equals_kd_jax(name, train=train, side=64)


@pytest.mark.parametrize('name', ['mobilenet_v3_small', 'convnext_atto'])
def test_is_exported_for_any_number_of_images(name):
  network = small(name, image_shape=(32, 32, 3)).eval()
  image = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
  shapes = ({0: torch.export.Dim('batch')},)
  program = torch.export.export(network, (image[:2],), dynamic_shapes=shapes).module()
  with torch.no_grad():
    for batch in (image, image[:1]):
      np.testing.assert_allclose(program(batch).logits, network(batch).logits, atol=1e-5)
