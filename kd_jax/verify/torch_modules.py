"""Methods that train modules between the networks, in PyTorch: the modules and their losses.

Written from the mathematics, as kd_jax.verify.torch_features. Each module takes what student and
teacher compute, and gives what its loss reads of `Shown.connected`. Needs torch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_jax.pytorch.rendering import Outputs
from kd_jax.verify.torch_bank import Banks
from kd_jax.verify.torch_methods import Shown, cross_entropy, divergence
from kd_jax.verify.torch_similarity import stages
from kd_jax.verify.torch_soft_labels import warmed


def _conv_norm(inward: int, outward: int, side: int) -> nn.Sequential:
  convolution = nn.Conv2d(inward, outward, side, padding=side // 2, bias=False)
  return nn.Sequential(convolution, nn.BatchNorm2d(outward))


class Projector(nn.Module):
  """SimKD's projector of the last map."""

  def __init__(self, student: nn.Module, teacher: nn.Module):
    super().__init__()
    inward, outward = student.widths[-1], teacher.widths[-1]
    steps = ((inward, outward // 2, 1), (outward // 2, outward // 2, 3), (outward // 2, outward, 1))
    self.steps = nn.ModuleList(_conv_norm(*step) for step in steps)

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    x, target = stages(student, teacher)[-1]
    for step in self.steps:
      x = F.relu(step(x))
    return [x, target]

  def drawn(self) -> list[nn.Parameter]:
    return [step[0].weight for step in self.steps]


class Reviewed(nn.Module):
  """ReviewKD's fusion, from the embedding up."""

  def __init__(self, student: nn.Module, teacher: nn.Module):
    super().__init__()
    own = [*student.widths, student.linear.in_features]
    target = [*teacher.widths[: len(own) - 1], teacher.linear.in_features]
    middle = min(512, own[-1])
    self.inward = nn.ModuleList(_conv_norm(width, middle, 1) for width in own)
    self.outward = nn.ModuleList(_conv_norm(middle, width, 3) for width in target)
    self.attention = nn.ModuleList(nn.Linear(2 * middle, 2) for _ in own[:-1])

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    own = [*map(F.relu, student.features), student.embedding[:, :, None, None]]
    sizes = [f.shape[2:] for f in teacher.features[: len(own) - 1]] + [(1, 1)]
    made = []
    before = None
    for number in range(len(own) - 1, -1, -1):
      x = self.inward[number](own[number])
      if before is not None:
        before = F.interpolate(before, x.shape[2:], mode='nearest')
        places = torch.cat([x, before], 1).movedim(1, 3)
        share = self.attention[number](places).sigmoid().movedim(3, 1)
        x = x * share[:, :1] + before * share[:, 1:]
      before = F.interpolate(x, sizes[number], mode='nearest')
      made.append(self.outward[number](before))
    return made[::-1]

  def drawn(self) -> list[nn.Parameter]:
    found = []
    for number, (inward, outward) in enumerate(zip(self.inward, self.outward, strict=True)):
      if number < len(self.attention):
        found += [self.attention[number].bias, self.attention[number].weight]
      found += [inward[0].weight, outward[0].weight]
    return found


class Variational(nn.Module):
  """VID's regressors: a mean for each element and a variance for each channel, stage by stage."""

  def __init__(self, student: nn.Module, teacher: nn.Module):
    super().__init__()
    self.convs, self.scales = nn.ModuleList(), nn.ParameterList()
    # a teacher may have more
    for before, after in zip(student.widths, teacher.widths):  # noqa: B905
      widths = ((before, after), (after, after), (after, after))
      self.convs.append(nn.ModuleList(nn.Conv2d(*pair, 1, bias=False) for pair in widths))
      first = math.log(math.exp(5 - 1e-5) - 1)
      self.scales.append(nn.Parameter(torch.full((after,), first, dtype=torch.float64)))

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    found = []
    pairs = stages(student, teacher)
    for (own, target), convs, scale in zip(pairs, self.convs, self.scales, strict=True):
      mean = convs[2](F.relu(convs[1](F.relu(convs[0](own)))))
      found += [mean, (1 + scale.exp()).log()[:, None, None] + 1e-5, target]
    return found

  def drawn(self) -> list[nn.Parameter]:
    return [conv.weight for convs in self.convs for conv in convs]


class Projection(nn.Module):
  """SRD's linear projection of the embedding."""

  def __init__(self, student: nn.Module, teacher: nn.Module):
    super().__init__()
    self.linear = nn.Linear(student.linear.in_features, teacher.linear.in_features, bias=False)

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    return [self.linear(student.embedding), teacher.embedding]

  def drawn(self) -> list[nn.Parameter]:
    return [self.linear.weight]


class Represented(nn.Module):
  """SRRL's embedding in the teacher's width, and what the teacher's classifier makes of it."""

  def __init__(self, student: nn.Module, teacher: nn.Module):
    super().__init__()
    self.layer = _conv_norm(student.linear.in_features, teacher.linear.in_features, 1)
    self.classifier = [teacher.linear]  # in a list, so that it is no part and not trained

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    own = F.relu(self.layer(student.embedding[:, :, None, None]))[:, :, 0, 0]
    return [own, self.classifier[0](own)]

  def drawn(self) -> list[nn.Parameter]:
    return [self.layer[0].weight]


class Factors(nn.Module):
  """Factor transfer's translator and paraphraser; the student does not reach the second."""

  def __init__(self, student: nn.Module, teacher: nn.Module):
    super().__init__()
    own, width = student.widths[-1], teacher.widths[-1]
    few = width // 2
    self.translator = _leaky(own, own, few, few, normalised=True)
    self.encoder = _leaky(width, width, few, few)
    self.decoder = _leaky(few, few, width, width, transposed=True)

  def forward(self, student: Outputs, teacher: Outputs) -> list[Tensor]:
    own, target = (F.relu(outputs.features[-1]) for outputs in (student, teacher))
    factor = self.encoder(target)
    return [self.translator(own), factor.detach(), self.decoder(factor), target]

  def drawn(self) -> list[nn.Parameter]:
    parts = (self.decoder, self.encoder, self.translator)
    layers = [layer for part in parts for layer in part if isinstance(layer, nn.Conv2d)]
    return [leaf for layer in layers for leaf in (layer.bias, layer.weight)]


class Transposed(nn.Conv2d):
  """A convolution written as a transposed one of stride 1, as in the authors' decoder."""

  def forward(self, x: Tensor) -> Tensor:
    turned = self.weight.flip(2, 3).transpose(0, 1)
    return F.conv_transpose2d(x, turned, self.bias, padding=1)


def _leaky(*widths: int, normalised: bool = False, transposed: bool = False) -> nn.Sequential:
  kind = Transposed if transposed else nn.Conv2d
  steps: list[nn.Module] = []
  for inward, outward in zip(widths, widths[1:]):  # noqa: B905 - the last has none
    steps.append(kind(inward, outward, 3, padding=1))
    if normalised:
      steps.append(nn.BatchNorm2d(outward))
    steps.append(nn.LeakyReLU(0.1))
  return nn.Sequential(*steps)


MODULES = {
  'banks': Banks,
  'factors': Factors,
  'projector': Projector,
  'review': Reviewed,
  'variational': Variational,
  'projection': Projection,
  'representation': Represented,
}


def simkd(shown: Shown, *, weight: float) -> Tensor:
  return weight * F.mse_loss(*shown.connected)


def review(shown: Shown, *, weight: float, warmup: float | None = None) -> Tensor:
  """Return CE + r · w · Σ over maps of the pooled mean squared errors."""
  _, teacher = shown.pair
  total = 0
  targets = [*teacher.features[: len(shown.connected) - 1], teacher.embedding[:, :, None, None]]
  for own, target in zip(shown.connected, targets, strict=True):
    shares, errors = [1.0], [F.mse_loss(own, target)]
    for side in (4, 2, 1):
      if side < own.shape[2]:
        shares.append(shares[-1] / 2)
        errors.append(F.mse_loss(*(F.adaptive_avg_pool2d(x, side) for x in (own, target))))
    total = total + sum(s * e for s, e in zip(shares, errors, strict=True)) / sum(shares)
  return cross_entropy(shown) + weight * warmed(shown, warmup) * total


def vid(shown: Shown, *, weight: float) -> Tensor:
  """Return CE − w · Σ over stages of the mean log-likelihood, but for its constant."""
  total = 0
  for place in range(0, len(shown.connected), 3):
    mean, variance, target = shown.connected[place : place + 3]
    total = total + ((mean - target).square() / variance / 2 + variance.log() / 2).mean()
  return cross_entropy(shown) + weight * total


def srd(
  shown: Shown, *, weight: float, distillation: float, temperature: float, power: float
) -> Tensor:
  own, target = (F.batch_norm(x, None, None, training=True, eps=1e-4) for x in shown.connected)
  distance = 2 * (own - target).abs().pow(power).sum().log()
  soft = divergence(*shown.logits, temperature)
  return cross_entropy(shown) + weight * distance + distillation * soft


def srrl(shown: Shown, *, weight: float, distillation: float, temperature: float) -> Tensor:
  _, teacher = shown.pair
  own, regressed = shown.connected
  errors = F.mse_loss(own, teacher.embedding) + F.mse_loss(regressed, teacher.logits)
  soft = divergence(*shown.logits, temperature)
  return cross_entropy(shown) + weight * errors + distillation * soft


def ft(shown: Shown, *, weight: float, power: float = 1.0) -> Tensor:
  """Return CE + w · the mean distance of the factors' maps + the error of the reconstruction."""
  own, factor, again, target = shown.connected
  size = [min(pair) for pair in zip(own.shape[2:], factor.shape[2:], strict=True)]
  maps = (F.adaptive_avg_pool2d(x, size).square().mean(1).flatten(1) for x in (own, factor))
  one, other = (F.normalize(places) for places in maps)
  apart = (one - other).abs().pow(power).mean()
  return cross_entropy(shown) + weight * apart + F.mse_loss(again, target)
