"""The handwritten digits that come with scikit-learn: 1,797 images of 8×8 grey pixels, enlarged."""

from __future__ import annotations

import numpy as np

from kd_jax.data import splits
from kd_jax.types import Source

SIDES = {'digits': 16, 'digits32': 32}  # by the name of the data set
CLASSES = tuple('0123456789')
_TEST = 360  # 36 of each class, a fifth


def read(side: int) -> tuple[Source, Source]:
  """Return the training and the test images, u8[N, side, side, 1]."""
  from PIL import Image
  from sklearn import datasets

  bunch = datasets.load_digits()
  small = map(Image.fromarray, np.rint(bunch.images * (255 / 16)).astype(np.uint8))  # from 0 … 16
  resized = (picture.resize((side, side), Image.Resampling.BILINEAR) for picture in small)
  image = np.stack([np.asarray(picture) for picture in resized])[..., None]
  label = bunch.target.astype(np.int32)
  kept, held = splits.hold_out(label, _TEST, classes=len(CLASSES))
  return Source(image[kept], label[kept]), Source(image[held], label[held])
