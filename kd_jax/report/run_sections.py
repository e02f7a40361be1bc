"""What a run's page shows of predictions: agreement, calibration, classes, confusions, images.

All numbers are on test images.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from kd_jax.measures import analysis
from kd_jax.measures.analysis import Calibration
from kd_jax.report import run_figures
from kd_jax.report.subject import Subject, trained_on_validation
from kd_jax.report.tables import Table, interval, number, p_value, percent, share
from kd_jax.text import MISSING

_MATRIX = 20  # classes up to which the confusions are a table
_CONFUSIONS = 10  # the most frequent ones that are listed
_KINDS = {
  'teacher': 'The teacher alone is right',
  'student': 'The student alone is right',
  'neither': 'Both are wrong, and not alike',
}


def sections(of: Subject) -> dict[str, Any]:
  """Return the values of the template predictions.html."""
  calibrations = _calibrations(of)
  names = [name for name in (of.student, of.teacher) if name] or list(of.test.logits)
  counts = {name: analysis.confusion(of.test.logits[name], of.test.label) for name in names}
  imported = any(row.method == 'imported' for row in of.run.rows)
  images, differing = None, 0
  if of.student and of.teacher:
    images = _images(of, of.student, of.teacher)
    differing = _differing(of, of.student, of.teacher)
  return {
    'analysis': analysis,
    'count': len(of.test.label),
    'interval': interval,
    'agreement': _agreement(of),
    'together': [name for name in of.run.teachers if name != of.teacher] if of.teacher else [],
    'calibration': _calibration(calibrations),
    'held_out': len(of.validation.label) if of.validation else 0,
    'unsure': imported and not trained_on_validation(of),
    'reliability': run_figures.reliability(calibrations),
    'many': len(of.classes) > _MATRIX,
    'classes': _classes(of),
    'least': min((int(n) for n in np.bincount(of.test.label) if n), default=1),
    'confusions': {name: _matrix(each, name) for name, each in counts.items()},
    'mistakes': _mistakes(of, counts),
    'images': images,
    'differing': differing,
  }


def _agreement(of: Subject) -> Table:
  """Return a line a pair of networks on the same images."""
  pairs = [(of.student, of.teacher), (of.student, of.baseline), (of.baseline, of.teacher)]
  lines = []
  for first, second in pairs:
    if not first or not second:
      continue
    pair = analysis.agreement(of.test.logits[first], of.test.logits[second], of.test.label)
    difference = pair.difference
    apart = pair.n - pair.equal
    line = {
      'first and second': f'{first} and {second}',
      'equal predictions %': share(pair.equal, pair.n),
      'both right %': share(pair.both, pair.n),
      'first only %': share(pair.first, pair.n),
      'second only %': share(pair.second, pair.n),
      'both wrong %': share(pair.neither, pair.n),
      'accuracy where equal %': share(pair.both, pair.equal),
      'first where they differ %': share(pair.first, apart),
      'second where they differ %': share(pair.second, apart),
      'first − second, points': percent(difference.value, form='+.2f'),
      '± 95 %': percent(difference.half_width),
      'p': p_value(difference.p),
    }
    lines.append(line)
  return Table.of(lines)


def _calibrations(of: Subject) -> dict[str, Calibration]:
  made = {}
  for name, logits in of.test.logits.items():
    validation = (of.validation.logits[name], of.validation.label) if of.validation else None
    made[name] = analysis.calibration((logits, of.test.label), validation)
  return made


def _calibration(calibrations: Mapping[str, Calibration]) -> Table:
  """Return a line a network, before and after temperature scaling."""
  lines = []
  for name, c in calibrations.items():
    line = {
      'network': name,
      'ECE %, as trained': percent(c.before.ece),
      'ECE %, scaled': percent(c.after.ece if c.after else None),
      'ECE % by chance': percent(c.by_chance),
      'temperature': _temperature(c.temperature),
      'cross-entropy, as trained': f'{c.before.cross_entropy:.4f}',
      'cross-entropy, scaled': number(c.after.cross_entropy if c.after else None, '.4f'),
    }
    lines.append(line)
  return Table.of(lines)


def _temperature(value: float | None) -> str:
  lowest, highest = analysis.TEMPERATURES
  if value is None:
    return MISSING
  if value < 1.01 * lowest:
    return f'≤ {value:.3f}'
  return f'≥ {value:.3f}' if value > highest / 1.01 else f'{value:.3f}'


def _classes(of: Subject) -> Table:
  """Return a line a class, with the accuracy of each network."""
  label = of.test.label
  size = len(of.classes)
  count = np.bincount(label, minlength=size)
  right = {
    name: np.bincount(label, weights=analysis.right(logits, label), minlength=size)
    for name, logits in of.test.logits.items()
  }
  other = of.teacher or of.baseline
  lines = []
  for place, name in enumerate(of.classes):
    images = count[place]
    line = {'class': name, 'images': f'{images:,}'}
    line |= {f'{n} %': share(of_class[place], images) for n, of_class in right.items()}
    if of.student and other:
      more = right[of.student][place] - right[other][place]
      points = percent(more / images if images else None, form='+.2f')
      line[f'{of.student} − {other}, points'] = points
    lines.append(line)
  return Table.of(lines)


def _matrix(counts: np.ndarray, name: str) -> Any:
  """Return each line's numbers with their colours, or a picture where that would be too wide."""
  classes = len(counts)
  if classes > _MATRIX:
    alt = f'Confusion matrix of {name}: {classes} by {classes} classes in the order of the labels.'
    return _picture(run_figures.confusion(counts), alt)
  return [
    [(int(counts[row, c]), run_figures.shade(counts, row, c)) for c in range(classes)]
    for row in range(classes)
  ]


