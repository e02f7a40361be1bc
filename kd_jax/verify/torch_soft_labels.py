"""Losses of logits that change a distribution before they compare it, in PyTorch, written from the
mathematics, as those of kd_jax.verify.torch_methods.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_jax.verify.torch_methods import Shown, cross_entropy, divergence, dkd


def _standardised(shown: Shown) -> Shown:
  """Return what is shown with logits of mean 0 and deviation 1 over the classes."""

  def changed(views):
    logits = views['weak'].logits
    centred = logits - logits.mean(1, keepdim=True)
    return {'weak': views['weak']._replace(logits=centred / (logits.std(1, keepdim=True) + 1e-7))}

  return shown._replace(
    student=changed(shown.student), teachers=[changed(views) for views in shown.teachers]
  )


def warmed(shown: Shown, warmup: float | None) -> float:
  """Return the share of a term that is warmed up over so many epochs; None: 20, or a twelfth."""
  if warmup is None:
    return min(max(shown.epoch / 20, 12 * (shown.epoch - 1) / shown.epochs), 1.0)
  return min(shown.epoch / warmup, 1.0)


def kd_standardised(shown: Shown, *, alpha: float, temperature: float, weight: float) -> Tensor:
  own, teacher = _standardised(shown).logits
  soft = divergence(own, teacher, temperature)
  return (1 - alpha) * cross_entropy(shown) + alpha * weight * soft


def dkd_warmed(shown: Shown, *, warmup: float | None = None, **weights: float) -> Tensor:
  hard = cross_entropy(shown)
  return hard + warmed(shown, warmup) * (dkd(shown, **weights) - hard)


def dkd_standardised(shown: Shown, **weights: float) -> Tensor:
  changed = _standardised(shown)
  return cross_entropy(shown) + dkd_warmed(changed, **weights) - cross_entropy(changed)


def dist(shown: Shown, *, weight: float, inter: float, intra: float, temperature: float) -> Tensor:
  """Return CE + w τ² (β (1 − correlation within examples) + γ (1 − correlation within classes))."""
  own, teacher = (F.softmax(z / temperature, 1) for z in shown.logits)

  def apart(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)).mean()

  both = inter * apart(own, teacher) + intra * apart(own.T, teacher.T)
  return cross_entropy(shown) + weight * temperature**2 * both


def _transformed(shown: Shown, exponent: float) -> tuple[Tensor, Tensor]:
  """Return KL(q ‖ p_s), q the teacher's probabilities to the power of γ over their sum, and the
  sum, a value an example.
  """
  own, teacher = shown.logits
  power = F.softmax(teacher, 1) ** exponent
  total = power.sum(1)
  q = power / total[:, None]
  return (q * (q.log() - F.log_softmax(own, 1))).sum(1), total


def ttm(shown: Shown, *, weight: float, exponent: float) -> Tensor:
  return cross_entropy(shown) + weight * _transformed(shown, exponent)[0].mean()


def wttm(shown: Shown, *, weight: float, exponent: float) -> Tensor:
  apart, total = _transformed(shown, exponent)
  return cross_entropy(shown) + weight * (total * apart).mean()


def nkd(shown: Shown, *, others: float, temperature: float) -> Tensor:
  """Return CE − p_t[y] log p_s[y] − γ T² Σ q_t log q_s, q without the label's class."""
  own, teacher = shown.logits
  at = F.one_hot(shown.label, own.shape[1]).bool()
  sure = F.softmax(teacher, 1)[at]
  target = (sure * F.cross_entropy(own, shown.label, reduction='none')).mean()
  rest = [z[~at].unflatten(0, (len(z), -1)) / temperature for z in (own, teacher)]
  soft = F.cross_entropy(rest[0], F.softmax(rest[1], 1))
  return cross_entropy(shown) + target + others * temperature**2 * soft


def rld(
  shown: Shown,
  *,
  confidence: float,
  others: float,
  temperature: float,
  confidence_temperature: float,
  warmup: float | None = None,
) -> Tensor:
  """Return CE + r (α T_a² KL of the confidences + β T² KL of the classes below the label), an
  example after the other.
  """
  confident, lower = [], []
  for own, teacher, label in zip(*shown.logits, shown.label, strict=True):
    of_label = F.softmax(own / confidence_temperature, 0)[label]
    best = F.softmax(teacher / confidence_temperature, 0).max()
    confident.append(
      best * (best / of_label).log() + (1 - best) * ((1 - best) / (1 - of_label)).log()
    )
    below = teacher < teacher[label]
    if below.any():
      lower.append(divergence(own[below][None], teacher[below][None], temperature))
  count = len(shown.label)
  both = confidence * confidence_temperature**2 * sum(confident) + others * sum(lower)
  return cross_entropy(shown) + warmed(shown, warmup) * both / count


