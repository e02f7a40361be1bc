"""Keep `kd_jax.tables.write`, the older name of `kd_jax.runs.logits_table.write`."""

from kd_jax.runs.logits_table import pictures, shown_to_teachers, write

__all__ = ['pictures', 'shown_to_teachers', 'write']
