"""Our PyTorch rendering against the literature's counts, the published checkpoints and trace, and
kd_jax itself.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip('torch')
from kd_jax.pytorch import rendering  # noqa: E402 - needs torch
from kd_jax.verify import torch_methods  # noqa: E402 - needs torch

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
PARAMETERS = {
  **dict(
    zip(
      (f'resnet{d}' for d in (8, 14, 20, 26, 32, 44, 56)),
      (89_322, 186_538, 283_754, 380_970, 478_186, 672_618, 867_050),
      strict=True,
    )
  ),
  **dict(
    zip(
      (f'thin_resnet{d}' for d in (8, 14, 20, 32, 44, 56, 110)),
      (78_042, 175_258, 272_474, 466_906, 661_338, 855_770, 1_730_714),
      strict=True,
    )
  ),
  **dict(
    zip(
      (f'resnet{d}' for d in (10, 18, 34, 50, 101, 152)),
      (4_903_242, 11_173_962, 21_282_122, 23_520_842, 42_512_970, 58_156_618),
      strict=True,
    )
  ),
  'wrn10_1': 77_850,
  'wrn16_1': 175_066,
  'wrn28_1': 369_498,
  'wrn40_1': 563_930,
  'wrn16_2': 691_674,
  'wrn28_2': 1_467_610,
  'wrn10_4': 1_198_810,
  'wrn16_4': 2_748_890,
  'wrn22_4': 4_298_970,
  'wrn40_4': 8_949_210,
  'wrn16_8': 10_961_370,
  'wrn22_8': 17_158_106,
  'resnet18_imagenet': 11_181_642,
  'resnet50_imagenet': 23_528_522,
  'resnet26_gn': 380_970,
  'resnet26_ln': 380_970,
  'mobilenet_v2': 2_236_682,
  'mobilenet_v2_imagenet': 2_236_682,
}


def small(name: str, **options) -> torch.nn.Module:
  """The network with weights, scales and statistics away from their defaults, so that a swapped
  pair shows.
  """
  network = rendering.build(name, **{'classes': 7, 'image_shape': (16, 16, 3), **options})
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for key, value in network.state_dict().items():
      if value.ndim == 1:
        value.copy_(
          torch.rand(value.shape, generator=generator) / 2 + (0.5 if 'bias' not in key else -0.25)
        )
  return network


def published(path: str) -> dict:
  state = torch.load(path, weights_only=True, map_location='cpu')['model_state_dict']
  return {name.removeprefix('module.'): value for name, value in state.items()}


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameter_counts(name):
  with torch.device('meta'):
    network = rendering.build(name, classes=10, image_shape=(32, 32, 3))
  assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(
  'name, placement',
  [('resnet21', 'block'), ('wrn16_1', 'stage'), ('resnet8', 'layer'), ('vgg8', 'block')]
  + [('vit_tiny', 'stage'), ('mobilenet_v2', 'pool'), ('resnet8_in', 'block')],
)
def test_no_such_network(name, placement):
  with pytest.raises(ValueError, match=f"'{name}'"):
    rendering.build(name, classes=10, image_shape=(32, 32, 3), relu_placement=placement)


def shown(logits, teacher_logits, label):
  """What a loss of logits reads."""
  student, teacher = ({'weak': rendering.Outputs(z, (), {}, z)} for z in (logits, teacher_logits))
  return torch_methods.Shown(student, [teacher], label)


def test_kd_by_hand():
  z = torch.tensor([[0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
  # 3/4 and 1/4 at T = 2
  taught = torch.tensor([[2 * np.log(3), 0.0], [0.0, 0.0]], dtype=torch.float64)
  divergence = (0.75 * np.log(1.5) + 0.25 * np.log(0.5)) / 2
  loss = torch_methods.kd(shown(z, taught, torch.tensor([0, 1])), alpha=0.25, temperature=2.0)
  np.testing.assert_allclose(float(loss), 0.75 * np.log(2) + 0.25 * 4 * divergence, rtol=1e-12)


@pytest.mark.parametrize(
  'name, placement, train',
  [
    ('resnet14', 'block', False),
    ('resnet14', 'stage', True),
    ('resnet14', 'stem', True),
    ('resnet14', 'pool', True),
    ('thin_resnet14', 'block', True),
    ('resnet50', 'block', False),
    ('wrn16_2', 'block', True),
    ('wrn10_1', 'block', False),
    ('resnet8_gn', 'block', True),
    ('resnet8_ln', 'stage', True),
    ('resnet18_imagenet', 'block', True),
    ('mobilenet_v2', 'block', True),
    ('mobilenet_v2_imagenet', 'block', False),
    ('vit_tiny', 'block', True),
    ('vit_tiny_distilled', 'block', True),
  ],
)
def test_equals_kd_jax(name, placement, train):
  check_equals_kd_jax(name, placement=placement, train=train)


def check_equals_kd_jax(name: str, *, placement: str = 'block', train: bool, side: int = 16):
  """Compare every output, and the running statistics that a training batch leaves behind."""
  jax = pytest.importorskip('jax')
  from kd_jax import models
  from kd_jax.pytorch.names import to_flax, to_torch
  from kd_jax.types import NetworkSpec

  shape = (side, side, 3)
  theirs = small(name, relu_placement=placement, mean=MEAN, std=STD, image_shape=shape)
  theirs = theirs.double().train(train)
  with jax.enable_x64(True):
    spec = NetworkSpec(name, 7, shape, placement, MEAN, STD, 'float64')
    network = models.build(spec)
    variables = to_flax(
      {key: value.numpy() for key, value in theirs.state_dict().items()}, network, dtype=np.float64
    )
    image = np.random.default_rng(0).random((4, *shape))
    with torch.no_grad():
      wanted = theirs(torch.from_numpy(image).permute(0, 3, 1, 2))
    apply = jax.jit(network.module.apply, static_argnames=('train', 'mutable'))
    got, changed = apply(variables, image, train=train, mutable=('batch_stats',))
    left = to_torch({**variables, **changed}, spec)

  def close(ours, peers):
    peers = peers.permute(0, 2, 3, 1) if peers.ndim == 4 else peers
    np.testing.assert_allclose(np.asarray(ours), peers.numpy(), rtol=1e-9, atol=1e-9)

  close(got.logits, wanted.logits)
  embedding = wanted.embedding
  if getattr(theirs, 'pool', None):  # flattened channels first
    embedding = embedding.reshape(4, wanted.features[-1].shape[1], -1).transpose(1, 2).flatten(1)
  close(got.embedding, embedding)
  assert len(got.features) == len(wanted.features) and got.layers.keys() == wanted.layers.keys()
  for ours, peers in zip(got.features, wanted.features, strict=True):
    close(ours, peers)
  for layer, peers in wanted.layers.items():
    close(got.layers[layer], peers)
  for key, value in theirs.state_dict().items():
    if 'running' in key:
      np.testing.assert_allclose(left[key], value.numpy(), rtol=1e-9, err_msg=key)


@pytest.mark.parametrize('name', ['vit_tiny', 'mobilenet_v2', 'resnet8_gn', 'resnet18_imagenet'])
def test_is_exported_for_any_number_of_images(name):
  network = small(name).eval()
  image = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
  shapes = ({0: torch.export.Dim('batch')},)
  program = torch.export.export(network, (image[:2],), dynamic_shapes=shapes).module()
  with torch.no_grad():
    for batch in (image, image[:1]):
      np.testing.assert_allclose(program(batch).logits, network(batch).logits, atol=1e-5)


@pytest.mark.parametrize(
  'file, name', [('resnet26_cifar10', 'resnet26'), ('WRN16_1_cifar10', 'wrn16_1')]
)
def test_published_logits(file, name, reference_dir, pretrained_dir):
  reference = np.load(f'{reference_dir}/logits_{file}.npz')
  placement = 'block' if name.startswith('wrn') else 'stage'
  network = rendering.build(
    name, classes=10, image_shape=(32, 32, 3), relu_placement=placement, mean=MEAN, std=STD
  )
  network.load_state_dict(published(f'{pretrained_dir}/{file}.pth'))
  with torch.no_grad():
    outputs = network.eval()(torch.from_numpy(reference['image']).permute(0, 3, 1, 2) / 255)
  np.testing.assert_allclose(outputs.logits.numpy(), reference['logits'], atol=5e-5)


def test_published_trace(reference_dir, pretrained_dir):
  """Steps of KD from the published starting weights give the losses of the published code, computed
  in float64.
  """
  trace = np.load(f'{reference_dir}/trace_resnet26_to_resnet8.npz')
  common = {
    'classes': 10,
    'image_shape': (32, 32, 3),
    'relu_placement': 'stage',
    'mean': MEAN,
    'std': STD,
  }
  student, teacher = (
    rendering.build('resnet8', **common),
    rendering.build('resnet26', **common).eval(),
  )
  start = {
    key.removeprefix('init/'): torch.from_numpy(trace[key])
    for key in trace
    if key.startswith('init/')
  }
  student.load_state_dict(start)
  teacher.load_state_dict(published(f'{pretrained_dir}/resnet26_cifar10.pth'))
  # rounding errors grow a hundredfold a step here; those of the teacher alone stay small enough
  student.double()
  optimiser = torch.optim.SGD(
    student.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
  )
  losses = []
  for step in range(3):
    optimiser.param_groups[0]['lr'] = float(trace['learning_rate_per_step'][step])
    image = torch.from_numpy(trace['image'][step]).permute(0, 3, 1, 2) / 255
    label = torch.from_numpy(trace['label'][step]).long()
    with torch.no_grad():
      taught = teacher(image).logits
    optimiser.zero_grad()
    given = shown(student(image.double()).logits, taught.double(), label)
    loss = torch_methods.kd(given, alpha=0.5, temperature=5.0)
    loss.backward()
    optimiser.step()
    losses.append(loss.item())
  np.testing.assert_allclose(losses, trace['kd/loss'][:3], rtol=1e-5)
