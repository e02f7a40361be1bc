"""The answer that a person wrote beside a study's results, in answer.md, as HTML."""

from __future__ import annotations

import re
from pathlib import Path

from kd_jax.files import records

FILE = 'answer.md'


def read(folder: Path) -> str | None:
  """Return the text beside the results; None where there is none.

  Raises:
    FileError: it cannot be read.
  """
  path = folder / FILE
  return records.read_text(path) if path.exists() else None


def html(text: str) -> str:
  """Return paragraphs and lists, '- ' before each item, with **bold**, `code` and [links](https:…).

  All else is text, and escaped: a page fetches nothing and runs nothing.
  """
  blocks = re.split(r'\n\s*\n', text.strip())
  return ''.join(map(_block, filter(None, blocks)))


def _block(text: str) -> str:
  if not text.startswith('- '):
    return f'<p>{_inline(text)}</p>'
  items = re.split(r'^- ', text, flags=re.MULTILINE)[1:]
  return f'<ul>{"".join(f"<li>{_inline(item)}</li>" for item in items)}</ul>'


def _inline(text: str) -> str:
  from markupsafe import escape

  escaped = str(escape(' '.join(text.split())))
  escaped = re.sub(r'`([^`]+)`', r'<code>\1</code>', escaped)
  escaped = re.sub(r'\*\*(.+?)\*\*', r'<b>\1</b>', escaped)
  return re.sub(r'\[([^\]]+)\]\((https?://[^\s)]+)\)', r'<a href="\2">\1</a>', escaped)
