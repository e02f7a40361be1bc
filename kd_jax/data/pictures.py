"""Image files as the pixels that a network takes."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kd_jax.data import cropping
from kd_jax.text import one_line
from kd_jax.types import DataError, KdJaxError

# Of the image files in a folder.
SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
DEEP = ('I', 'F')  # Pillow's modes of more than 8 bits a channel; they may go on, as I;16
_MODES = {1: 'L', 3: 'RGB'}


def paths(given: Iterable[str | Path]) -> list[Path]:
  """Return files as they are, and for each folder the image files in it, by name.

  Raises:
    DataError: there is none.
  """
  files = []
  for path in map(Path, given):
    if os.path.isdir(path):
      try:
        inside = sorted(
          child
          for child in path.iterdir()
          if child.suffix.lower() in SUFFIXES and os.path.isfile(child)
        )
      except OSError as error:
        raise DataError(
          f'{path} cannot be read ({error.strerror}); change its permissions, or give another '
          'folder'
        ) from error
      if not inside:
        raise DataError(f'{path} holds no image; looked for {", ".join(SUFFIXES)}')
      files += inside
    elif os.path.exists(path):
      files.append(path)
    else:
      raise DataError(
        f'{path} does not exist or may not be read; give image files, or folders of them'
      )
  return files


def read(
  path: str | Path, image_shape: tuple[int, int, int], *, stored_size: int = 0
) -> np.ndarray:
  """Return the pixels of an image file, u8[H, W, C], as those of a folder to train on (see
  `fitted`).

  Args:
    path: of any kind that Pillow reads, with 8 bits a channel; of several frames the first counts.
    image_shape: height, width and channels of the network's images.
    stored_size: side at which a network's own pictures are kept, of which it sees the middle in
      evaluation; 0: they have the size of its images.

  Raises:
    DataError: the file is no image or is damaged, has more than 8 bits a channel, or the network's
      images have neither 1 nor 3 channels.
  """
  from PIL import Image, UnidentifiedImageError

  height, width, channels = image_shape
  if channels not in _MODES:
    raise DataError(
      f'the network takes images of {channels} channels, and image files have 1 or 3; call it from '
      'Python'
    )
  try:
    with Image.open(path) as file:
      if file.mode.startswith(DEEP):
        raise DataError(f'{path} has more than 8 bits a channel (mode {file.mode}); save it with 8')
      size = (stored_size, stored_size) if stored_size else (height, width)
      pixels = fitted(file, size, _MODES[channels]).reshape(1, *size, channels)
      return cropping.centre(pixels, (height, width))[0]
  except KdJaxError:
    raise
  except Exception as fault:  # Pillow raises nearly any, by the kind of file and of damage
    reason = getattr(fault, 'strerror', None) or one_line(fault)
    if isinstance(fault, UnidentifiedImageError):  # its text is the path again
      reason = 'of no kind that Pillow knows'
    raise DataError(
      f'{path} is no image that can be read ({reason}); replace it, or leave it out'
    ) from fault


def fitted(image: Any, size: tuple[int, int], mode: str) -> np.ndarray:
  """Return a freshly opened Pillow image at a size, u8[height, width] or u8[height, width, 3].

  It is turned upright as the camera noted. What is transparent lies on white. Its middle, as
  large as the proportions of the size allow, is cut out and scaled by Pillow's bilinear filter,
  which averages where it shrinks. An image of that size stays as it is.

  Args:
    image: as Image.open gives it.
    size: height and width.
    mode: 'L' or 'RGB'; colours become grey by Pillow's weights.
  """
  from PIL import Image, ImageOps

  height, width = size
  # A JPEG of a larger size is decoded at a half, a quarter or an eighth of it.
  image.draft(None, (3 * width, 3 * height))
  picture = ImageOps.exif_transpose(image)
  if picture.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in picture.info:
    picture = picture.convert('RGBA')
    picture = Image.alpha_composite(Image.new('RGBA', picture.size, 'white'), picture)
  picture = picture.convert(mode)
  wide, high = picture.size
  across = min(wide, max(1, high * width // height))
  down = min(high, max(1, wide * height // width))
  left, top = (wide - across) // 2, (high - down) // 2
  middle = picture.crop((left, top, left + across, top + down))
  return np.asarray(middle.resize((width, height), Image.Resampling.BILINEAR), np.uint8)


def png(pixels: np.ndarray) -> bytes:
  """Return a PNG of u8[H, W], u8[H, W, 3] or u8[H, W, 4]."""
  from PIL import Image

  out = io.BytesIO()
  Image.fromarray(pixels).save(out, format='png', optimize=True)
  return out.getvalue()
