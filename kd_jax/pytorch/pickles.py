"""Run the pickle in a PyTorch checkpoint as data: import no name, and call nothing of the file.

Python's own unpickler looks names up and calls them, sets attributes, and grows its memo as far as
a file asks. This machine has only the opcodes that torch.save writes. The few names that weights
need are answered by functions of kd_jax.pytorch.values; what any other makes is an Opaque. Time and
memory are bounded by the number of instructions, so nothing here may copy what the memo can repeat.
"""

from __future__ import annotations

import pickle
import struct
from typing import Any

from kd_jax.pytorch.values import (
  SAVE_ALONE,
  Opaque,
  Storage,
  Unreadable,
  called,
  check_state,
  named,
  stored,
)

# A ResNet152 with its optimiser takes 60,000. It bounds the memory at some 100 MB.
_MAX_OPCODES = 500_000
_CONSTANTS = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False}
# An opcode → the number that follows it, for struct: a value, a length, or a place in the memo.
_NUMBERS = {
  **{pickle.BININT: '<i', pickle.BININT1: 'B', pickle.BININT2: '<H', pickle.BINFLOAT: '>d'},
  **{pickle.BINUNICODE: '<I', pickle.SHORT_BINUNICODE: 'B'},
  **{pickle.BINBYTES: '<I', pickle.SHORT_BINBYTES: 'B'},
  **{pickle.BINPUT: 'B', pickle.LONG_BINPUT: '<I', pickle.BINGET: 'B', pickle.LONG_BINGET: '<I'},
}


def run(data: bytes, start: int) -> tuple[Any, int, dict[str, Storage]]:
  """Run the pickle at data[start:].

  Returns:
    The object, of dict, list, tuple, str, bytes, bool, int, float, None, numpy scalars, Tensor,
    Opaque (and whatever a hostile file leaves: Name, Storage, numpy.dtype; containers that contain
    themselves); the position after the pickle; every storage that it names, by key.
  """
  reader = _Reader(data, start)
  stack: list[Any] = []
  marks: list[list[Any]] = []
  memo: dict[int, Any] = {}
  storages: dict[str, Storage] = {}

  def pop() -> Any:
    if not stack:
      raise Unreadable('its pickle takes more values than it has')
    return stack.pop()

  def pop_to_mark() -> list:
    nonlocal stack
    if not marks:
      raise Unreadable('its pickle closes a group that it has not opened')
    items = stack
    stack = marks.pop()
    return items

  def top(kind: type) -> Any:
    if stack and isinstance(stack[-1], Opaque):
      return kind()  # what is added to it is forgotten
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

      case pickle.NONE | pickle.NEWTRUE | pickle.NEWFALSE:
        stack.append(_CONSTANTS[opcode])
      case pickle.BININT | pickle.BININT1 | pickle.BININT2 | pickle.BINFLOAT:
        stack.append(reader.number(_NUMBERS[opcode]))
      case pickle.LONG1:
        stack.append(int.from_bytes(reader.take(reader.number('B')), 'little', signed=True))
      case pickle.BINUNICODE | pickle.SHORT_BINUNICODE:
        stack.append(reader.text(reader.number(_NUMBERS[opcode])))
      case pickle.BINBYTES | pickle.SHORT_BINBYTES:
        stack.append(reader.take(reader.number(_NUMBERS[opcode])))

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
        items = pop_to_mark()
        stack.append(tuple(items))
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

      case pickle.BINPUT | pickle.LONG_BINPUT:
        remember(reader.number(_NUMBERS[opcode]))
      case pickle.MEMOIZE:
        remember(len(memo))
      case pickle.BINGET | pickle.LONG_BINGET:
        stack.append(recall(reader.number(_NUMBERS[opcode])))

      case pickle.GLOBAL:
        stack.append(named(reader.line(), reader.line()))
      case pickle.STACK_GLOBAL:
        attribute, module = pop(), pop()
        stack.append(named(module, attribute))
      case pickle.REDUCE:
        arguments, function = pop(), pop()
        stack.append(called(function, arguments))
      case pickle.NEWOBJ | pickle.NEWOBJ_EX:
        if opcode == pickle.NEWOBJ_EX:
          pop()
        arguments, function = pop(), pop()
        stack.append(called(function, arguments))
      case pickle.EMPTY_SET:
        stack.append(Opaque('set'))
      case pickle.FROZENSET:
        pop_to_mark()
        stack.append(Opaque('frozenset'))
      case pickle.ADDITEMS:
        pop_to_mark()
        top(set)
      case pickle.BUILD:
        state = pop()
        check_state(stack[-1] if stack else None, state)
      case pickle.BINPERSID:
        storage = stored(pop())
        first = storages.setdefault(storage.key, storage)
        if (first.dtype, first.size) != (storage.dtype, storage.size):
          raise Unreadable('two tensors disagree on the type or size of their storage')
        stack.append(first)
      case _:
        raise Unreadable(
          f'its pickle holds the instruction {opcode!r}, which state dicts do not need', SAVE_ALONE
        )
  raise Unreadable(f'its pickle has more than {_MAX_OPCODES:,} instructions', SAVE_ALONE)


class _Reader:
  """A place in the pickle, which moves on with what is taken, never past its end."""

  def __init__(self, data: bytes, position: int):
    self.data, self.position = data, position

  def take(self, count: int) -> bytes:
    end = self.position + count
    if end > len(self.data):
      raise Unreadable('it is cut off in its pickle')
    taken = self.data[self.position : end]
    self.position = end
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
  """Set flat[0]: flat[1], flat[2]: flat[3], …

  Keys are simple values, whose hash does not nest; an entry whose key is not read is forgotten.
  """
  if len(flat) % 2:
    raise Unreadable('its pickle gives a dictionary a key without a value')
  for key, value in zip(flat[::2], flat[1::2], strict=True):
    if isinstance(key, Opaque):
      continue
    if type(key) not in (str, int, float, bool, type(None)):
      raise Unreadable(
        f'a dictionary in its pickle has a {type(key).__name__} for a key', SAVE_ALONE
      )
    target[key] = value
