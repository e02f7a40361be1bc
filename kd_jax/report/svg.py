"""Figures as SVG whose colours the page sets: they follow a reader's light or dark mode."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

from kd_jax.report import colours, figures

# The variables of the page (kd_jax/report/templates/style.css) that stand for colours.
_VARIABLES = {
  colours.BLUE: 'var(--blue)',
  colours.VERMILION: 'var(--vermilion)',
  colours.GREY: 'var(--grey)',
  colours.GRID: 'var(--grid)',
  colours.GREEN: 'var(--green)',
  colours.PINK: 'var(--pink)',
  colours.ORANGE: 'var(--orange)',
  colours.SKY: 'var(--sky)',
  colours.BLACK: 'currentColor',
  '#ffffff': 'var(--paper)',
}
_STYLE = {
  'svg.hashsalt': 'kd_jax',
  'svg.fonttype': 'none',  # text stays text: the reader's fonts draw it
  'axes.spines.left': False,
  'axes.facecolor': 'none',
}
_WIDTH = 7.2  # inches


def drawn(
  ident: str,
  draw: Callable[[Any], None],
  height: float,
  *,
  settings: Mapping[str, Any] | None = None,
) -> str:
  """Return an SVG, the same bytes for the same numbers whatever the user's matplotlib is set to.

  Args:
    ident: what its ids begin with; another one for each figure of a page.
    draw: takes the matplotlib figure.
    height: in inches.
    settings: of matplotlib, beside those that all figures share.
  """
  from matplotlib.figure import Figure

  with figures.styled({**_STYLE, **(settings or {})}):
    figure = Figure(figsize=(_WIDTH, height), layout='constrained', facecolor='none')
    draw(figure)
    out = io.StringIO()
    figure.savefig(out, format='svg', metadata=dict.fromkeys(('Date', 'Creator', 'Format', 'Type')))
  text = out.getvalue()
  text = text[text.index('<svg') :].replace('*{', f'.{ident} *{{')
  text = text.replace('<svg ', f'<svg class="{ident}" aria-hidden="true" ', 1)
  # several figures stand in one page
  text = re.sub(r'(id="|href="#|url\(#)', rf'\g<1>{ident}-', text)
  text = re.sub(r' d="[^"]*"', lambda path: re.sub(r'(\.\d\d)\d+', r'\1', path[0]), text)
  return re.sub(r'style="[^"]*"', _follow_the_page, text)


def _follow_the_page(style: re.Match[str]) -> str:
  return re.sub(r'#[0-9a-f]{6}', lambda colour: _VARIABLES.get(colour[0], colour[0]), style[0])


def alone(figure: str) -> str:
  """Return a figure of `drawn` as a file of its own, dark on white: no page sets its colours."""
  values = {name: colour for colour, name in _VARIABLES.items()}
  text = re.sub(r'var\(--\w+\)', lambda name: values[name[0]], figure)
  text = text.replace(' aria-hidden="true"', '', 1)
  text = text.replace('<svg ', '<svg style="background:#ffffff" font-family="sans-serif" ', 1)
  return f'{text}\n'
