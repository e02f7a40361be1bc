"""Starts a run in a checkout, as `kd-jax run` does; `python launch.py --help` lists what can be
set.
"""

from kd_jax.commands.main import command

if __name__ == '__main__':
  command()
