"""Losses of feature maps and embeddings in PyTorch, as kd_jax.verify.torch_methods of logits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_jax.pytorch.rendering import Outputs
from kd_jax.verify.torch_methods import Shown, cross_entropy, divergence, kd


def _staged(compare: Callable[..., Tensor], shown: Shown, *more: Sequence[Tensor]) -> Tensor:
  """Return Σ over stages of `compare`, per example.

  The deepest has weight 1, each before it half as much.
  """
  # A teacher may have more stages.
  stages = list(zip(shown.connected, shown.teachers[0]['weak'].features, *more))  # noqa: B905
  deepest = len(stages) - 1
  total = sum(compare(*each) / 2 ** (deepest - i) for i, each in enumerate(stages))
  return total / len(shown.label)


def boundary(shown: Shown, *, margin: float, weight: float) -> Tensor:
  def alternative(s: Tensor, t: Tensor) -> Tensor:
    inactive = (s + margin) ** 2 * ((s > -margin) & (t <= 0))
    active = (s - margin) ** 2 * ((s <= margin) & (t > 0))
    return (inactive + active).sum()

  return weight * _staged(alternative, shown)


def overhaul(shown: Shown, *, weight: float) -> Tensor:
  """Return the feature term of overhaul: below the margin, between it and 0, above 0."""

  def partial(s: Tensor, t: Tensor, m: Tensor) -> Tensor:
    m = m.reshape(1, -1, 1, 1)
    below = (s - m) ** 2 * ((s > m) & (t <= m))
    between = (s - t) ** 2 * ((s > t) & (t > m) & (t <= 0))
    return (below + between + (s - t) ** 2 * (t > 0)).sum()

  return weight * _staged(partial, shown, shown.margins)


def oh(shown: Shown, *, weight: float) -> Tensor:
  return cross_entropy(shown) + overhaul(shown, weight=weight)


def margin(norm: nn.BatchNorm2d) -> Tensor:
  """Return E[x | x < 0] of a normal distribution, for each channel of a BatchNorm: [C]."""
  deviation = norm.weight.detach().abs()
  mean = norm.bias.detach()
  density = torch.exp(-((mean / deviation) ** 2) / 2) / math.sqrt(2 * math.pi)
  negative = torch.special.ndtr(-mean / deviation)
  return torch.where(negative > 0.001, mean - deviation * density / negative, -3 * deviation)


def _same_width(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
  """Return two maps [B, C, H, W], their channels pooled adaptively to those of the narrower."""
  width = min(a.shape[1], b.shape[1])

  def narrowed(x: Tensor) -> Tensor:
    if x.shape[1] == width:
      return x
    pooled = F.adaptive_avg_pool1d(x.flatten(2).transpose(1, 2), width)
    return pooled.transpose(1, 2).unflatten(2, x.shape[2:])

  return narrowed(a), narrowed(b)


def _same_stages(shown: Shown) -> list[tuple[Tensor, Tensor]]:
  own, teacher = shown.pair
  # A teacher may have more stages.
  return [_same_width(s, t) for s, t in zip(own.features, teacher.features)]  # noqa: B905


def patient(shown: Shown, *, beta: float) -> Tensor:
  """Return β · the squared distance of the stages' vectors of length 1, all stages but the last."""
  pairs = [(F.normalize(s.flatten(1)), F.normalize(t.flatten(1))) for s, t in _same_stages(shown)]
  return beta * sum((s - t).square().sum(1).mean() for s, t in pairs[:-1])


def pkd(shown: Shown, *, alpha: float, temperature: float, beta: float) -> Tensor:
  return kd(shown, alpha=alpha, temperature=temperature) + patient(shown, beta=beta)


def pkd_published(shown: Shown, *, alpha: float, temperature: float, beta: float) -> Tensor:
  """Return Hinton's loss + β · the squared error of all stages after the ReLU, as one vector."""
  pairs = [(F.relu(s).flatten(1), F.relu(t).flatten(1)) for s, t in _same_stages(shown)]
  own, teacher = (torch.cat(maps, 1) for maps in zip(*pairs, strict=True))
  return kd(shown, alpha=alpha, temperature=temperature) + beta * F.mse_loss(own, teacher)


def _layers(own: Outputs, teacher: Outputs) -> dict[str, str]:
  """Return {layer of the student: layer of the teacher}.

  The last blocks of a stage meet, and those before are spread evenly.
  """

  def count(layers: Mapping[str, Tensor], stage: str) -> int:
    return sum(name.startswith(f'stage{stage}_') for name in layers)

  pairs = {}
  for name in own.layers:
    block = re.fullmatch(r'stage(\d+)_block(\d+)', name)
    if block:
      stage = block[1]
      number = int(block[2])
      few, many = count(own.layers, stage), count(teacher.layers, stage)
      pairs[name] = f'stage{stage}_block{math.ceil(number * many / few)}'
    elif name in teacher.layers:
      pairs[name] = name
    elif name == 'final_norm':
      pairs[name] = [other for other in teacher.layers if other.startswith('stage')][-1]
  return pairs


