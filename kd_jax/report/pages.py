"""Pages that need no other file, and cards, from the templates beside this one.

Everything that a reader sees is escaped.
"""

from __future__ import annotations

import functools
from typing import Any

from kd_jax.report.tables import escaped


def render(template: str, **values: Any) -> str:
  """Return a page as HTML, or a card as Markdown.

  Args:
    template: its file, such as 'study.html' or 'card.md'.
    values: of the names that it has.
  """
  return _environment(template.endswith('.html')).get_template(template).render(**values)


@functools.cache
def _environment(html: bool) -> Any:
  from jinja2 import Environment, PackageLoader, StrictUndefined

  made = Environment(
    loader=PackageLoader('kd_jax.report'),
    autoescape=html,
    finalize=None if html else _for_markdown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  made.filters['one_line'] = lambda text: text.strip().replace('\n', ' ')  # stays escaped
  return made


def _for_markdown(value: Any) -> Any:
  from markupsafe import Markup

  return value if isinstance(value, Markup) else escaped(str(value))
