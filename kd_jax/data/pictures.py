"""Image files as the pixels that a network takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kd_jax.types import KdJaxError

SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')  # of what a folder holds
_MODES = {1: 'L', 3: 'RGB'}


def paths(given: Iterable[str | Path]) -> list[Path]:
  """Files as they are, and for each folder the image files in it, by name. Raises KdJaxError where there is none."""
  found = []
  for path in map(Path, given):
    if path.is_dir():
      inside = sorted(child for child in path.iterdir() if child.is_file() and child.suffix.lower() in SUFFIXES)
      if not inside:
        raise KdJaxError(f'{path} holds no image; looked for {", ".join(SUFFIXES)}')
      found += inside
    elif path.exists():
      found.append(path)
    else:
      raise KdJaxError(f'{path} does not exist; give image files, or folders of them')
  return found


def read(path: Path, image_shape: tuple[int, int, int]) -> np.ndarray:
  """The pixels of an image file, u8[H, W, C].

  An image of another size is resized, as a whole and without keeping its proportions, by Pillow's bilinear filter, as the digits
  are that come with kd_jax (it averages where it shrinks). Colours become grey by Pillow's weights, and grey becomes colour, as the
  network has 1 or 3 channels. A camera's note of orientation is heeded; what is transparent lies on white.

  Args:
    path: of any kind that Pillow reads, with 8 bits a channel; of several frames the first counts.
    image_shape: height, width and channels of the network's images.

  Raises:
    KdJaxError: the file is no image or is damaged, has more than 8 bits a channel, or the network's images have neither 1 nor 3
      channels.
  """
  from PIL import Image, ImageOps, UnidentifiedImageError

  height, width, channels = image_shape
  if channels not in _MODES:
    raise KdJaxError(f'the network takes images of {channels} channels, and image files have 1 or 3; call it from Python')
  try:
    with Image.open(path) as file:
      picture = ImageOps.exif_transpose(file)
      if picture.mode.startswith(('I', 'F')):
        raise KdJaxError(f'{path} has more than 8 bits a channel (mode {picture.mode}); save it with 8')
      if picture.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in picture.info:
        picture = picture.convert('RGBA')
        picture = Image.alpha_composite(Image.new('RGBA', picture.size, 'white'), picture)
      picture = picture.convert(_MODES[channels])
  except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as fault:  # by the kind of file and of damage
    unknown = isinstance(fault, UnidentifiedImageError)  # whose text is the path again
    reason = 'of no kind that Pillow knows' if unknown else getattr(fault, 'strerror', None) or ' '.join(str(fault).split())
    raise KdJaxError(f'{path} is no image that can be read ({reason})') from fault
  if picture.size != (width, height):
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
  return np.asarray(picture, np.uint8).reshape(image_shape)
