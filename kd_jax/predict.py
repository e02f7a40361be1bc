"""Keep `python -m kd_jax.predict`, the older spelling of `kd-jax predict`."""

from kd_jax.commands.main import command

if __name__ == '__main__':
  command(name='predict')
