"""What an .onnx file says of itself: the name of its batch, its classes and what it takes.

Its metadata are pairs of strings. `classes` and `input` are JSON, so that any language reads them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BATCH = 'batch'  # the name of the first dimension of images and logits


def save(model: Any, path: Path) -> None:
  """Write a model, an onnx.ModelProto, with the dimension of any size called BATCH everywhere."""
  import onnx

  graph = model.graph
  symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
  for value in (*graph.input, *graph.output, *graph.value_info):
    for side in value.type.tensor_type.shape.dim:
      if side.dim_param:  # a name, or a formula such as 4*s40
        side.dim_param = re.sub(rf'\b{re.escape(symbol)}\b', BATCH, side.dim_param)
  onnx.save(model, path)


def describe(path: Path, facts: Mapping[str, Any]) -> None:
  """Add `facts` to a file's metadata, each as JSON under its name."""
  import onnx

  model = onnx.load(path)
  written = {pair.key: pair.value for pair in model.metadata_props}
  written |= {name: json.dumps(fact, ensure_ascii=False) for name, fact in facts.items()}
  onnx.helper.set_model_props(model, written)
  onnx.save(model, path)


def facts(metadata: Mapping[str, str]) -> dict[str, Any] | None:
  """Return 'classes', a list of names, and 'stored_size' of a file's metadata.

  None where they are not stated as `describe` does, as in a file of another program, which may have
  a use of its own for such a name.
  """
  try:
    classes = json.loads(metadata.get('classes', ''))
    stored_size = json.loads(metadata.get('stored_size', '0'))
  except (ValueError, RecursionError):
    return None
  if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
    return None
  return {'classes': classes, 'stored_size': stored_size if type(stored_size) is int else 0}
