"""Runs the pickle in a PyTorch checkpoint as data: no name in it is ever imported, nothing of its choosing is called.

Python's own unpickler looks names up and calls them, sets attributes, and grows its memo as far as a file says. This
machine knows only the opcodes that torch.save writes and the few names in `_CALLS` and `_DTYPES`; it answers those with
its own functions. Time and memory are bounded by the number of instructions, so nothing here may copy what the memo can
repeat.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

SAVE_ALONE = 'in PyTorch, save the state dict alone: torch.save(model.state_dict(), path)'
COPY_AGAIN = 'copy or download the file again'

_MAX_OPCODES = 500_000  # a ResNet152 with its optimiser takes 60,000; bounds the memory at some 100 MB
_MAX_DIMENSIONS = 32
_MAX_EMPTY = 2**31  # product of the other sides of a tensor without elements


class Unreadable(Exception):
  """Why a file cannot be read, and what to do; `torch_reader.read` puts the path in front."""

  def __init__(self, why: str, remedy: str = COPY_AGAIN):
    super().__init__(f'{why}; {remedy}')


@dataclass(frozen=True, eq=False)
class Name:
  """What stands on the stack for a class or function that a file names."""

  name: str
  call: Callable[..., Any] | None = None
  arities: tuple[int, ...] = ()  # how many arguments `call` takes
  dtype: str | None = None  # of a storage class


@dataclass(frozen=True, eq=False)
class Storage:
  """A block of values that lies elsewhere in the file."""

  key: str
  dtype: str  # numpy's name, or 'bfloat16'
  size: int  # in elements


@dataclass(frozen=True, eq=False)
class Tensor:
  """A strided view of a storage, in elements; lies within it and is no bigger than it."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def run(data: bytes, start: int) -> tuple[Any, int, dict[str, Storage]]:
  """Runs the pickle at data[start:].

  Returns:
    The object, of dict, list, tuple, str, bytes, bool, int, float, None, numpy scalars, Tensor (and whatever a hostile
    file leaves: Name, Storage, numpy.dtype; containers that contain themselves); the position after the pickle; every
    storage that it names, by key.
  """
  reader, stack, marks, memo, storages = _Reader(data, start), [], [], {}, {}

  def pop() -> Any:
    if not stack:
      raise Unreadable('its pickle takes more values than it has')
    return stack.pop()

  def pop_to_mark() -> list:
    nonlocal stack
    if not marks:
      raise Unreadable('its pickle closes a group that it has not opened')
    items, stack = stack, marks.pop()
    return items

  def top(kind: type) -> Any:
    if not stack or type(stack[-1]) is not kind:
      raise Unreadable(f'its pickle adds to what is no {kind.__name__}')
    return stack[-1]

  def recall(index: int) -> Any:
    if index not in memo:
      raise Unreadable('its pickle recalls a value that it has not stored')
    return memo[index]

  def remember(index: int) -> None:
    if not stack:
      raise Unreadable('its pickle stores a value that it has not')
    memo[index] = stack[-1]

  for _ in range(_MAX_OPCODES):
    opcode = reader.take(1)
    match opcode:
      case pickle.PROTO:
        if not 2 <= reader.number('B') <= 5:
          raise Unreadable('its pickle is of an unknown protocol')
      case pickle.FRAME:
        reader.take(8)
      case pickle.STOP:
        value = pop()
        if stack or marks:
          raise Unreadable('its pickle ends with values left over')
        return value, reader.position, storages

      case pickle.NONE:
        stack.append(None)
      case pickle.NEWTRUE:
        stack.append(True)
      case pickle.NEWFALSE:
        stack.append(False)
      case pickle.BININT:
        stack.append(reader.number('<i'))
      case pickle.BININT1:
        stack.append(reader.number('B'))
      case pickle.BININT2:
        stack.append(reader.number('<H'))
      case pickle.LONG1:
        stack.append(int.from_bytes(reader.take(reader.number('B')), 'little', signed=True))
      case pickle.BINFLOAT:
        stack.append(reader.number('>d'))
      case pickle.BINUNICODE:
        stack.append(reader.text(reader.number('<I')))
      case pickle.SHORT_BINUNICODE:
        stack.append(reader.text(reader.number('B')))
      case pickle.BINBYTES:
        stack.append(reader.take(reader.number('<I')))
      case pickle.SHORT_BINBYTES:
        stack.append(reader.take(reader.number('B')))

      case pickle.MARK:
        marks.append(stack)
        stack = []
      case pickle.EMPTY_DICT:
        stack.append({})
      case pickle.EMPTY_LIST:
        stack.append([])
      case pickle.EMPTY_TUPLE:
        stack.append(())
      case pickle.TUPLE:
        items = tuple(pop_to_mark())
        stack.append(items)
      case pickle.TUPLE1 | pickle.TUPLE2 | pickle.TUPLE3:
        items = [pop() for _ in range(opcode[0] - pickle.TUPLE1[0] + 1)]
        stack.append(tuple(reversed(items)))
      case pickle.APPEND:
        item = pop()
        top(list).append(item)
      case pickle.APPENDS:
        items = pop_to_mark()
        top(list).extend(items)
      case pickle.SETITEM:
        items = [pop(), pop()]
        _update(top(dict), items[::-1])
      case pickle.SETITEMS:
        items = pop_to_mark()
        _update(top(dict), items)

      case pickle.BINPUT:
        remember(reader.number('B'))
      case pickle.LONG_BINPUT:
        remember(reader.number('<I'))
      case pickle.MEMOIZE:
        remember(len(memo))
      case pickle.BINGET:
        stack.append(recall(reader.number('B')))
      case pickle.LONG_BINGET:
        stack.append(recall(reader.number('<I')))

      case pickle.GLOBAL:
        stack.append(_name(reader.line(), reader.line()))
      case pickle.STACK_GLOBAL:
        attribute, module = pop(), pop()
        stack.append(_name(module, attribute))
      case pickle.REDUCE:
        arguments, function = pop(), pop()
        if not isinstance(function, Name) or function.call is None:
          raise Unreadable('its pickle calls what is no function')
        if type(arguments) is not tuple or len(arguments) not in function.arities:
          raise Unreadable('its pickle calls a function with wrong arguments')
        stack.append(function.call(*arguments))
      case pickle.BUILD:
        state = pop()
        _check_state(stack[-1] if stack else None, state)
      case pickle.BINPERSID:
        storage = _storage(pop())
        known = storages.setdefault(storage.key, storage)
        if (known.dtype, known.size) != (storage.dtype, storage.size):
          raise Unreadable('two tensors disagree on the type or size of their storage')
        stack.append(known)
      case _:
        raise Unreadable(f'its pickle holds the instruction {opcode!r}, which state dicts do not need', SAVE_ALONE)
  raise Unreadable(f'its pickle has more than {_MAX_OPCODES:,} instructions', SAVE_ALONE)


