"""The colours of networks: in every figure a teacher, a baseline and a student have the same ones.

They are those of Okabe and Ito, which colour-blind people can tell apart; their yellow is too pale
for lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, GREY = (
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
  '#5b5b5b',
)
BLACK = '#000000'
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
  """Return name → colour of each phase.

  Several of one role have shades of its colour, the student's own phase the full one.
  """
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
  spare = (
    *OTHERS,
    *(colour for colour in (STUDENT, BASELINE, ASSISTANT, TEACHER) if colour not in made.values()),
  )
  return made | {name: spare[place % len(spare)] for place, name in enumerate(others)}


def _paler(colour: str, share: float) -> str:
  """Return a colour mixed with a share of white."""
  parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
  return '#' + ''.join(f'{round(part + share * (255 - part)):02x}' for part in parts)
