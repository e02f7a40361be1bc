"""What tests look at pages with: a parser, and a browser where there is one. No tests here."""

from __future__ import annotations

import html.parser
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = shutil.which('chromium')
needs_browser = pytest.mark.skipif(not BROWSER, reason='no chromium on the PATH')


def opened(path: Path) -> subprocess.CompletedProcess:
  """A page as a browser makes it of a file: the document on standard output, ':CONSOLE' with each
  fault on standard error.
  """
  command = [
    BROWSER,
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    f'--user-data-dir={path.parent / "profile"}',
    '--enable-logging=stderr',
    '--dump-dom',
    path.absolute().as_uri(),
  ]
  return subprocess.run(command, capture_output=True, text=True, timeout=600)


class Parser(html.parser.HTMLParser):
  """Collects tags, text and what a page would fetch; fails where tags are not balanced."""

  VOID = ('meta', 'link', 'br', 'img', 'input')

  def __init__(self):
    super().__init__()
    self.open, self.tags, self.text, self.fetched = [], [], '', []

  def handle_starttag(self, tag, attributes):
    self.tags.append(tag)
    self.fetched += [
      v for k, v in attributes if k in ('src', 'href', 'xlink:href') and v and not v.startswith('#')
    ]
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.fetched += [
      v for k, v in attributes if k in ('src', 'href', 'xlink:href') and v and not v.startswith('#')
    ]

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data
