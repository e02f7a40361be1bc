"""Keep `kd_jax.main.command`, which the scripts of older installations call."""

from kd_jax.commands.main import command

__all__ = ['command']
