"""The model card of an exported network, as Markdown: what a user of the file should know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kd_jax.files import shapes
from kd_jax.report import pages
from kd_jax.report.tables import Table, interval, markdown, percent
from kd_jax.text import MISSING

_SHAPES = {
  'config.json': {
    'batch_size': int,
    'learning_rate': float,
    'weight_decay': float,
    'options': {...: {}},
  },
  'versions.json': {'python': str, 'platform': str, 'processor': str, 'libraries': {...: str}},
}
_CODE = """import numpy as np
{runtime}
from PIL import Image, ImageOps

{load}
picture = ImageOps.exif_transpose(Image.open('picture.png')).convert('RGBA')
picture = Image.alpha_composite(Image.new('RGBA', picture.size, 'white'), picture).convert('{mode}')
{resizing}
image = np.asarray(picture, np.float32).reshape(1, {height}, {width}, {channels}) / 255
{run}
print(classes[int(np.argmax(logits))])"""
_RESIZING = """wide, high = picture.size
across = min(wide, max(1, high * {wide} // {high}))
down = min(high, max(1, wide * {high} // {wide}))
left, top = (wide - across) // 2, (high - down) // 2
picture = picture.crop((left, top, left + across, top + down))
picture = picture.resize(({wide}, {high}), Image.Resampling.BILINEAR)"""
_LINES = {  # import, load, run
  'stablehlo': (
    'from jax import export',
    "network = export.deserialize(bytearray(open({file}, 'rb').read()))",
    'logits = network.call(image)',
  ),
  'torch': (
    'import torch',
    'network = torch.export.load({file}).module()',
    'with torch.inference_mode():\n  logits = network(torch.from_numpy(image).permute(0, 3, 1, 2))',
  ),
  'onnx': (
    'import onnxruntime',
    'network = onnxruntime.InferenceSession({file})',
    "logits = network.run(None, {'image': image.transpose(0, 3, 1, 2)})[0]",
  ),
}


def check(config: Mapping[str, Any], versions: Mapping[str, Any], where: Any) -> None:
  """Raise FileError where a record of the run of a network in `where` lacks what a card shows."""
  remedy = 'restore it from a copy, or delete it to do without'
  for name, record in (('config.json', config), ('versions.json', versions)):
    if record:
      shapes.check(f'{name} of the run of {where}', record, _SHAPES[name], remedy)


def caveats(card: Mapping[str, Any]) -> list[str]:
  """Return what the numbers of a card leave open. `card` is as kd_jax.export writes it, in JSON."""
  row, dtype = card['training'], card['network']['compute_dtype']
  accuracy, images, selection = map(row.get, ('test_accuracy', 'test_examples', 'selection'))
  lines = []
  if accuracy is None:
    lines.append(
      'The weights were imported. How they were trained, and how accurate they are, is not known '
      'here.'
    )
  elif images:
    lines.append(
      f'{images:,} test images: by their choice alone, the 95 % interval of an accuracy of '
      f'{accuracy:.1%} is {interval(accuracy, images)} % (Wilson). This is one seed; others would '
      'differ, too.'
    )
  else:
    lines.append(
      'The number of test images was not recorded, so that no interval is given. This is one seed; '
      'others would differ.'
    )
  if selection:
    lines.append(
      f'The epoch was selected on the {selection} images, so that the {selection} accuracy is '
      'optimistic.'
    )
  if card['config'].get('eval_examples'):
    lines.append(
      'Accuracies are of a subset of the validation and test images (eval_examples), drawn the '
      'same for every run.'
    )
  if dtype != 'float32':
    lines.append(
      f'Trained and evaluated in {dtype}; this file computes in float32, so that its accuracy may '
      'differ in the last digits.'
    )
  return [
    *lines,
    'The softmax of the logits was not calibrated: 90 % need not be right nine times in ten.',
    'Any image gets one of the classes, also one that shows none of them. Images unlike the '
    'training data, and images that were resized, were not tested.',
    f'The file was checked on a CPU with {card["runtime"]}: an older version may not read it, and '
    'accelerators may multiply with fewer digits than float32 has.',
    'Times are of one machine that may have had other work; they tell networks apart, not '
    'machines.',
  ]


def size_table(sizes: Sequence[Mapping[str, Any]]) -> str:
  """Return student and teachers side by side, in Markdown: parameters, bytes, time for a batch."""
  batches = [timed['batch'] for timed in sizes[0]['latency']]
  times = [f'ms for {batch} image{"s" if batch > 1 else ""} (n)' for batch in batches]
  lines = []
  for size in sizes:
    parameters, file = size['parameters'], size['bytes']
    latency = [f'{_short(timed["median_ms"])} ({timed["runs"]})' for timed in size['latency']]
    lines.append(
      [
        f'{size["role"]}: {size["network"]}',
        MISSING if parameters is None else f'{parameters:,}',
        MISSING if file is None else f'{file / 1e6:.2f}',
        *(latency or [MISSING] * len(batches)),
      ]
    )
  return markdown(Table(['network', 'parameters', 'MB', *times], lines))


def render(card: Mapping[str, Any]) -> str:
  """Return the card in Markdown."""
  versions = card['versions']
  return pages.render(
    'card.md',
    **card,
    code=_code(card),
    origin=_origin(card),
    facts=markdown(Table(['what', 'value'], _facts(card))),
    size_table=size_table(card['sizes']),
    made_with=[f'{what}: {_versions(made)}' for what, made in versions.items() if made],
  )


def _code(card: Mapping[str, Any]) -> str:
  """Return a program that classifies a picture, for the reader to copy."""
  height, width, channels = card['network']['image_shape']
  runtime, load, run = (
    line.replace('{file}', repr(card['file'])) for line in _LINES[card['format']]
  )
  load = f'classes = {list(card["classes"])}\n{load}'
  return _CODE.format(
    runtime=runtime,
    load=load,
    resizing=resizing(height, width, card.get('stored_size', 0)),
    run=run,
    height=height,
    width=width,
    channels=channels,
    mode='L' if channels == 1 else 'RGB',
  )


def resizing(height: int, width: int, stored_size: int) -> str:
  """Return the lines by which a card's program brings a picture to the network's size, to the bit
  as kd_jax.data.pictures.read does.

  ImageOps.fit would not: beside its crop it sees pixels outside of it.
  """
  wide, high = (stored_size, stored_size) if stored_size else (width, height)
  lines = _RESIZING.format(wide=wide, high=high)
  if (wide, high) == (width, height):
    return lines
  left, top = round((wide - width) / 2), round((high - height) / 2)
  return f'{lines}\npicture = picture.crop(({left}, {top}, {left + width}, {top + height}))'


def _origin(card: Mapping[str, Any]) -> str:
  row = card['training']
  if not row:
    return f'imported from {card["source"]}'
  teachers = f' from {" and ".join(row["teachers"])}' if row.get('teachers') else ''
  return f'trained on {row["dataset"]} by the method {row["method"]}{teachers}'


def _facts(card: Mapping[str, Any]) -> list[list[str]]:
  """Return rows of two cells; what the records lack is left out."""
  row, config = card['training'], card['config']
  images = row.get('test_examples')
  between = ''
  if images:
    wilson = interval(row['test_accuracy'], images, decimals=2)
    between = f' ({wilson}, 95 % interval by the choice of the images)'
  facts = [
    ('data', row.get('dataset')),
    ('training images', row.get('train_examples')),
    ('method', row.get('method')),
    ('recipe', row.get('recipe')),
    ('options of the method', _options(config, row)),
    ('teachers', ', '.join(_teacher(teacher) for teacher in card['teachers'])),
    ('seed', row.get('seed')),
    ('epochs', row.get('epochs')),
    ('selected epoch', row.get('best_epoch')),
    ('selected by', row.get('selection') and f'accuracy on the {row["selection"]} images'),
    (
      'batch, learning rate, weight decay',
      config and f'{config["batch_size"]}, {config["learning_rate"]}, {config["weight_decay"]}',
    ),
    ('parameters', f'{card["sizes"][0]["parameters"]:,}'),
    ('ReLUs after each', card['network']['relu_placement']),
    ('validation accuracy %', row and percent(row.get('validation_accuracy'))),
    ('test accuracy %', row and percent(row.get('test_accuracy')) + between),
    ('test accuracy of the last epoch %', row and percent(row.get('test_accuracy_last'))),
    ('test images', images and f'{images:,}'),
    ('source', card['source']),
  ]
  return [[name, str(value)] for name, value in facts if value not in (None, '', {}, ())]


def _teacher(teacher: Mapping[str, Any]) -> str:
  network, accuracy = teacher['network'], teacher['test_accuracy']
  return network if accuracy is None else f'{network} ({percent(accuracy)} % on the test images)'


def _options(config: Mapping[str, Any], row: Mapping[str, Any]) -> str:
  options = config.get('options', {})
  chosen = [f'{part}.{name}={value}' for part in options for name, value in options[part].items()]
  return ', '.join(chosen) or ("the recipe's" if row else '')


def _versions(made: Mapping[str, Any]) -> str:
  libraries = ', '.join(f'{name} {version}' for name, version in made['libraries'].items())
  return f'Python {made["python"]}, {libraries}; {made["platform"]}, {made["processor"]}'


def _short(number: float) -> str:
  return f'{number:,.0f}' if number >= 100 else f'{number:.3g}'