def _paired(shown: Shown) -> dict[str, tuple[Tensor, Tensor]]:
  own, teacher = shown.pair
  pairs = {}
  for name, other in _layers(own, teacher).items():
    s = own.layers[name]
    pairs[name] = _same_width(s, F.adaptive_max_pool2d(teacher.layers[other], s.shape[2:]))
  return pairs


def sfd(shown: Shown, *, weight: float) -> Tensor:
  return cross_entropy(shown) + weight * sum(F.mse_loss(s, t) for s, t in _paired(shown).values())


def sfd_cosine(shown: Shown, *, weight: float) -> Tensor:
  pairs = ((s.flatten(1), t.flatten(1)) for s, t in _paired(shown).values())
  return cross_entropy(shown) + weight * sum(
    (1 - F.cosine_similarity(s, t)).mean() for s, t in pairs
  )


def sfd_kl(shown: Shown, *, weight: float) -> Tensor:
  pairs = ((s.flatten(1), t.flatten(1)) for s, t in _paired(shown).values())
  return cross_entropy(shown) + weight * sum(divergence(s, t, 1.0) for s, t in pairs)


def sfd_published(shown: Shown, *, weight: float) -> Tensor:
  """Return CE + the largest differences of max-pooled maps: of the stem and each stage's last."""
  last = {name.split('_')[0]: name for name in shown.student['weak'].layers if 'block' in name}
  compared = ('stem_conv', 'stem_norm', *last.values())
  pairs = [maps for name, maps in _paired(shown).items() if name in compared]
  return cross_entropy(shown) + weight * sum(
    (s.amax((2, 3)) - t.amax((2, 3))).abs().max() for s, t in pairs
  )


# Relations ----------------------------------------------------------------------------------------


def relations(own: Tensor, teacher: Tensor, *, distance: float, angle: float) -> Tensor:
  """Return the weighted sum of RKD's two terms of embeddings [B, D]."""
  distances = F.smooth_l1_loss(_relative(_distances(own)), _relative(_distances(teacher)))
  return distance * distances + angle * F.smooth_l1_loss(_angles(own), _angles(teacher))


def rkd(shown: Shown, *, alpha: float, temperature: float, distance: float, angle: float) -> Tensor:
  own, teacher = shown.pair
  return kd(shown, alpha=alpha, temperature=temperature) + relations(
    own.embedding, teacher.embedding, distance=distance, angle=angle
  )


def rkd_official(shown: Shown, *, temperature: float, distance: float, angle: float) -> Tensor:
  """Return CE + T² · KL + the relations of globally pooled embeddings of length 1."""
  own, teacher = shown.pair
  pooled = [F.normalize(F.relu(outputs.features[-1]).mean((2, 3))) for outputs in (own, teacher)]
  return (
    cross_entropy(shown)
    + divergence(own.logits, teacher.logits, temperature)
    + relations(*pooled, distance=distance, angle=angle)
  )


def rkd_ensemble(
  shown: Shown, *, rank: float, rank_scale: float, attention: float, hint: float, **weights: float
) -> Tensor:
  """Return RKD's loss with HardDarkRank, attention transfer and FitNet's hints."""
  own, teacher = shown.pair
  maps = sum(
    F.mse_loss(_attention(F.relu(s)), _attention(F.relu(t)))
    for s, t in zip(own.features, teacher.features, strict=True)
  )
  hints = sum(F.mse_loss(s, t) for s, t in zip(shown.connected, teacher.features, strict=True))
  ranks = dark_rank(own.embedding, teacher.embedding, scale=rank_scale)
  return rkd(shown, **weights) + rank * ranks + attention * maps + hint * hints


def dark_rank(
  own: Tensor, teacher: Tensor, *, scale: float, power: float = 3.0, length: int = 4
) -> Tensor:
  """Return −mean log P of the teacher's order of each example's nearest neighbours."""
  scores = -scale * _distances(own) ** power
  order = (-scale * _distances(teacher) ** power).argsort(1, descending=True)[:, 1 : length + 1]
  ranked = scores.gather(1, order)
  return -sum(ranked[:, i] - torch.logsumexp(ranked[:, i:], 1) for i in range(length)).mean()


def _attention(feature: Tensor) -> Tensor:
  return F.normalize(feature.square().mean(1).flatten(1))


def _distances(e: Tensor) -> Tensor:
  squares = ((e[:, None] - e[None]) ** 2).sum(-1)
  return squares.clamp(min=1e-12).sqrt() * (1 - torch.eye(len(e), dtype=e.dtype, device=e.device))


def _relative(distances: Tensor) -> Tensor:
  return distances / distances[distances > 0].mean()


def _angles(e: Tensor) -> Tensor:
  sides = F.normalize(e[None] - e[:, None], dim=2)
  return sides @ sides.transpose(1, 2)
