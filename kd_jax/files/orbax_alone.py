"""Orbax, quiet, and without waiting for other processes."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np


def library() -> Any:
  """Return orbax, imported late since it takes a while.

  Its log is dropped: what goes wrong comes as an exception as well.
  """
  import orbax.checkpoint as ocp

  logging.getLogger('absl').addFilter(is_not_of_orbax)
  return ocp


def is_not_of_orbax(record: logging.LogRecord) -> bool:
  """Return whether another library than orbax wrote a record of a log."""
  return 'orbax' not in Path(record.pathname).parts


def options(ocp: Any) -> Any:
  """Return orbax's options for work that no other process takes part in."""
  me = jax.process_index()
  prefix = f'kd_jax_{me}'
  return ocp.options.MultiprocessingOptions(
    primary_host=me, active_processes={me}, barrier_sync_key_prefix=prefix
  )


def read_array(folder: Path) -> np.ndarray:
  """Return the array 'bytes' that orbax has written into a folder."""
  ocp = library()

  def read() -> np.ndarray:
    with ocp.Checkpointer(
      ocp.PyTreeCheckpointHandler(), multiprocessing_options=options(ocp)
    ) as checkpointer:
      return checkpointer.restore(folder, args=ocp.args.PyTreeRestore())['bytes']

  # Orbax opens an event loop, and refuses where one runs already, as in a notebook.
  with ThreadPoolExecutor(1) as worker:
    return worker.submit(read).result()
