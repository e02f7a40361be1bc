"""A student distilled from a table of embeddings, on pictures without labels.

kd-jax embed --table=FILE --config.unlabelled_dataset=FOLDER --workdir=runs/embedding
"""

from kd_jax.config import default


def get_config():
  return default(
    method='kd_jax.methods.embedding:embedding',
    student='resnet8',
    epochs=20,
    batch_size=128,
    learning_rate=0.05,
    schedule='cosine',
    validation_examples=1000,
  )
