"""Texts in figures."""

from __future__ import annotations


def percent_tick(value: float, _: int | None = None) -> str:
  """Return a fraction as a tick of an axis writes it."""
  return f'{100 * value:.4g} %'


def shortened(text: str, *, length: int = 52) -> str:
  """The text, cut to a number of characters where it is longer."""
  return text if len(text) <= length else f'{text[: length - 1]}…'
