"""3×3 convolutions whose gradients are written as XLA:CPU computes them fastest.

XLA:CPU takes a weight gradient as a convolution by a kernel as large as the map, at 100 to 200
GFLOP/s on two cores that reach 350 to 500 forward (docs/measurements/cpu.md). Matrix products take
it faster on large maps. So does a convolution of a stride of 1 an input gradient of a stride of 2,
where XLA's own runs over a map that is three quarters zeros. On accelerators XLA's own gradients
stay.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd_jax.models.initial import wide

_LARGE = 256  # places of a map, from which on products are faster
_NARROW = 32  # channels, up to which an input gradient is faster by phases
_WINDOWS = 2**25  # values of windows that are held at once, 128 MB in float32


def windowed(
  x: Float[Array, 'B H W C'], kernel: Float[Array, 'k k C O'], *, stride: int = 1
) -> Float[Array, 'B -(-H//{stride}) -(-W//{stride}) O']:
  """Return the convolution of a map by a kernel of odd side."""
  padding = ((kernel.shape[0] // 2,) * 2,) * 2
  return jax.lax.conv_general_dilated(
    x, kernel, (stride, stride), padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def three_by_three(
  x: Float[Array, 'B H W C'], kernel: Float[Array, '3 3 C O'], stride: int
) -> Float[Array, 'B -(-H//{stride}) -(-W//{stride}) O']:
  """Return `windowed` for a kernel of 3×3 and a stride of 1 or 2."""
  return windowed(x, kernel, stride=stride)


def _backward(stride: int, kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
  return jax.lax.platform_dependent(
    *kept, gradient, cpu=partial(_on_a_cpu, stride), default=partial(_by_xla, stride)
  )


def _by_xla(stride: int, x: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
  return _of_input(stride, x, kernel, gradient), _of_kernel(stride, x, kernel, gradient)


def _on_a_cpu(stride: int, x: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
  height, width, ins = x.shape[1:]
  large = gradient.shape[1] * gradient.shape[2] >= _LARGE
  of_input, of_kernel = _of_input, _of_kernel
  if stride == 2 and height % 2 == width % 2 == 0 and large and ins <= _NARROW:
    of_input = _of_input_by_phases
  if stride == 2:
    of_kernel = _of_kernel_by_shifts
  elif large and kernel.shape[-1] <= ins:
    of_kernel = _of_kernel_by_windows
  return of_input(stride, x, kernel, gradient), of_kernel(stride, x, kernel, gradient)


def _of_input(stride: int, x: Array, kernel: Array, gradient: Array) -> Array:
  (of_x,) = jax.linear_transpose(lambda x: windowed(x, kernel, stride=stride), x)(gradient)
  return of_x


def _of_kernel(stride: int, x: Array, kernel: Array, gradient: Array) -> Array:
  (of_kernel,) = jax.linear_transpose(lambda k: windowed(x, k, stride=stride), kernel)(gradient)
  return of_kernel


# The row of a kernel by which a place of the gradient (first) and the next (second) reach the even
# and the odd rows of the input; row 3 is of zeros.
_REACHES = np.array([[1, 2], [3, 0]])


def _of_input_by_phases(stride: int, x: Array, kernel: Array, gradient: Array) -> Array:
  """Return the input's gradient where the stride is 2 and the input's sides are even.

  Even and odd rows and columns make four maps of the gradient's size, and each place of them is
  reached by the 2×2 window of the gradient that begins there: one convolution to 4 C channels.
  """
  batch, height, width, ins = x.shape
  kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
  taps = kernel[_REACHES[:, None, :, None], _REACHES[None, :, None, :]]  # [2, 2, 2, 2, C, O]
  taps = jax.lax.optimization_barrier(jnp.moveaxis(taps, -1, 2).reshape(2, 2, -1, 4 * ins))
  phases = jax.lax.conv_general_dilated(
    gradient, taps, (1, 1), ((0, 1), (0, 1)), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  phases = phases.reshape(batch, height // 2, width // 2, 2, 2, ins)
  return phases.transpose(0, 1, 3, 2, 4, 5).reshape(x.shape)


def _of_kernel_by_shifts(stride: int, x: Array, kernel: Array, gradient: Array) -> Array:
  """Return the kernel's gradient as nine products, one of each shifted and strided map."""
  down, along = (stride * (side - 1) + 1 for side in gradient.shape[1:3])
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  shifted = [
    padded[:, i : i + down : stride, j : j + along : stride] for i in range(3) for j in range(3)
  ]
  products = [_product(places(each), places(gradient)) for each in shifted]
  return jnp.stack(products).reshape(kernel.shape).astype(kernel.dtype)


def _of_kernel_by_windows(stride: int, x: Array, kernel: Array, gradient: Array) -> Array:
  """Return the kernel's gradient at a stride of 1 as a product of the input and the gradient's
  3×3 windows, some examples at a time.
  """
  ins, outs = kernel.shape[2:]
  turns = math.ceil(9 * gradient.size / _WINDOWS)
  count = math.ceil(len(x) / turns)
  parts = [
    _product(places(x[i : i + count]), _windows(gradient[i : i + count]))
    for i in range(0, len(x), count)
  ]
  # A window's place is the kernel's, seen from the other side.
  turned = sum(parts[1:], parts[0]).reshape(ins, 3, 3, outs)[:, ::-1, ::-1]
  return jnp.moveaxis(turned, 0, 2).astype(kernel.dtype)


def _windows(x: Float[Array, 'B H W C']) -> Float[Array, 'B H*W 9*C']:
  """Return the 3×3 window of each place: one gather, since joining nine maps takes longer."""
  height, width = x.shape[1:3]
  padded = jax.lax.optimization_barrier(places(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))))
  row = (width + 2) * np.arange(height + 2)
  corners = row[:height, None, None, None] + np.arange(width)[:, None, None]
  index = (corners + row[:3, None] + np.arange(3)).ravel().astype(np.int32)
  taken = jnp.take(padded, index, axis=1, mode='clip')
  return jax.lax.optimization_barrier(taken.reshape(len(x), height * width, -1))


def _product(x: Float[Array, 'B P C'], y: Float[Array, 'B P O']) -> Float[Array, 'C O']:
  """Return Σ over examples and places of x · y, by examples, in float32 or wider."""
  return jnp.einsum('bpc,bpo->bco', x, y, preferred_element_type=wide(x.dtype)).sum(0)


def places(x: Float[Array, 'B H W C']) -> Float[Array, 'B H*W C']:
  """Return the places of a map in a row."""
  return x.reshape(x.shape[0], -1, x.shape[-1])


three_by_three.defvjp(
  lambda x, kernel, stride: (windowed(x, kernel, stride=stride), (x, kernel)), _backward
)
