"""Keep `python -m kd_jax.crosscheck`, the older spelling of `kd-jax crosscheck`."""

import sys

from kd_jax.commands.crosscheck import main

if __name__ == '__main__':
  sys.exit(main())
