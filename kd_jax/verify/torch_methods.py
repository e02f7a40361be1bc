"""Losses of logits in PyTorch, from the mathematics: for the live crosscheck and the benchmarks.

Each is a function of what a step shows it, `Shown`, and of its weights, which
kd_jax.verify.torch_recipes names; those of features are in kd_jax.verify.torch_features. Needs
torch and no jax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_jax.pytorch.rendering import Outputs

Views = Mapping[str, Outputs]


class Shown(NamedTuple):
  """What a loss reads in one step."""

  student: Views
  teachers: Sequence[Views]
  label: Tensor  # i64[B], −1 where there is none
  connected: Sequence[Tensor] = ()  # the student's features after their connectors
  margins: Sequence[Tensor] = ()  # of the teacher's stages, [C] each
  companion: Outputs | None = None  # of a teacher that trains beside the student
  epoch: int = 1  # the running one, from 1; a step each
  epochs: int = 1  # of the phase

  @property
  def pair(self) -> tuple[Outputs, Outputs]:
    """Return what the student and the first teacher compute on the weak view."""
    return self.student['weak'], self.teachers[0]['weak']

  @property
  def logits(self) -> tuple[Tensor, Tensor]:
    """Return the logits of `pair`."""
    own, teacher = self.pair
    return own.logits, teacher.logits


def cross_entropy(shown: Shown, view: str = 'weak') -> Tensor:
  """Return the mean cross-entropy of the images that have a label."""
  return F.cross_entropy(shown.student[view].logits, shown.label, ignore_index=-1)


def divergence(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
  """Return T² · KL(teacher ‖ student), summed over classes, the mean over the batch."""
  log_p, log_q = F.log_softmax(student / temperature, 1), F.log_softmax(teacher / temperature, 1)
  return temperature**2 * F.kl_div(log_p, log_q, reduction='batchmean', log_target=True)


def nokd(shown: Shown) -> Tensor:
  return cross_entropy(shown)


def uda_nokd(shown: Shown) -> Tensor:
  return (cross_entropy(shown, 'weak') + cross_entropy(shown, 'strong')) / 2


def side_by_side(shown: Shown) -> Tensor:
  assert shown.companion is not None
  return cross_entropy(shown) + F.cross_entropy(shown.companion.logits, shown.label)


def kd(shown: Shown, *, alpha: float, temperature: float, view: str = 'weak') -> Tensor:
  """Return Hinton's loss; its KL is the mean over the teachers."""
  own = shown.student[view].logits
  divergences = [divergence(own, teacher[view].logits, temperature) for teacher in shown.teachers]
  return (1 - alpha) * cross_entropy(shown, view) + alpha * sum(divergences) / len(divergences)


def kd_mean_of_elements(shown: Shown, *, alpha: float, temperature: float) -> Tensor:
  """Return Hinton's loss with the KL averaged over batch and classes: torch's reduction='mean'."""
  own, teacher = (logits / temperature for logits in shown.logits)
  elements = F.kl_div(F.log_softmax(own, 1), F.softmax(teacher, 1), reduction='mean')
  return (1 - alpha) * cross_entropy(shown) + alpha * temperature**2 * elements


def kl_alone(shown: Shown, *, temperature: float) -> Tensor:
  """Return KL(teacher ‖ student) at T, not multiplied by T²: the second phase of AB's authors."""
  return divergence(*shown.logits, temperature) / temperature**2


def unsupervised(shown: Shown, *, temperature: float) -> Tensor:
  return divergence(*shown.logits, temperature)


def uda(shown: Shown, *, alpha: float, temperature: float, share: float) -> Tensor:
  weak, strong = (
    kd(shown, alpha=alpha, temperature=temperature, view=view) for view in ('weak', 'strong')
  )
  return share * (weak + strong)


def triplet(shown: Shown, *, alpha: float, temperature: float) -> Tensor:
  own, teacher = shown.logits
  hard = F.cosine_embedding_loss(own, teacher, own.new_ones(len(own)))
  return (1 - alpha) * hard + alpha * divergence(own, teacher, temperature)


def dkd(shown: Shown, *, target: float, others: float, temperature: float) -> Tensor:
  """Return CE + T² · (α · TCKD + β · NCKD).

  Without the label's class, pushed 1000 down, the others share all probability.
  """
  own, teacher = shown.logits
  at = F.one_hot(shown.label, own.shape[1]).to(own.dtype)

  def two_classes(logits: Tensor) -> Tensor:
    p = F.softmax(logits / temperature, 1)
    return torch.stack([(p * at).sum(1), (p * (1 - at)).sum(1)], 1)

  def without_label(logits: Tensor) -> Tensor:
    return F.log_softmax(logits / temperature - 1000 * at, 1)

  log_p, log_q = without_label(own), without_label(teacher)
  tckd = F.kl_div(two_classes(own).log(), two_classes(teacher), reduction='sum') / len(own)
  nckd = F.kl_div(log_p, log_q, reduction='sum', log_target=True) / len(own)
  return cross_entropy(shown) + temperature**2 * (target * tckd + others * nckd)


# Images without a label ---------------------------------------------------------------------------


def _part(shown: Shown, kept: Tensor) -> Shown:
  """Return the logits of some examples alone."""

  def cut(views: Views) -> Views:
    return {view: outputs._replace(logits=outputs.logits[kept]) for view, outputs in views.items()}

  return shown._replace(
    student=cut(shown.student), teachers=[cut(t) for t in shown.teachers], label=shown.label[kept]
  )


def stl(
  shown: Shown,
  *,
  alpha: float,
  temperature: float,
  consistency: float,
  sharpening: float,
  confidence: float,
  unlabelled: float = 0.0,
) -> Tensor:
  """Return UDA's loss of the labelled half, and of the other its consistency and KL at T = 1."""
  labelled, rest = _part(shown, shown.label >= 0), _part(shown, shown.label < 0)
  weak = rest.student['weak'].logits.detach()
  strong = rest.student['strong'].logits
  target = F.softmax(weak / sharpening, 1)
  apart = F.kl_div(F.log_softmax(strong, 1), target, reduction='none').sum(1)
  sure = (F.softmax(weak, 1).amax(1) > confidence).to(apart.dtype)
  loss = uda(labelled, alpha=alpha, temperature=temperature, share=1.0)
  consistent = consistency * (apart * sure).mean()
  return loss + consistent + unlabelled * divergence(*rest.logits, 1.0)


def stl_published(
  shown: Shown, *, alpha: float, temperature: float, unlabelled_temperature: float, share: float
) -> Tensor:
  """Return (KD(x) + KD(x̂) + KL(u) + KL(û)) / 4."""
  labelled, rest = _part(shown, shown.label >= 0), _part(shown, shown.label < 0)
  hinton = uda(labelled, alpha=alpha, temperature=temperature, share=1.0)
  divergences = sum(
    divergence(rest.student[view].logits, rest.teachers[0][view].logits, unlabelled_temperature)
    for view in ('weak', 'strong')
  )
  return share * (hinton + divergences)


def deit(shown: Shown, *, weight: float) -> Tensor:
  """Return (1 − λ) CE + λ CE(z', argmax z_t) of a second classifier z'."""
  _, teacher = shown.logits
  (second,) = shown.connected
  return (1 - weight) * cross_entropy(shown) + weight * F.cross_entropy(second, teacher.argmax(1))
