"""What a .pt2 may hold: arrays, and a program of torch's operators.

`torch.export.load` unpickles some of a file's entries, loads native code from others, evaluates its
symbolic sizes and guards as Python, and looks its operators up in all of the module torch. A file
of a stranger could run any code through each of these, so that they are checked before it is
loaded.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from kd_jax.types import FileError

_PLAIN = re.compile(
  r'[^/]+/(archive_format|archive_version|version|byteorder|\.data/(version|serialization_id)'
  r'|models/model\.json|extra/[^/]+|data/(sample_inputs/model\.pt|weights/weight_\d+'
  r'|constants/tensor_\d+|(weights|constants)/model(_(weights|constants)_config\.json|\.pt)))'
  r'|version|extra_files/[^/]+|serialized_exported_program\.json'  # of torch 2.7 and before
  r'|serialized_(state_dict|constants|example_inputs)\.pt'
)
_OPERATOR = re.compile(
  r'torch\.ops\.[a-z]\w*\.(_?[A-Za-z]\w*|__(and|or|xor|lshift|rshift)__)(\.[A-Za-z]\w*)?'
  r'|torch\.(_)?sym_\w+|torch\._check|math\.[a-z]\w*'
  r'|_operator\.(add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|not_|or_|pos|pow|sub'
  r'|truediv)'
)
_CALLED = {  # of sympy, and of torch's own
  *('Symbol', 'Integer', 'Float', 'Rational', 'Add', 'Mul', 'Max', 'Min', 'Abs', 'Eq', 'Ne', 'Lt'),
  *('Le', 'Gt', 'Ge', 'And', 'Or', 'Not', 'FloorDiv', 'ModularIndexing', 'Where'),
  *('PythonMod', 'Mod', 'CleanDiv', 'CeilToInt', 'FloorToInt', 'CeilDiv', 'FloatTrueDiv'),
  *('IntTrueDiv', 'TruncToFloat', 'TruncToInt', 'RoundToInt', 'ToFloat', 'Identity', 'size'),
  *('floor', 'ceiling'),
}
_NODES = (
  *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.keyword),
  *(ast.Name, ast.Load, ast.Constant, ast.Subscript, ast.Attribute),
  *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
  *(ast.unaryop, ast.boolop, ast.cmpop),
)
_LONGEST = 1000  # characters of an expression
_HIGHEST = 8  # power in one
_LARGEST = 64 << 20  # bytes of a program's description


def checked(path: str | os.PathLike[str]) -> io.BytesIO:
  """Return a .pt2 whose loading and running does no more than compute.

  It is written anew of the entries that were checked: torch reads archives by code of its own,
  which may find other entries in a file that was made to deceive.

  Raises:
    FileError: the file could do more.
    Exception: it is none, or damaged; zipfile and json have kinds of their own.
  """
  out = io.BytesIO()
  with zipfile.ZipFile(path) as archive, zipfile.ZipFile(out, 'w') as copy:
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) != len(entries):
      raise _refusal('holds two entries of one name')
    for entry in entries:
      if entry.compress_type != zipfile.ZIP_STORED or not _PLAIN.fullmatch(entry.filename):
        raise _refusal(f"holds '{entry.filename[:80]}', which is no array and no program")
    for entry in entries:
      content = archive.read(entry)
      if entry.filename.endswith('.json'):
        if len(content) > _LARGEST:
          raise _refusal(f'describes itself in {len(content):,} bytes')
        _check_description(json.loads(content))
      copy.writestr(zipfile.ZipInfo(entry.filename), content)
  out.seek(0)
  return out


@contextlib.contextmanager
def no_pickles() -> Iterator[None]:
  """Let torch.load read arrays alone while the context lasts, also where torch itself calls it."""
  name = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
  before = os.environ.get(name)
  os.environ[name] = '1'
  try:
    yield
  finally:
    if before is None:
      del os.environ[name]
    else:
      os.environ[name] = before


def _check_description(value: Any) -> None:
  """Raise FileError where a part of a description is evaluated, or calls something else."""
  if isinstance(value, list):
    for item in value:
      _check_description(item)
  if not isinstance(value, dict):
    return
  for name, item in value.items():
    if name == 'use_pickle' and item:
      raise _refusal('holds a pickle')
    if name == 'path_name' and not re.fullmatch(r'(weight|tensor)_\d+', str(item)):
      raise _refusal(f"holds '{str(item)[:80]}', which is no array")
    if name == 'target' and isinstance(item, str) and '.' in item:
      _check_target(item)
    if name == 'expr_str':
      _check_expression(item)
    if name == 'guards_code':
      for guard in item:
        _check_expression(guard)
    _check_description(item)


def _check_target(name: str) -> None:
  if not _OPERATOR.fullmatch(name):
    raise _refusal(f"calls '{name[:80]}', which is no operator")


def _check_expression(text: str) -> None:
  """Raise FileError where an expression is more than arithmetic of names and numbers."""
  refusal = _refusal(f"evaluates '{str(text)[:80]}', which is no arithmetic")
  if not isinstance(text, str) or len(text) > _LONGEST or '__' in text:
    raise refusal
  try:
    tree = ast.parse(text, mode='eval')
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    raise refusal from None
  texts = {id(node) for node in ast.walk(tree) if _is_text(node)}
  for node in ast.walk(tree):
    if not isinstance(node, _NODES) or not _is_plain(node):
      raise refusal
    match node:
      case ast.Call(func=ast.Name(id='Symbol'), args=[name, *_]) | ast.Subscript(slice=name):
        texts.discard(id(name))
  if texts:  # sympy evaluates a text that it is given for a number
    raise refusal


def _is_text(node: ast.AST) -> bool:
  return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _is_plain(node: ast.AST) -> bool:
  """Return whether a part of an expression calls, reads and raises to powers what it may."""
  match node:
    case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
      return name in _CALLED
    case ast.Call():
      return False
    case ast.Attribute(attr=name):
      return name in ('size', 'shape')
    case ast.BinOp(op=ast.Pow(), left=base, right=power):
      small = isinstance(power, ast.Constant) and power.value in range(_HIGHEST + 1)
      return small and isinstance(base, ast.Name | ast.Call)
    case _:
      return True


def _refusal(what: str) -> FileError:
  return FileError(f'it {what}: such a file could run any code')
