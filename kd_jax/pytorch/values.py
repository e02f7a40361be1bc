"""What the names in a PyTorch checkpoint stand for, and what its pickle may describe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

SAVE_ALONE = 'in PyTorch, save the state dict alone: torch.save(model.state_dict(), path)'
COPY_AGAIN = 'copy or download the file again'

_MAX_DIMENSIONS = 32
_MAX_EMPTY = 2**31  # product of the other sides of a tensor without elements


class Unreadable(Exception):
  """Why a file cannot be read, and what to do; `reader.read` puts the path in front."""

  def __init__(self, why: str, remedy: str = COPY_AGAIN):
    super().__init__(f'{why}; {remedy}')


@dataclass(frozen=True, eq=False)
class Name:
  """What stands on the stack for a class or function that a file names.

  Without `call` and `dtype` it is one that is not read: a call of it gives an Opaque.
  """

  name: str
  call: Callable[..., Any] | None = None
  arities: tuple[int, ...] = ()  # how many arguments `call` takes
  dtype: str | None = None  # of a storage class


@dataclass(frozen=True, eq=False)
class Opaque:
  """Stands for an object of a class that is not read, such as arguments beside the weights.

  Nothing of the class is looked up or run; what the file would put into the object is forgotten.
  """

  name: str  # of its class


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


def check_state(instance: Any, state: Any) -> None:
  """Raise Unreadable where BUILD sets attributes that a state dict has not.

  The only ones there are versions of modules, and the byte order of a numpy number.
  """
  of_numbers = isinstance(instance, np.dtype) and type(state) is tuple and len(state) > 1
  versions = type(instance) is dict and type(state) is dict
  if isinstance(instance, Opaque):
    return
  if not versions and not (of_numbers and _is_text(state[1], '<', '|')):
    raise Unreadable('its pickle sets attributes of an object', SAVE_ALONE)


def stored(identity: Any) -> Storage:
  """Return the storage of ('storage', class, key, device, size).

  In the old format the view of a storage follows, which is always None today.

  Raises:
    Unreadable: anything else.
  """
  parts = len(identity) if type(identity) is tuple else 0
  if parts not in (5, 6) or not _is_text(identity[0], 'storage'):
    raise Unreadable('its pickle names a stored object that is no storage', SAVE_ALONE)
  _, kind, key, _, size, *view = identity
  dtype = kind.dtype if isinstance(kind, Name) else None
  if dtype is None or type(key) is not str or not _is_count(size):
    raise Unreadable('its pickle describes a storage wrongly')
  if view and view[0] is not None:
    raise Unreadable(
      'its pickle holds a view of a storage, as only PyTorch < 0.4 wrote it', SAVE_ALONE
    )
  return Storage(key, dtype, size)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any) -> Tensor:
  """Return torch._utils._rebuild_tensor_v2.

  What follows the strides (requires_grad, hooks, …) leaves the values alone.
  """
  sides_fit = _is_shape(shape) and _is_shape(strides) and len(shape) == len(strides)
  if not isinstance(storage, Storage) or not _is_count(offset) or not sides_fit:
    raise Unreadable('its pickle describes a tensor wrongly')
  size, others, last = 1, 1, offset
  for side, stride in zip(shape, strides, strict=True):
    size, others, last = size * side, others * max(side, 1), last + (side - 1) * stride
  if size:
    inside = last < storage.size and size <= storage.size
  else:
    inside = others <= _MAX_EMPTY
  if not inside:
    raise Unreadable('one of its tensors reaches beyond its storage, or repeats it')
  return Tensor(storage=storage, offset=offset, shape=shape, strides=strides)


def _parameter(data: Any, *unused: Any) -> Tensor:
  if not isinstance(data, Tensor):
    raise Unreadable('its pickle describes a parameter wrongly')
  return data


def _ordered_dict(*factory: Any) -> dict:
  """Return an empty dictionary.

  Python 2 passed the items; that form is not read, since the memo could repeat them without end. A
  defaultdict passes what makes its values, which a file that is read needs not.
  """
  return {}


def _typed(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
  """Return torch._tensor._rebuild_from_type_v2: a tensor with attributes, which are forgotten."""
  return called(function, arguments)


def _size(sides: Any) -> tuple[int, ...]:
  if not _is_shape(sides):
    raise Unreadable('its pickle describes a shape wrongly')
  return sides


_SCALARS = {'f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'b1'}


def _dtype(code: Any, *unused: Any) -> np.dtype | Opaque:
  if type(code) is not str or code not in _SCALARS:
    return Opaque('numpy.dtype')
  return np.dtype(code).newbyteorder('<')


def _scalar(dtype: Any, value: Any) -> np.generic | Opaque:
  if isinstance(dtype, Opaque):
    return dtype
  if not isinstance(dtype, np.dtype) or type(value) is not bytes or len(value) != dtype.itemsize:
    raise Unreadable('its pickle describes a numpy number wrongly')
  return np.frombuffer(value, dtype).astype(dtype.newbyteorder('='))[0]


def _encode(text: Any, encoding: Any) -> bytes | Opaque:
  """Return the bytes of one number, as protocol 2 writes bytes; more of them are not read."""
  short = type(text) is str and len(text) <= 8 and all(ord(letter) < 256 for letter in text)
  if not short or not _is_text(encoding, 'latin1'):
    return Opaque('bytes')
  return text.encode('latin1')


def _is_count(value: Any) -> TypeGuard[int]:
  return type(value) is int and value >= 0


def _is_shape(value: Any) -> bool:
  return type(value) is tuple and len(value) <= _MAX_DIMENSIONS and all(map(_is_count, value))


def _is_text(value: Any, *allowed: str) -> bool:
  """Return whether a value is one of the texts, by its type first.

  A numpy type compared with text would try to understand the text.
  """
  return type(value) is str and value in allowed


_CALLS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {  # functions, with their arities
  'collections OrderedDict': (_ordered_dict, (0,)),
  'collections defaultdict': (_ordered_dict, (0, 1)),
  'torch Size': (_size, (1,)),
  'torch._utils _rebuild_tensor': (_tensor, (4,)),
  'torch._utils _rebuild_tensor_v2': (_tensor, (6, 7)),
  'torch._utils _rebuild_parameter': (_parameter, (3,)),
  'torch._utils _rebuild_parameter_with_state': (_parameter, (4,)),
  'torch._tensor _rebuild_from_type_v2': (_typed, (4,)),
  'numpy dtype': (_dtype, (3,)),
  'numpy.core.multiarray scalar': (_scalar, (2,)),
  'numpy._core.multiarray scalar': (_scalar, (2,)),
  '_codecs encode': (_encode, (2,)),
}
STORAGES = {
  'Double': 'float64',
  'Float': 'float32',
  'Half': 'float16',
  'BFloat16': 'bfloat16',
  'Long': 'int64',
  'Int': 'int32',
  'Short': 'int16',
  'Char': 'int8',
  'Byte': 'uint8',
  'Bool': 'bool',
}
_NAMES = {name: Name(name, call, arities) for name, (call, arities) in _CALLS.items()} | {
  f'{module} {kind}Storage': Name(f'{module}.{kind}Storage', dtype=dtype)
  for module in ('torch', 'torch.cuda')
  for kind, dtype in STORAGES.items()
}
# Modules of functions that act on the machine, which no checkpoint has a reason to name.
_ACTING = (
  *('os', 'posix', 'nt', 'subprocess', 'sys', 'shutil', 'socket', 'pty', 'runpy', 'importlib'),
  *('ctypes', 'code', 'codeop', 'pickle', '_pickle', 'multiprocessing', 'threading', 'signal'),
  *('webbrowser', 'urllib', 'http', 'ftplib', 'smtplib', 'tempfile'),
)
_BUILTINS = ('builtins', '__builtin__')
_TYPES = (
  *('list', 'dict', 'set', 'frozenset', 'tuple', 'int', 'float', 'bool', 'str', 'bytes', 'object'),
  *('complex', 'slice', 'range', 'bytearray', 'long', 'unicode'),
)


def named(module: Any, attribute: Any) -> Name:
  """Return the class or function that a file names, without looking it up.

  Raises:
    Unreadable: it acts on the machine, so that the file is none that PyTorch wrote by itself.
  """
  if type(module) is not str or type(attribute) is not str:
    raise Unreadable('its pickle names a class wrongly')
  if name := _NAMES.get(f'{module} {attribute}'):
    return name
  shown = f'{module}.{attribute}'[:80]
  acts = attribute not in _TYPES if module in _BUILTINS else module.split('.')[0] in _ACTING
  if acts:
    raise Unreadable(f'it wants {shown!r}, and running what a file names is not safe', SAVE_ALONE)
  return Name(shown)


def called(function: Any, arguments: Any) -> Any:
  """Return what a call stands for: of a function that is not read, an Opaque."""
  if isinstance(function, Opaque):
    return function
  if not isinstance(function, Name) or function.dtype is not None:
    raise Unreadable('its pickle calls what is no function')
  if function.call is None:
    return Opaque(function.name)
  if type(arguments) is not tuple or len(arguments) not in function.arities:
    raise Unreadable('its pickle calls a function with wrong arguments')
  return function.call(*arguments)
