"""What commands print, whatever the encoding of the terminal, pipe or file that takes it."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
from typing import Any, TextIO

from kd_jax.text import escape, visible

HANDLER = 'kd_jax.plain'  # the name under which Python's codecs know `_plain`
# How a reader understands a character that an encoding lacks; every other one is written as JSON
# and Python write it.
_PLAIN = {
  '─': '-',
  '━': '-',
  '╸': '-',
  '╺': '-',
  '–': '-',
  '−': '-',
  '…': '...',
  '×': 'x',
  '±': '+-',
  '→': '->',
  '↔': '<->',
  '≤': '<=',
  '≥': '>=',
  '·': '*',
  '²': '^2',
  '³': '^3',
  '½': '1/2',
  '’': "'",
  '‘': "'",
  '“': '"',
  '”': '"',
}


class Visible:
  """Write all texts as `kd_jax.text.visible` returns them; `direct` is the stream beneath, for what
  moves the cursor, as the progress bar does.
  """

  def __init__(self, direct: TextIO):
    self.direct = direct

  def write(self, text: str) -> int:
    """Write a text."""
    self.direct.write(visible(text))
    return len(text)

  def __getattr__(self, name: str) -> Any:
    return getattr(self.direct, name)


def settle() -> None:
  """Let standard output and standard error take every text, whatever their encoding, and let no
  text on standard output steer the terminal.

  What an encoding lacks is written in plain characters, and the bytes of a file's name that are no
  text as they are. A command calls this before it prints anything.
  """
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # not none, nor a notebook's
      with contextlib.suppress(ValueError, OSError):  # it is closed
        stream.reconfigure(errors=HANDLER)
  if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout = Visible(sys.stdout)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
  """Return what replaces a character and where to go on, as an error handler of codecs."""
  if not isinstance(error, UnicodeEncodeError):
    raise error
  character = error.object[error.start]
  following = error.start + 1
  if '\udc80' <= character <= '\udcff':  # a byte of a file's name, as os.fsdecode gives it
    return bytes([ord(character) - 0xDC00]), following
  return _PLAIN.get(character) or escape(character), following


codecs.register_error(HANDLER, _plain)
