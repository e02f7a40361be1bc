"""A study in minutes, offline, to see how one works: distillation on 1,797 real handwritten digits,
three seeds a row.

  python launch.py --config=configs/paper/digits.py --workdir=runs/digits
  python -m kd_jax.report runs/digits

Expected (measured): NOKD 95.0 ± 2.8 %, KD 87.8 ± 15.0, RKD 84.4 ± 13.3, TAKD 88.7 ± 7.3 on test;
three seeds decide none of the
comparisons. Time: nine minutes on 2 busy CPU cores with --workers=2, four of processor time.
"""

from kd_jax.studies.definition import Row, study


def get_config():
  return study(
    'Digits: does a teacher help?',
    question='Is a small network better on handwritten digits where it learns from a larger one?',
    protocol='200 training images; the epoch is chosen on 287 validation images; tested on 360. KD chooses its alpha on the '
    'validation images at a seed of its own.',
    rows=[
      Row('NOKD', {'method': 'nokd'}),
      Row('KD', {'method': 'kd'}, sweep={'kd.alpha': (0.5, 0.9)}),
      Row('RKD', {'method': 'rkd'}),
      Row('TAKD', {'method': 'takd', 'takd.assistants': 'thin_resnet8'}),
    ],
    comparisons=[('KD', 'NOKD'), ('RKD', 'NOKD'), ('RKD', 'KD'), ('TAKD', 'KD')],
    dataset='digits',
    train_examples=200,
    validation_examples=287,
    crop_padding=2,
    flip=False,
    teacher='thin_resnet14',
    student='thin_resnet8',
    epochs=20,
    batch_size=50,
    log_every=10,
    mean=(0.305,),
    std=(0.376,),  # of all digits: one program serves every seed
  )
