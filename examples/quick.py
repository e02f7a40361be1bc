"""A student learns from a teacher on scikit-learn's handwritten digits; a minute on two CPU cores.

python examples/quick.py
"""

import kd_jax
from kd_jax.data import sources

EPOCHS = 10

result = kd_jax.distill(
  teacher='thin_resnet14', student='thin_resnet8', data='digits', epochs=EPOCHS, baseline=True
)
for row in result.rows:
  print(f'{row["name"]:9} {row["test_accuracy"]:.1%} of the test images are right')

student = result.student  # takes u8[B, H, W, C], or f32 in [0, 1]
images = sources.load('digits').test.image[:8]
print(f'{student.parameters:,} parameters say', *student.predict(images))
print(student.export('stablehlo', out=result.workdir / 'export', say=lambda line: None))
