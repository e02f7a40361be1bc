"""Keep `python -m kd_jax.export`, the older spelling of `kd-jax export`."""

import sys

from kd_jax.commands.export import main

if __name__ == '__main__':
  sys.exit(main())
