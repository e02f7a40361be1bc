"""Keep `python -m kd_jax.predict`, the older spelling of `kd-jax predict`."""

import sys

from kd_jax.commands.predict import main

if __name__ == '__main__':
  sys.exit(main())
