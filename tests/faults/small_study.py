"""A study of a minute for kills: a sweep, students that share a program, one that has a teacher of
its own, and memory banks.
"""

from kd_jax.studies.definition import Row, study


def get_config():
  return study(
    'Digits',
    question='',
    protocol='',
    rows=(
      Row('NOKD', {'method': 'nokd'}, seeds=2),
      Row('KD', {'method': 'kd'}, seeds=2, sweep={'kd.alpha': (0.2, 0.8)}),
      Row('CRD', {'method': 'crd', 'crd.negatives': 8, 'crd.width': 4}, seeds=2),
      Row('TAKD', {'method': 'takd', 'takd.assistants': 'nets:small'}, seeds=1),
    ),
    comparisons=[('KD', 'NOKD')],
    together=2,
    image_size=16,
    validation_examples=70,
    batch_size=32,
    crop_padding=1,
    flip=False,
    student='nets:small',
    teacher='nets:small',
    epochs=2,
    ema=0.8,
    log_every=1,
  )
