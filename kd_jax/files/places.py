"""Which texts name a place on this machine: kd_jax reads and writes files, and no URLs."""

from __future__ import annotations

import os
import re

# Two letters at least: `C:/runs` is a folder of Windows. One slash is enough: pathlib makes
# `s3:/bucket` of `s3://bucket`.
_URL = re.compile(r'[A-Za-z][A-Za-z0-9+.-]+:/')


def refusal(what: str, text: str | os.PathLike) -> str:
  """Return why a place is none on this machine, and what to do; '' where it is one.

  Args:
    what: the flag or key whose value it is; '' for none.
    text: the place.
  """
  place = os.fspath(text)
  if not _URL.match(place):
    return ''
  return (
    f'{what}{"=" if what else ""}{place} is a URL, and kd_jax reads and writes local files alone: '
    'give a path on this machine, and copy the files to or from there, or mount the storage as a '
    'folder'
  )


def check_local(what: str, text: str | os.PathLike) -> None:
  """Raise ConfigError where the value of `what` is a URL, such as s3://bucket/run or file:///run.

  Without this check a run would train for hours, and write into a local folder called `s3:`.
  """
  from kd_jax.types import ConfigError

  if reason := refusal(what, text):
    raise ConfigError(reason)
