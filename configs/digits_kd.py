"""KD on 1,797 real handwritten digits, offline, in a minute: one run, to see what a run leaves
behind.

  python launch.py --config=configs/digits_kd.py --workdir=runs/digits_kd
  python -m kd_jax.report runs/digits_kd

A small residual network is trained as the teacher; then one of less than half its size is trained
twice, alone and by the teacher.
Expected: all three near 98 % of the 360 test images, no further apart than chance. Time: under a
minute on 2 CPU cores.
"""

from kd_jax.config import default


def get_config():
  return default(
    dataset='digits',
    validation_examples=287,
    crop_padding=2,
    flip=False,
    teacher='thin_resnet14',
    student='thin_resnet8',
    method='kd',
    baseline=True,
    epochs=10,
    batch_size=64,
    log_every=10,
  )
