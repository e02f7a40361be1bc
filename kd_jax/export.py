"""Keep `python -m kd_jax.export`, the older spelling of `kd-jax export`."""

from kd_jax.commands.main import command

if __name__ == '__main__':
  command(name='export')
