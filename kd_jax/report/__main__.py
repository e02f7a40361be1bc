"""Keep `python -m kd_jax.report`, the older spelling of `kd-jax report`."""

from kd_jax.commands.main import command

if __name__ == '__main__':
  command(name='report')
