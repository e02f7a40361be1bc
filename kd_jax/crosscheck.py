"""Keep `python -m kd_jax.crosscheck`, the older spelling of `kd-jax crosscheck`."""

from kd_jax.commands.main import command

if __name__ == '__main__':
  command(name='crosscheck')
