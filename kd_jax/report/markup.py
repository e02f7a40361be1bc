"""What the pages have in common: their look, and the parts that they are made of.

Everything that a reader sees is escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kd_jax.text import MISSING

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fff;--soft:#f3f4f6;--line:#d4d7dc;
  --blue:#0072b2;--vermilion:#c04f00;--grey:#5b5b5b;--grid:#e4e4e4;
  --green:#007a59;--pink:#b4558b;--orange:#a86f00;--sky:#2f8fc7}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--paper:#16181c;--soft:#20242a;--line:#3b4048;
  --blue:#56b4e9;--vermilion:#ff9a5c;--grey:#a8adb5;--grid:#2c3138;
  --green:#2fc79a;--pink:#e3a3c6;--orange:#f0b840;--sky:#a9dcff}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
  max-width:76rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}
h1{line-height:1.2}h2{margin-top:2.5rem}p,li{max-width:46rem}
.wide{overflow-x:auto;overflow-wrap:normal;margin:.8rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.25rem .55rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{vertical-align:bottom;white-space:normal}
.t{text-align:left;white-space:normal;min-width:5rem}tbody th{font-weight:normal;min-width:9rem}
th.group{font-weight:bold;padding-top:.9rem;text-align:left}
.higher{color:var(--blue);font-weight:bold}.lower{color:var(--vermilion);font-weight:bold}
.warning{border-left:.3rem solid var(--vermilion);background:var(--soft);padding:.2rem .8rem;margin:.5rem 0}
figure{margin:1rem 0;overflow-x:auto}
figure svg{width:100%;min-width:36rem;max-width:54rem;height:auto;display:block}
svg text{fill:currentColor}
a{color:var(--blue)}nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;padding:0}
.cells td,.cells thead th{text-align:center;padding:.25rem .4rem;min-width:1.6rem}.cells tbody th{min-width:0}
.cells thead th{white-space:nowrap}.cells .none{color:var(--grey)}
.map{width:min(100%,24rem);image-rendering:pixelated;border:1px solid var(--line)}
.images{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.8rem;list-style:none;padding:0}
.images li{background:var(--soft);padding:.6rem;font-size:.85rem;line-height:1.35}
.images img{width:6rem;height:6rem;object-fit:contain;image-rendering:pixelated;display:block;margin-bottom:.4rem}
details{margin:.3rem 0}details details{margin-left:1rem}summary{cursor:pointer;padding:.2rem 0}
"""
_NUMBER = re.compile(rf'[*≤≥]? ?[-+]?[\d.,]+(e[-+]?\d+)?|< \.001|(\d[\d.]* [dhms] ?)+|{MISSING}|')


def document(title: str, parts: Sequence[str]) -> str:
  """A whole page, whose body the parts are."""
  return (
    f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
    f'content="width=device-width, '
    f'initial-scale=1"><title>{text(title)}</title><style>{_STYLE}</style></head><body><main>\n'
    + '\n'.join(parts)
    + '\n</main></body></html>\n'
  )


def flat(config: Mapping[str, Any], *, prefix: str = '') -> dict[str, Any]:
  """A configuration under the keys of the command line: {'options': {'kd': {'alpha':

  0.5}}} is {'kd.alpha': 0.5}.
  """
  found: dict[str, Any] = {}
  for key, value in config.items():
    name = prefix + key
    found |= (
      flat(value, prefix='' if name == 'options' else name + '.')
      if isinstance(value, Mapping)
      else {name: value}
    )
  return found


def text(value: Any) -> str:
  """A value as a page shows it."""
  return html.escape(str(value))


def paragraph(value: str) -> str:
  """A paragraph of text."""
  return f'<p>{text(value)}</p>'


def section(name: str, heading: str) -> str:
  """A heading that links can lead to."""
  return f'<h2 id="{text(name)}">{text(heading)}</h2>'


def table(
  headings: Sequence[str], lines: Sequence[Sequence[str]], *, under: Sequence[str] = ()
) -> str:
  """Columns of numbers to the right, others to the left; `under` is the heading over each line."""
  words = [
    not all(_NUMBER.fullmatch(line[column]) for line in lines) for column in range(len(headings))
  ]
  words[0] = True
  sides = [' class="t"' if left else '' for left in words]
  head = ''.join(
    f'<th scope="col"{side}>{text(cell)}</th>' for cell, side in zip(headings, sides, strict=True)
  )
  body = ''
  for number, line in enumerate(lines):
    if under and under[number] and (number == 0 or under[number - 1] != under[number]):
      body += f'<tr><th class="group" scope="rowgroup" colspan="{len(headings)}">{text(under[number])}</th></tr>\n'
    cells = ''.join(
      f'<td{_side(cell, side)}>{text(cell)}</td>'
      for cell, side in zip(line[1:], sides[1:], strict=True)
    )
    body += f'<tr><th scope="row" class="t">{text(line[0])}</th>{cells}</tr>\n'
  return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _side(cell: str, side: str) -> str:
  verdict = cell.split(' (')[0]
  return f' class="t {verdict}"' if verdict in ('higher', 'lower') and side else side


def figure(svg: str, caption: str) -> list[str]:
  """The figure and, as text that a reader sees and a screen reader says, what it shows; nothing
  where nothing was drawn.
  """
  return (
    [f'<figure role="img" aria-label="{text(caption)}">{svg}</figure>', f'<p>{text(caption)}</p>']
    if svg
    else []
  )


def pairs(values: Mapping[str, str]) -> str:
  """A table of keys and their values."""
  return table(['key', 'value'], [[key, value] for key, value in values.items()])
