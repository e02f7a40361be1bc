"""The colours of networks: in every figure a teacher, a baseline and a student have the same ones.

They are those of Okabe and Ito, which colour-blind people can tell apart; their yellow is too pale
for lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

BLUE = '#0072b2'
VERMILION = '#d55e00'
GREEN = '#009e73'
PINK = '#cc79a7'
ORANGE = '#e69f00'
SKY = '#56b4e9'
GREY = '#5b5b5b'
BLACK = '#000000'
GRID = '#e4e4e4'
TEACHER, ASSISTANT, BASELINE, STUDENT = GREY, GREEN, ORANGE, BLUE
OTHERS = (VERMILION, PINK, SKY)  # of what is none of these
# Names of phases (kd_jax.methods.plans). The stages before a student's last phase are the
# student's, too.
_ROLES = (
  (r'(side_by_side_)?teacher\d*', TEACHER),
  (r'assistant\d*', ASSISTANT),
  (r'baseline', BASELINE),
  (r'student', STUDENT),
  (r'boundary|side_by_side', STUDENT),
)
_PALEST = 0.6  # how much white the last of several networks of one role has


def of_phases(names: Iterable[str]) -> dict[str, str]:
  """Return name → colour of each phase; several of one role have shades of its colour."""
  names = list(names)
  made: dict[str, str] = {}
  for role in dict.fromkeys(colour for _, colour in _ROLES):
    patterns = [pattern for pattern, colour in _ROLES if colour == role]
    of_role = [name for pattern in patterns for name in names if re.fullmatch(pattern, name)]
    made |= {
      name: _paler(role, _PALEST * place / max(1, len(of_role) - 1))
      for place, name in enumerate(of_role)
    }
  others = [name for name in names if name not in made]
  free = [
    colour for colour in (STUDENT, BASELINE, ASSISTANT, TEACHER) if colour not in made.values()
  ]
  spare = [*OTHERS, *free]
  return made | {name: spare[place % len(spare)] for place, name in enumerate(others)}


def rgb(colour: str) -> tuple[int, int, int]:
  """Return red, green and blue, 0 to 255 each, of '#rrggbb'."""
  red, green, blue = bytes.fromhex(colour[1:])
  return red, green, blue


def _paler(colour: str, share: float) -> str:
  """Return a colour mixed with a share of white."""
  return '#' + ''.join(f'{round(part + share * (255 - part)):02x}' for part in rgb(colour))
