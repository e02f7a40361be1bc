"""Keep `from kd_jax.study import Row, study`, which the configurations of users say."""

from kd_jax.studies.definition import Row, study

__all__ = ['Row', 'study']