def _mistakes(of: Subject, counts: Mapping[str, np.ndarray]) -> Table:
  """Return a line for each of the mistakes that the first network makes most often."""
  name, first = next(iter(counts.items()))
  wrong = np.where(np.eye(len(first), dtype=bool), 0, first)
  lines = []
  for place in np.argsort(-wrong, axis=None, kind='stable')[:_CONFUSIONS]:
    row, column = divmod(int(place), len(first))
    if wrong[row, column]:
      line = {'true → predicted': f'{of.classes[row]} → {of.classes[column]}'}
      line |= {f'{other}, images': f'{each[row, column]:,}' for other, each in counts.items()}
      line[f'{name}, % of the class'] = share(first[row, column], first[row].sum())
      lines.append(line)
  return Table.of(lines)


def _differing(of: Subject, student: str, teacher: str) -> int:
  """Return on how many images the two predict different classes."""
  logits = of.test.logits
  return int((logits[student].argmax(-1) != logits[teacher].argmax(-1)).sum())


def _images(of: Subject, student: str, teacher: str) -> dict[str, list[dict[str, Any]]]:
  """Return images on which the two predict different classes, by kind."""
  logits = of.test.logits
  places = analysis.differing(logits[student], logits[teacher], of.test.label)
  probabilities = {n: np.exp(analysis.log_probabilities(logits[n])) for n in (student, teacher)}
  kinds = {
    heading: [_card(of, place, probabilities) for place in places[kind] if place in of.images]
    for kind, heading in _KINDS.items()
  }
  return {heading: cards for heading, cards in kinds.items() if cards}


def _card(of: Subject, place: int, probabilities: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Return a test image with its class and the classes that the two predict."""
  true = int(of.test.label[place])
  name_of_true = of.classes[true]
  lines = []
  for name, each in probabilities.items():
    chosen = int(each[place].argmax())
    line = f'{name}: {of.classes[chosen]}, {each[place, chosen]:.1%}'
    if chosen != true:
      line += f' ({name_of_true}: {each[place, true]:.1%})'
    lines.append(line)
  alt = f'test image {int(of.test.index[place])}, of the class {name_of_true}'
  picture = _picture(run_figures.thumbnail(of.images[place]), alt)
  return {'picture': picture, 'true': name_of_true, 'lines': lines}


def _picture(data: bytes, alt: str) -> dict[str, str]:
  return {'alt': alt, 'source': f'data:image/png;base64,{base64.b64encode(data).decode()}'}
