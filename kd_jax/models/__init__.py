"""The table of networks.

`build` makes a Network from a NetworkSpec; `initialise` draws its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax

from kd_jax import factories
from kd_jax.models import convnext, custom, efficientnet, mobilenet_v3, predicting
from kd_jax.models.mobilenet import mobilenet_v2
from kd_jax.models.preact_resnet import preact_resnet
from kd_jax.models.resnet import resnet, smallest_side
from kd_jax.models.shufflenet import shufflenet
from kd_jax.models.variables import count_parameters as count_parameters
from kd_jax.models.variables import info as info
from kd_jax.models.variables import initialise as initialise
from kd_jax.models.variables import output_shapes as output_shapes
from kd_jax.models.variables import shapes as shapes
from kd_jax.models.vgg import vgg
from kd_jax.models.vit import vit
from kd_jax.models.wide_resnet import wide_resnet
from kd_jax.types import ConfigError, FileError, Network, NetworkSpec, PyTree, Trained

RELU_PLACEMENTS = ('block', 'stage', 'stem', 'pool')
COMPUTE_DTYPES = ('float32', 'bfloat16', 'float64')


def _cifar(depth: int, *, stem_width: int, pool: int | None) -> partial:
  return partial(
    resnet, blocks=((depth - 2) // 6,) * 3, widths=(16, 32, 64), stem_width=stem_width, pool=pool
  )


def _large(*blocks: int, bottleneck: bool = False) -> partial:
  return partial(
    resnet, blocks=blocks, widths=(64, 128, 256, 512), stem_width=64, bottleneck=bottleneck
  )


_PAPER = {f'resnet{d}': _cifar(d, stem_width=64, pool=4) for d in (8, 14, 20, 26, 32, 44, 56)}
_LARGE = {
  'resnet18': _large(2, 2, 2, 2),
  'resnet34': _large(3, 4, 6, 3),
  'resnet50': _large(3, 4, 6, 3, bottleneck=True),
  'resnet101': _large(3, 4, 23, 3, bottleneck=True),
  'resnet152': _large(3, 8, 36, 3, bottleneck=True),
}
_VGG = {
  8: (1, 1, 1, 1, 1),
  11: (1, 1, 2, 2, 2),
  13: (2, 2, 2, 2, 2),
  16: (2, 2, 3, 3, 3),
  19: (2, 2, 4, 4, 4),
}


def _vgg(depth: int, *, pools: int, hidden: tuple[int, ...] = ()) -> partial:
  widths = tuple((w,) * n for w, n in zip((64, 128, 256, 512, 512), _VGG[depth], strict=True))
  return partial(vgg, widths=widths, pools=pools, hidden=hidden)


_SHUFFLE = {
  'x0_5': (48, 96, 192, 1024),
  'x1_0': (116, 232, 464, 1024),
  'x1_5': (176, 352, 704, 1024),
  'x2_0': (244, 488, 976, 2048),
}
MODELS: dict[str, partial] = {
  **_PAPER,
  **{
    f'thin_resnet{d}': _cifar(d, stem_width=16, pool=None) for d in (8, 14, 20, 26, 32, 44, 56, 110)
  },
  'resnet10': _large(1, 1, 1, 1),
  **_LARGE,
  **{f'wrn{d}_1': partial(wide_resnet, depth=d, factor=1) for d in (10, 16, 28, 40)},
  **{f'wrn{d}_2': partial(wide_resnet, depth=d, factor=2) for d in (10, 16, 28, 40)},
  **{f'wrn{d}_4': partial(wide_resnet, depth=d, factor=4) for d in (10, 16, 22, 28, 40)},
  **{f'wrn{d}_8': partial(wide_resnet, depth=d, factor=8) for d in (16, 22)},
  'wrn28_10': partial(wide_resnet, depth=28, factor=10),
  **{f'{name}_imagenet': partial(maker, imagenet_stem=True) for name, maker in _LARGE.items()},
  **{
    f'{name}_{ending}': partial((_PAPER | _LARGE)[name], norm=norm)
    for ending, norm in (('gn', 'group'), ('ln', 'layer'))
    for name in ('resnet8', 'resnet20', 'resnet26', 'resnet18')
  },
  'mobilenet_v2': partial(mobilenet_v2),
  'mobilenet_v2_imagenet': partial(mobilenet_v2, imagenet=True),
  'vit_tiny': partial(vit, width=192, depth=12, heads=3),
  'vit_small': partial(vit, width=384, depth=12, heads=6),
  'vit_tiny_distilled': partial(vit, width=192, depth=12, heads=3, distilled=True),
  'vit_small_distilled': partial(vit, width=384, depth=12, heads=6, distilled=True),
  'vit_base': partial(vit, width=768, depth=12, heads=12),
  'vit_base_distilled': partial(vit, width=768, depth=12, heads=12, distilled=True),
  # As public PyTorch code has them: see kd_jax.models.aliases.
  **{
    f'resnet{d}x4': partial(
      resnet, blocks=((d - 2) // 6,) * 3, widths=(64, 128, 256), stem_width=32
    )
    for d in (8, 32)
  },
  **{
    f'thin_resnet{d}_a': partial(_cifar(d, stem_width=16, pool=None), padded=True)
    for d in (20, 32, 44, 56, 110)
  },
  **{f'resnet{d}_pool': partial(_LARGE[f'resnet{d}'], stem_pool=True) for d in (18, 34, 50)},
  **{
    name.replace('resnet', 'preact_resnet'): partial(
      preact_resnet, **{k: maker.keywords[k] for k in ('blocks', 'bottleneck')}
    )
    for name, maker in _LARGE.items()
  },
  **{f'vgg{d}': _vgg(d, pools=3) for d in _VGG},
  **{f'vgg{d}_bn': _vgg(d, pools=5) for d in _VGG if d > 8},
  **{
    f'vgg{d}_bn_{hidden}': _vgg(d, pools=5, hidden=(hidden, hidden))
    for hidden in (512, 4096)
    for d in _VGG
    if d > 8
  },
  **{
    f'mobilenet_v2_{name}': partial(mobilenet_v2, width=width)
    for name, width in {'x0_5': 0.5, 'x0_75': 0.75, 'x1_4': 1.4}.items()
  },
  'mobilenet_v2_half': partial(mobilenet_v2, width=0.5, code='repdistiller'),
  **{
    f'mobilenet_v2_{code}': partial(mobilenet_v2, code=code) for code in ('kuangliu', 'weiaicunzai')
  },
  'shufflenet_v1': partial(shufflenet, widths=(240, 480, 960), groups=3, stem=1),
  'shufflenet_v2': partial(shufflenet, widths=_SHUFFLE['x1_0'], groups=0, stem=1),
  **{
    f'shufflenet_v2_{name}{ending}': partial(
      shufflenet, widths=widths, groups=0, stem=3, imagenet=bool(ending)
    )
    for ending in ('', '_imagenet')
    for name, widths in _SHUFFLE.items()
  },
  **convnext.ROWS,
  **mobilenet_v3.ROWS,
  **efficientnet.ROWS,
}


def build(spec: NetworkSpec) -> Network:
  """Return the network of a spec.

  Raises:
    ConfigError: the family cannot have what the spec asks for, or an own network is at fault.
  """
  own = factories.is_own(spec.name, 'network')
  if not own and spec.name not in MODELS:
    raise ConfigError(
      f"there is no network '{spec.name}': choose one of {', '.join(MODELS)}, or write your own as "
      'package.module:factory'
    )
  if spec.relu_placement != relu_placement(spec.name, spec.relu_placement):
    raise ConfigError(
      f"the ReLUs of {spec.name} have one place: relu_placement '{spec.relu_placement}', of the "
      "configuration or a recipe, does not apply; use 'block', or another recipe"
    )
  if own:
    return custom.build(spec)
  maker = MODELS[spec.name]
  if maker.func is resnet:
    needed = smallest_side(len(maker.keywords['blocks']), maker.keywords.get('pool'))
    height, width, _ = spec.image_shape
    if min(height, width) < needed:
      raise ConfigError(
        f'{spec.name} needs images of at least {needed}×{needed} pixels, these have '
        f'{height}×{width}; use a thin_resnet or wrn, which pool globally'
      )
  return Network(spec, *maker(spec))


def is_known(name: str) -> bool:
  """Return whether a spec of this name builds a network: a row of MODELS, or an own one.

  No spec builds an exported function or a table of logits again.
  """
  return factories.is_name(name) or name in MODELS


def assumed(spec: NetworkSpec) -> str:
  """Return in words how a network takes its images, and where its ReLUs stand.

  Return '' for an exported function or a table, which do not show it.
  """
  if not is_known(spec.name):
    return ''
  mean, std = (' '.join(f'{value:.4g}' for value in values) for values in (spec.mean, spec.std))
  image = f'mean {mean}, std {std}' if mean else 'pixels in [0, 1] as they are'
  placed = f" and relu_placement '{spec.relu_placement}'" if _places_relus(spec.name) else ''
  return image + placed


def relu_placement(name: str, asked: str) -> str:
  """Return where the ReLUs of a network stand in a run that asks for a placement.

  Own networks, and those of other families than `resnet`, have one place.
  """
  return asked if _places_relus(name) else 'block'


def _places_relus(name: str) -> bool:
  return name in MODELS and MODELS[name].func is resnet


def with_weights(spec: NetworkSpec, variables: PyTree, where: Any) -> Trained:
  """Return a network with its saved weights.

  Raises:
    FileError: they are not those of an own network as its code is now.
  """
  network = build(spec)
  if factories.is_own(spec.name, 'network'):
    built = _leaf_shapes(shapes(network))
    saved = _leaf_shapes({k: v for k, v in variables.items() if k != 'method'})
    if others := sorted(n for n in built | saved if built.get(n) != saved.get(n)):
      there, here = (each.get(others[0], 'missing') for each in (saved, built))
      raise FileError(
        f'the weights in {where} are not those of {spec.name} as it is now: {others[0]} is {there} '
        f'there and {here} here; bring its code back, or train it again'
      )
  return Trained(network, variables)


def _leaf_shapes(tree: PyTree) -> dict[str, Any]:
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def changed(network: Network, changes: Mapping[str, Any]) -> Network:
  """Return the network with other fields of its spec.

  Raises:
    ConfigError: no spec builds it: a function, a table.
  """
  if not changes:
    return network
  name = network.spec.name
  if not is_known(name):
    raise ConfigError(
      f"this run changes the teacher's {', '.join(changes)}, and {name} is as it was made: take "
      'another recipe, or leave teacher_dtype empty'
    )
  return rebuilt(network, network.spec._replace(**changes))


def rebuilt(network: Network, spec: NetworkSpec) -> Network:
  """Return a network of another spec that sees and predicts as one does."""
  seen = spec._replace(image_shape=predicting.seen_shape(network))
  return predicting.like(build(seen), network)
