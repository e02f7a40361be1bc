"""Check every file of a folder of reference numbers, each kind by its own check.

logits_<checkpoint>.npz             outputs of <checkpoint>.pth: logits, features, embedding, and
                                    the number of right test images
losses.npz                          inputs, and the value and gradient of each loss
method_losses.npz                   inputs, and the value and gradients of each term of a method;
method_losses<more>.npz             likewise, of other shapes
trace_<teacher>_to_<student>.npz    steps of training from given weights, the teacher in
                                    <teacher>_cifar10.pth
<source>_<network>.npz              names and shapes of a network of public code, its logits and
                                    number of parameters, such as kuangliu_VGG16
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kd_jax.types import ConfigError, FileError
from kd_jax.verify import public_networks
from kd_jax.verify.losses import check_losses
from kd_jax.verify.method_losses import check_method_losses
from kd_jax.verify.networks import check_network, uncovered
from kd_jax.verify.numbers import Check, Numbers, Uncovered
from kd_jax.verify.traces import check_trace

# The kind of a file → its name, and what it checks.
KINDS = {
  'logits': (r'logits_(\w+)', 'released networks'),
  'losses': (r'losses', 'losses by themselves'),
  'method': (r'method_losses[\w.-]*', "terms of the field's methods"),
  'trace': (r'trace_(\w+)_to_(\w+)', 'training by the released code'),
}


def check_all(
  reference: Path, pretrained: Path | None, data_dir: str
) -> Iterator[Check | Uncovered]:
  """Check every file in the reference folder, and name the kinds of which it has none.

  Raises:
    ConfigError: a file was made with a checkpoint, and no folder of these is named.
    FileError: there is nothing to check, or a file is of no such kind, or is missing.
  """
  files = sorted(reference.glob('*.npz'))
  if not files:
    raise FileError(f'{reference} holds no .npz file; name the folder of reference numbers')
  covered = set()
  for file in files:
    if public_networks.is_one(file.stem):
      for line in public_networks.check_public_network(Numbers(file), file.stem):
        yield line._replace(what=f'{file.stem}: {line.what}')
      continue
    kind = file.stem.partition('_')[0]
    match = re.fullmatch(KINDS[kind][0], file.stem) if kind in KINDS else None
    if match is None:
      raise FileError(
        f'{file} is of no known kind; names are logits_<checkpoint>, losses, method_losses, '
        'trace_<teacher>_to_<student>, <source>_<network>'
      )
    covered.add(kind)
    for line in _check_file(kind, match, Numbers(file), pretrained, data_dir):
      yield line._replace(what=f'{file.stem}: {line.what}')
  for kind, (_, covers) in KINDS.items():
    if kind not in covered:
      name = {'losses': 'losses', 'method': 'method_losses'}.get(kind, f'{kind}_…')
      yield Uncovered(covers, f'{reference} has no file {name}.npz')


def _check_file(
  kind: str, match: re.Match, data: Numbers, pretrained: Path | None, data_dir: str
) -> Iterator[Check | Uncovered]:
  if kind == 'losses':
    yield from check_losses(data)
  elif kind == 'method':
    yield from check_method_losses(data)
  elif pretrained is None:
    raise ConfigError(
      f'{match[0]}.npz was made with a PyTorch checkpoint: name the folder of that by --pretrained'
    )
  elif kind == 'trace':
    yield from check_trace(data, pretrained / f'{match[1]}_cifar10.pth', match[2])
  else:
    yield from check_network(data, pretrained / f'{match[1]}.pth', data_dir)
    if why := uncovered(data):
      yield Uncovered('stage features and embedding', why)
