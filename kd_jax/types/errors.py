"""The faults that a user can mend. Each message is one line."""

from __future__ import annotations


class KdJaxError(Exception):
  """A fault that the user can mend. The message is one line: what is wrong, why, and what to do."""


class ConfigError(KdJaxError):
  """A key, an option or a flag has a value that cannot be, or that does not go with the others."""


class DataError(KdJaxError):
  """Images or labels are missing, damaged, or not what a run needs."""


class FileError(KdJaxError):
  """A file or a folder cannot be read or written, or holds something else than it should."""


class Damaged(FileError):  # noqa: N818
  """What kd_jax has written is damaged, or part of it is gone: it may be possible to compute it
  again.
  """
