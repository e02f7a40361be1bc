"""launch.py with the row of tests/methods/memory_bank.py. No tests here."""

from kd_jax import methods
from kd_jax.commands.main import command
from tests.methods.memory_bank import memory_bank

methods.METHODS['bank'] = methods.Row(memory_bank, plan='single', teachers=(0, 0))

if __name__ == '__main__':
  command(name='run')
