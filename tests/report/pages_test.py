"""What pages let in."""

from __future__ import annotations

import html.parser


class Elements(html.parser.HTMLParser):
  """The elements of a page or of a part of one, each with its attributes."""

  def __init__(self, text: str):
    super().__init__()
    self.elements: list[tuple[str, dict[str, str]]] = []
    self.feed(text)
    self.close()

  def handle_starttag(self, tag, attributes):
    self.elements.append((tag, {name: value or '' for name, value in attributes}))

  def handle_comment(self, data):
    raise AssertionError(f'a comment: {data}')
