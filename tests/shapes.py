"""How the suite checks the shapes of annotations: conftest.py hands `checked` to jaxtyping.

Only arrays are looked at, and NumPy's pass where jax's stand. The rest is the type checker's.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import beartype
import jaxtyping


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
  """Return the function with the arrays of its annotations checked at every call."""
  arrays = {name: _arrays(hint) for name, hint in function.__annotations__.items()}
  function.__annotations__ = {name: hint for name, hint in arrays.items() if hint is not Any}
  return beartype.beartype(function)


def _arrays(hint: Any) -> Any:
  """Return the annotation with any array in place of jax's, and Any for what has no arrays."""
  if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
    return hint.dtype[Any, hint.dim_str]
  if isinstance(hint, types.GenericAlias) and hint.__origin__ in (tuple, dict):
    inside = tuple(each if each is ... else _arrays(each) for each in hint.__args__)
    return Any if {*inside} <= {Any, ...} else types.GenericAlias(hint.__origin__, inside)
  return Any
