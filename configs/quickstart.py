"""Distillation in a minute or two, offline, on 1,797 real handwritten digits: a teacher in place of
labels.

  python launch.py

A small residual network learns from 20 labelled digits; the same network learns from no label at
all, but from a teacher's answers on unlabelled ones. The teacher is a larger network that was
trained on all labels first. Three seeds; both students take 102 steps.
The same table again, and a page: python -m kd_jax.report runs/quickstart

Expected (measured): 65.09 ± 14.08 % of 360 test digits from 20 labels, 97.13 ± 0.40 without. Time:
98 s of processor time, on CPU cores that other work shared.
"""

from kd_jax.studies.definition import Row, study

ALONE, DISTILLED = '20 labels, alone', 'no label, distilled'


def get_config():
  return study(
    'Digits: a teacher in place of labels',
    question='What does a teacher give to a student that has no labels?',
    protocol='1,150 training digits; the epoch is chosen on 287 validation digits; tested on 360. The teacher, thin_resnet14, is '
    'trained on all 1,150 labels. One student, thin_resnet8, sees 20 labelled digits; the other, '
    'the same network from the '
    "same weights, sees the 1,150 digits without their labels, and learns the teacher's answers. "
    'Both take 102 steps: of 20 '
    'digits, all that it has, and of 64. Nothing is augmented.',
    limits='It does not show that labels can be spared: the teacher learned from all 1,150, and 287 more chose the epoch of each '
    'network, also that of the student with 20.',
    rows=[
      Row(ALONE, {'method': 'nokd', 'train_examples': 20, 'batch_size': 20, 'epochs': 102}),
      Row(DISTILLED, {'method': 'unsupervised', 'unlabelled_dataset': 'digits'}),
    ],
    comparisons=[(DISTILLED, ALONE)],
    dataset='digits',
    validation_examples=287,
    crop_padding=0,
    flip=False,
    teacher='thin_resnet14',
    student='thin_resnet8',
    epochs=6,
    teacher_epochs=10,
    batch_size=64,
    log_every=10,
    mean=(0.305,),
    std=(0.376,),  # of all digits: one program serves every seed
  )
