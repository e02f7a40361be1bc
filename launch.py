"""Starts a run:

`python launch.py --help` tells what can be set. All of it is in kd_jax/commands/run.py, the
installed command `kd-jax`.
"""

from kd_jax.commands.run import command

if __name__ == '__main__':
  command()
