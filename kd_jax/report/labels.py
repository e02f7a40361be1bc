"""Texts in figures."""

from __future__ import annotations


def percent_tick(value: float, *place: int | None) -> str:
  """Return a fraction as a tick of an axis writes it; matplotlib gives the place of the
  tick, too.
  """
  del place
  return f'{100 * value:.4g} %'


def shortened(text: str, *, length: int = 52) -> str:
  """Return the text, cut to a number of characters where it is longer."""
  return text if len(text) <= length else f'{text[: length - 1]}…'
