"""What commands print, whatever the encoding of the terminal, pipe or file that takes it."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys

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


def settle() -> None:
  """Let standard output and standard error take every text, whatever their encoding.

  What it lacks is written in plain characters, and the bytes of a file's name that are no text as
  they are. A command calls this before it prints anything.
  """
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # not none, nor a notebook's
      with contextlib.suppress(ValueError, OSError):  # it is closed
        stream.reconfigure(errors=HANDLER)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
  """Return what replaces a character and where to go on, as an error handler of codecs."""
  if not isinstance(error, UnicodeEncodeError):
    raise error
  character = error.object[error.start]
  following = error.start + 1
  if '\udc80' <= character <= '\udcff':  # a byte of a file's name, as os.fsdecode gives it
    return bytes([ord(character) - 0xDC00]), following
  return _PLAIN.get(character) or _escaped(character), following


def _escaped(character: str) -> str:
  """Return \\u72d7 for 狗; beyond four digits the two halves that JSON has, too."""
  pair = character.encode('utf-16-be', 'surrogatepass')
  return ''.join(f'\\u{pair[place : place + 2].hex()}' for place in range(0, len(pair), 2))


codecs.register_error(HANDLER, _plain)
