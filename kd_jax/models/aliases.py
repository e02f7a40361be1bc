"""What networks are called in public PyTorch code: '<source>_<network>' for a row of MODELS.

The sources: repdistiller (mdistiller, too), weiaicunzai (pytorch-cifar100), kuangliu
(pytorch-cifar), chenyaofo (pytorch-cifar-models), huyvnphan (PyTorch_CIFAR10), akamaster
(pytorch_resnet_cifar10), torchvision and timm.
"""

from __future__ import annotations

_DEPTHS = (18, 34, 50, 101, 152)
_THIN = (8, 14, 20, 32, 44, 56, 110)
_WIDE = ('16_1', '16_2', '16_4', '40_1', '40_2', '28_2', '28_4', '28_10')
_VGG = (11, 13, 16, 19)
_SMALL_CONVNEXT = ('atto', 'femto', 'pico', 'nano')
_SIZES = ('small', 'large')  # of MobileNetV3


def _of(source: str, **rows: str) -> dict[str, str]:
  return {f'{source}_{name}': row for name, row in rows.items()}


ALIASES: dict[str, str] = {
  **_of('repdistiller', **{f'resnet{d}': f'thin_resnet{d}' for d in _THIN}),
  **_of('repdistiller', resnet8x4='resnet8x4', resnet32x4='resnet32x4'),
  **_of('repdistiller', **{f'ResNet{d}': f'resnet{d}' for d in (10, *_DEPTHS)}),
  **_of('repdistiller', **{f'wrn_{name}': f'wrn{name}' for name in _WIDE}),
  **_of('repdistiller', **{f'vgg{d}': f'vgg{d}' for d in (8, *_VGG)}),
  **_of('repdistiller', MobileNetV2='mobilenet_v2_half'),
  **_of('repdistiller', ShuffleV1='shufflenet_v1', ShuffleV2='shufflenet_v2'),
  **_of('weiaicunzai', **{f'resnet{d}': f'resnet{d}' for d in _DEPTHS}),
  **_of('weiaicunzai', **{f'vgg{d}': f'vgg{d}_bn_4096' for d in _VGG}),
  **_of('weiaicunzai', mobilenetv2='mobilenet_v2_weiaicunzai'),
  **_of('kuangliu', **{f'ResNet{d}': f'resnet{d}' for d in _DEPTHS}),
  **_of('kuangliu', **{f'PreActResNet{d}': f'preact_resnet{d}' for d in _DEPTHS}),
  **_of('kuangliu', **{f'VGG{d}': f'vgg{d}_bn' for d in _VGG}),
  **_of('kuangliu', MobileNetV2='mobilenet_v2_kuangliu'),
  **{
    f'chenyaofo_{data}_{name}': row
    for data in ('cifar10', 'cifar100')
    for name, row in {
      **{f'resnet{d}': f'thin_resnet{d}' for d in (20, 32, 44, 56)},
      **{f'vgg{d}_bn': f'vgg{d}_bn_512' for d in _VGG},
      'mobilenetv2_x1_0': 'mobilenet_v2',
      **{f'mobilenetv2_{x}': f'mobilenet_v2_{x}' for x in ('x0_5', 'x0_75', 'x1_4')},
      **{f'shufflenetv2_{x}': f'shufflenet_v2_{x}' for x in ('x0_5', 'x1_0', 'x1_5', 'x2_0')},
    }.items()
  },
  **_of('huyvnphan', **{f'resnet{d}': f'resnet{d}_pool' for d in (18, 34, 50)}),
  **_of('huyvnphan', **{f'vgg{d}_bn': f'vgg{d}_bn_4096' for d in _VGG}),
  **_of('huyvnphan', mobilenet_v2='mobilenet_v2'),
  **_of('akamaster', **{f'resnet{d}': f'thin_resnet{d}_a' for d in (20, 32, 44, 56, 110)}),
  **{
    f'{source}_{name}': row
    for source in ('torchvision', 'timm')
    for name, row in {f'resnet{d}': f'resnet{d}_imagenet' for d in _DEPTHS}.items()
  },
  **_of('torchvision', mobilenet_v2='mobilenet_v2_imagenet', vit_b_16='vit_base'),
  **_of('timm', mobilenetv2_100='mobilenet_v2_imagenet'),
  **{
    f'torchvision_shufflenet_v2_{x}': f'shufflenet_v2_{x}_imagenet'
    for x in ('x0_5', 'x1_0', 'x1_5', 'x2_0')
  },
  **{
    f'{source}_convnext_{size}': f'convnext_{size}'
    for source in ('torchvision', 'timm')
    for size in ('tiny', 'small', 'base', 'large')
  },
  **_of('timm', **{f'convnext_{size}': f'convnext_{size}' for size in _SMALL_CONVNEXT}),
  **_of('torchvision', **{f'mobilenet_v3_{size}': f'mobilenet_v3_{size}' for size in _SIZES}),
  **_of('timm', **{f'mobilenetv3_{size}_100': f'mobilenet_v3_{size}_timm' for size in _SIZES}),
  **{
    f'{source}_efficientnet_b{number}': f'efficientnet_b{number}'
    for source in ('torchvision', 'timm')
    for number in range(5)
  },
  **{
    f'timm_{kind}_{size}_patch16_224': f'vit_{size}'
    for kind in ('vit', 'deit')
    for size in ('tiny', 'small', 'base')
  },
  **{
    f'timm_deit_{size}_distilled_patch16_224': f'vit_{size}_distilled'
    for size in ('tiny', 'small', 'base')
  },
}


def row(name: str) -> str:
  """Return the row that a name of public code means; any other name as it is."""
  return ALIASES.get(name, name)


def names(of: str) -> tuple[str, ...]:
  """Return what public code calls a row."""
  return tuple(name for name, row in ALIASES.items() if row == of)