def rld_standardised(shown: Shown, **weights: float) -> Tensor:
  changed = _standardised(shown)
  return cross_entropy(shown) + rld(changed, **weights) - cross_entropy(changed)


def wsld(shown: Shown, *, weight: float, temperature: float) -> Tensor:
  own, teacher = shown.logits
  with torch.no_grad():
    hard, of_teacher = (F.cross_entropy(z, shown.label, reduction='none') for z in (own, teacher))
    doubt = 1 - torch.exp(-hard / (of_teacher + 1e-7))
  target = F.softmax(teacher / temperature, 1)
  soft = F.cross_entropy(own / temperature, target, reduction='none')
  return cross_entropy(shown) + weight * temperature**2 * (doubt * soft).mean()


def annealed(shown: Shown, *, first: float, last: float, temperature: float) -> Tensor:
  """Return CE + λ · KL, λ falling linearly over the phase; not multiplied by T²."""
  share = first + (last - first) * (shown.epoch - 1) / shown.epochs
  return cross_entropy(shown) + share * divergence(*shown.logits, temperature) / temperature**2


def mlld(shown: Shown, *, weight: float, hard: float) -> Tensor:
  """Return the sum over both views of c · CE + w · the three levels at five temperatures."""
  total = 0
  for view in ('weak', 'strong'):
    own, teacher = shown.student[view].logits, shown.teachers[0][view].logits
    levels = sum(_levels(own, teacher, temperature) for temperature in (4, 3, 5, 2, 6))
    total = total + hard * cross_entropy(shown, view) + weight * levels.sum()
  return total


def mlld_released(shown: Shown, *, weight: float, hard: float) -> Tensor:
  """Return the released form: shares of the weak view's levels, and the strong view's KL alone."""
  (own, teacher), strong = shown.logits, shown.student['strong'].logits
  p = F.softmax(teacher, 1)

  def share(values: Tensor) -> Tensor:
    return (values <= torch.quantile(values, 0.5)).to(values.dtype).mean()

  images, classes = share(p.amax(1)), share(p.sum(0))
  levels = sum(_levels(own, teacher, temperature) for temperature in (4, 3, 5, 2, 6))
  total = (levels * torch.stack([images, images, classes])).sum()
  for temperature in (4, 3, 5):
    total = total + divergence(strong, shown.teachers[0]['strong'].logits, temperature)
  for temperature in (2, 6):
    total = total + divergence(own, teacher, temperature)
  return weight * total + hard * (cross_entropy(shown) + cross_entropy(shown, 'strong'))


def _levels(own: Tensor, teacher: Tensor, temperature: float) -> Tensor:
  """Return T² · KL, and the squared distances of the images' and the classes' inner products."""
  s, t = F.softmax(own / temperature, 1), F.softmax(teacher / temperature, 1)
  images = torch.linalg.matrix_norm(s @ s.T - t @ t.T).square() / s.shape[0]
  classes = torch.linalg.matrix_norm(s.T @ s - t.T @ t).square() / s.shape[1]
  return torch.stack([divergence(own, teacher, temperature), images, classes])


class _Reversed(torch.autograd.Function):
  """A number as it is, whose gradient comes back times −λ."""

  @staticmethod
  def forward(context, number: Tensor, strength: float) -> Tensor:
    context.strength = strength
    return number.clone()

  @staticmethod
  def backward(context, gradient: Tensor):
    return -context.strength * gradient, None


def ctkd(shown: Shown, *, alpha: float, lowest: float, span: float) -> Tensor:
  """Return (1 − α) CE + α T² KL at T = a + b σ(θ), which learns to make it larger."""
  strength = 0.5 - 0.5 * math.cos(math.pi * min(shown.epoch / 10, 1.0))
  temperature = lowest + span * torch.sigmoid(_Reversed.apply(shown.connected[0], strength))
  return (1 - alpha) * cross_entropy(shown) + alpha * divergence(*shown.logits, temperature)