class _Reader:
  """Takes bytes off the pickle, never past its end."""

  def __init__(self, data: bytes, position: int):
    self.data, self.position = data, position

  def take(self, count: int) -> bytes:
    end = self.position + count
    if end > len(self.data):
      raise Unreadable('it is cut off in its pickle')
    taken, self.position = self.data[self.position : end], end
    return taken

  def number(self, code: str) -> Any:
    return struct.unpack(code, self.take(struct.calcsize(code)))[0]

  def text(self, count: int) -> str:
    try:
      return self.take(count).decode()
    except UnicodeDecodeError:
      raise Unreadable('its pickle holds text that is not UTF-8') from None

  def line(self) -> str:
    end = self.data.find(b'\n', self.position)
    if end < 0:
      raise Unreadable('it is cut off in its pickle')
    text = self.text(end - self.position)
    self.position += 1
    return text


def _update(target: dict, flat: list) -> None:
  """Sets flat[0]: flat[1], flat[2]: flat[3], … Keys are simple values, whose hash does not nest."""
  if len(flat) % 2:
    raise Unreadable('its pickle gives a dictionary a key without a value')
  for key, value in zip(flat[::2], flat[1::2], strict=True):
    if type(key) not in (str, int, float, bool, type(None)):
      raise Unreadable(f'a dictionary in its pickle has a {type(key).__name__} for a key', SAVE_ALONE)
    target[key] = value


def _check_state(instance: Any, state: Any) -> None:
  """BUILD sets attributes; the only ones in a state dict are the modules' version numbers, which nothing needs."""
  if type(instance) is dict and type(state) is dict:
    return
  if isinstance(instance, np.dtype) and type(state) is tuple and len(state) > 1 and _is_text(state[1], '<', '|'):
    return
  raise Unreadable('its pickle sets attributes of an object', SAVE_ALONE)


