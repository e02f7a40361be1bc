"""A study for the benchmarks: as many equal students as there are seeds, each a phase of its own,
without a teacher to share.

  python launch.py --config=benchmarks/students.py --config.seeds=4 --workers=2 --workdir=…

Nothing is expected of its accuracy. ResNet8 on digits of 32×32 pixels, as many steps as fill some
seconds.
"""

from kd_jax.studies.definition import Row, study


def get_config():
  return study(
    'Equal students',
    question='What does one more student cost?',
    protocol='Seeds of one configuration.',
    rows=[Row('NOKD', {'method': 'nokd'})],
    dataset='digits32',
    train_examples=1_000,
    validation_examples=100,
    student='resnet8',
    relu_placement='stage',
    epochs=3,
    mean=(0.305,),
    std=(0.376,),  # of all digits: one program serves every seed
  )
