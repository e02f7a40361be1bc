"""The operations of kd_jax.data.colour and .geometry as Pillow does them, one image at a time."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

_AFFINE = {
  'shear_x': lambda a: (1, a, 0, 0, 1, 0),
  'shear_y': lambda a: (1, 0, 0, a, 1, 0),
  'translate_x': lambda a: (1, 0, a, 0, 1, 0),
  'translate_y': lambda a: (1, 0, 0, 0, 1, a),
}
_COLOUR = {
  'identity': lambda image, a: image,
  'invert': lambda image, a: ImageOps.invert(image),
  'posterise': lambda image, a: ImageOps.posterize(image, round(a)),
  'solarise': lambda image, a: ImageOps.solarize(image, a),
  'brightness': lambda image, a: ImageEnhance.Brightness(image).enhance(a),
  'contrast': lambda image, a: ImageEnhance.Contrast(image).enhance(a),
  'autocontrast': lambda image, a: ImageOps.autocontrast(image),
  'equalise': lambda image, a: ImageOps.equalize(image),
  'colour': lambda image, a: ImageEnhance.Color(image).enhance(a),
  'sharpness': lambda image, a: ImageEnhance.Sharpness(image).enhance(a),
}


def perform(
  op: str, amount: float, image: np.ndarray, *, fill: int | tuple[int, int, int] = 0
) -> np.ndarray:
  """Perform one operation of kd_jax.data.geometry or .colour on an image, u8[H, W, 1 or 3]."""
  opened = to_pillow(image)
  nearest = Image.Resampling.NEAREST
  filler = (fill,) * 3 if isinstance(fill, int) and image.shape[-1] == 3 else fill
  if op in _AFFINE:
    done = opened.transform(
      opened.size, Image.Transform.AFFINE, _AFFINE[op](amount), nearest, fillcolor=filler
    )
  elif op == 'rotate':
    done = opened.rotate(amount, nearest, fillcolor=filler)
  else:
    done = _COLOUR[op](opened, amount)
  return np.asarray(done).reshape(image.shape)


def greys(image: np.ndarray) -> np.ndarray:
  """Return u8[H, W]."""
  return np.asarray(to_pillow(image).convert('L'))


def smoothed(image: np.ndarray) -> np.ndarray:
  """Return u8[H, W, C]."""
  return np.asarray(to_pillow(image).filter(ImageFilter.SMOOTH)).reshape(image.shape)


def blend(degenerate: np.ndarray, image: np.ndarray, factor: float) -> np.ndarray:
  """Return Image.blend of two grey images, u8[H, W]."""
  return np.asarray(Image.blend(Image.fromarray(degenerate), Image.fromarray(image), factor))


def to_pillow(image: np.ndarray) -> Image.Image:
  """Return a Pillow image of u8[H, W, 1 or 3]."""
  return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