def _storage(identity: Any) -> Storage:
  """('storage', class, key, device, size), and in the old format the view of a storage, which is always None today."""
  if type(identity) is not tuple or len(identity) not in (5, 6) or not _is_text(identity[0], 'storage'):
    raise Unreadable('its pickle names a stored object that is no storage', SAVE_ALONE)
  kind, key, size = identity[1], identity[2], identity[4]
  if not isinstance(kind, Name) or kind.dtype is None or type(key) is not str or not _is_count(size):
    raise Unreadable('its pickle describes a storage wrongly')
  if identity[-1] is not None and len(identity) == 6:
    raise Unreadable('its pickle holds a view of a storage, as only PyTorch < 0.4 wrote it', SAVE_ALONE)
  return Storage(key, kind.dtype, size)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any) -> Tensor:
  """torch._utils._rebuild_tensor_v2; what follows the strides (requires_grad, hooks, …) leaves the values alone."""
  del unused
  sides_known = _is_shape(shape) and _is_shape(strides) and len(shape) == len(strides)
  if not isinstance(storage, Storage) or not _is_count(offset) or not sides_known:
    raise Unreadable('its pickle describes a tensor wrongly')
  size, others, last = 1, 1, offset
  for side, stride in zip(shape, strides, strict=True):
    size, others, last = size * side, others * max(side, 1), last + (side - 1) * stride
  inside = last < storage.size and size <= storage.size if size else others <= _MAX_EMPTY
  if not inside:
    raise Unreadable('one of its tensors reaches beyond its storage, or repeats it')
  return Tensor(storage, offset, shape, strides)


def _parameter(data: Any, *unused: Any) -> Tensor:
  del unused
  if not isinstance(data, Tensor):
    raise Unreadable('its pickle describes a parameter wrongly')
  return data


def _ordered_dict() -> dict:
  """Python 2 passed the items; that form is not read, since the memo could repeat them without end."""
  return {}


def _size(sides: Any) -> tuple[int, ...]:
  if not _is_shape(sides):
    raise Unreadable('its pickle describes a shape wrongly')
  return sides


_SCALARS = {'f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'b1'}


def _dtype(code: Any, *unused: Any) -> np.dtype:
  del unused
  if type(code) is not str or code not in _SCALARS:
    raise Unreadable('its pickle holds a numpy type that is no number', SAVE_ALONE)
  return np.dtype(code).newbyteorder('<')


def _scalar(dtype: Any, value: Any) -> np.generic:
  if not isinstance(dtype, np.dtype) or type(value) is not bytes or len(value) != dtype.itemsize:
    raise Unreadable('its pickle describes a numpy number wrongly')
  return np.frombuffer(value, dtype).astype(dtype.newbyteorder('='))[0]


def _encode(text: Any, encoding: Any) -> bytes:
  """How protocol 2 writes bytes; here those of one number."""
  if (
    type(text) is not str
    or len(text) > 8
    or not _is_text(encoding, 'latin1')
    or any(ord(letter) > 255 for letter in text)
  ):
    raise Unreadable('its pickle holds bytes that are no number', SAVE_ALONE)
  return text.encode('latin1')


def _is_count(value: Any) -> bool:
  return type(value) is int and value >= 0


def _is_shape(value: Any) -> bool:
  return type(value) is tuple and len(value) <= _MAX_DIMENSIONS and all(map(_is_count, value))


def _is_text(value: Any, *allowed: str) -> bool:
  """Compares after a look at the type: a numpy type compared with text would try to understand the text."""
  return type(value) is str and value in allowed


_CALLS = {
  'collections OrderedDict': (_ordered_dict, (0,)),
  'torch Size': (_size, (1,)),
  'torch._utils _rebuild_tensor': (_tensor, (4,)),
  'torch._utils _rebuild_tensor_v2': (_tensor, (6, 7)),
  'torch._utils _rebuild_parameter': (_parameter, (3,)),
  'numpy dtype': (_dtype, (3,)),
  'numpy.core.multiarray scalar': (_scalar, (2,)),
  'numpy._core.multiarray scalar': (_scalar, (2,)),
  '_codecs encode': (_encode, (2,)),
}
_DTYPES = {
  'Double': 'float64', 'Float': 'float32', 'Half': 'float16', 'BFloat16': 'bfloat16', 'Long': 'int64', 'Int': 'int32',
  'Short': 'int16', 'Char': 'int8', 'Byte': 'uint8', 'Bool': 'bool',
}  # fmt: skip
_NAMES = {name: Name(name, call, arities) for name, (call, arities) in _CALLS.items()} | {
  f'{module} {kind}Storage': Name(f'{module} {kind}Storage', dtype=dtype)
  for module in ('torch', 'torch.cuda') for kind, dtype in _DTYPES.items()
}  # fmt: skip


def _name(module: Any, attribute: Any) -> Name:
  if type(module) is not str or type(attribute) is not str:
    raise Unreadable('its pickle names a class wrongly')
  known = _NAMES.get(f'{module} {attribute}')
  if known is None:
    raise Unreadable(
      f'it wants {f"{module}.{attribute}"[:80]!r}, and running what a file names is not safe', SAVE_ALONE
    )
  return known
