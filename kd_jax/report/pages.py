"""Pages that need no other file, from the templates beside this one.

Everything that a reader sees is escaped.
"""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def _environment() -> Any:
  from jinja2 import Environment, PackageLoader, StrictUndefined

  made = Environment(
    loader=PackageLoader('kd_jax.report'),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  made.filters['one_line'] = lambda text: type(text)(' ').join(text.split())  # stays escaped
  return made


def render(template: str, **values: Any) -> str:
  """Return a page as HTML.

  Args:
    template: its file, such as 'study.html'.
    values: of the names that it has.
  """
  return _environment().get_template(template).render(**values)
