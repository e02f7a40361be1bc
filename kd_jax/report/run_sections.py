"""The parts of a run's page that its predictions make: agreement, calibration, classes, confusions,
images. All are on test images.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kd_jax.files.predictions import Predictions
from kd_jax.files.run_records import Run
from kd_jax.measures import analysis, statistics
from kd_jax.measures.analysis import Calibration
from kd_jax.report import markup, run_figures
from kd_jax.report.table import interval, percent
from kd_jax.text import MISSING

_MATRIX = 20  # classes up to which the confusions are a table
_CONFUSIONS = 10  # the most frequent ones that are listed
_SEEN = 0.99994  # the level of intervals that lie apart: 4 standard errors on either side
_KINDS = {
  'teacher': 'The teacher alone is right',
  'student': 'The student alone is right',
  'neither': 'Both are wrong, and not alike',
}


class Subject(NamedTuple):
  """What the page is about: the run's networks on its images."""

  run: Run
  classes: tuple[str, ...]
  label: np.ndarray  # of the test images, i32[n]
  index: np.ndarray  # their places in the test split
  images: Mapping[int, np.ndarray]
  # logits by network; of several teachers also their mean, under `taught_by`
  test: dict[str, np.ndarray]
  validation: dict[str, np.ndarray] | None  # None where nothing is held out
  validation_label: np.ndarray | None
  student: str | None  # None where its predictions are lacking
  taught_by: str | None  # what stands for the teacher; None where there is none


def subject(run: Run, predictions: Predictions) -> Subject:
  """The run's networks on its images, its teachers together where there are several."""
  test, validation = predictions.parts['test'], predictions.parts.get('validation')
  names = [row['name'] for row in run.networks if row['name'] in test.logits]
  teachers = run.teachers if all(name in names for name in run.teachers) else []
  taught_by = (
    teachers[0] if len(teachers) == 1 else f'mean of {len(teachers)} teachers' if teachers else None
  )

  def together(logits: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {name: logits[name] for name in names}
    return (
      found | {taught_by: analysis.mean_of([found[name] for name in teachers])}
      if taught_by
      else found
    )

  student = run.student['name'] if run.student['name'] in names else None
  return Subject(
    run,
    predictions.classes,
    test.label,
    test.index,
    predictions.images,
    together(test.logits),
    together(validation.logits) if validation else None,
    validation.label if validation else None,
    student,
    taught_by,
  )


def trained_on_validation(of: Subject) -> list[str]:
  """Imported networks that are so much better on the validation images than on the test images that
  they must have seen them.
  """
  suspects = []
  for row in of.run.networks:
    name = row['name']
    if row.get('method') == 'imported' and name in of.test and of.validation:
      test, held = (
        float(analysis.right(logits[name], label).mean())
        for logits, label in ((of.test, of.label), (of.validation, of.validation_label))
      )
      _, highest = statistics.wilson(test, len(of.label), level=_SEEN)
      lowest, _ = statistics.wilson(held, len(of.validation_label), level=_SEEN)
      if lowest > highest:
        suspects.append(name)
  return suspects


def agreement(of: Subject) -> list[str]:
  """Pairs of networks on the same test images."""
  others = [
    row['name'] for row in of.run.networks if row['role'] == 'baseline' and row['name'] in of.test
  ]
  pairs = [(of.student, other) for other in (of.taught_by, *others) if of.student and other]
  pairs += [(other, of.taught_by) for other in others if of.taught_by]
  if not pairs:
    return []
  lines = []
  for first, second in pairs:
    found = analysis.agreement(of.test[first], of.test[second], of.label)
    d, apart = found.difference, found.n - found.equal
    counts = (found.equal, found.both, found.first, found.second, found.neither)
    lines.append(
      [
        f'{first} and {second}',
        *(_share(count, found.n) for count in counts),
        _share(found.both, found.equal),
        _share(found.first, apart),
        _share(found.second, apart),
        f'{100 * d.value:+.2f}',
        f'{100 * d.half_width:.2f}',
        '< .001' if d.p < 0.001 else f'{d.p:.3f}',
      ]
    )
  headings = [
    'first and second',
    'equal predictions %',
    'both right %',
    'first only %',
    'second only %',
    'both wrong %',
    'accuracy where equal %',
    'first where they differ %',
    'second where they differ %',
    'first − second, points',
    '± 95 %',
    'p',
  ]
  said = (
    f'On the same {len(of.label):,} test images. Both wrong holds equal and different mistakes. '
    f'The difference of accuracies has '
    'an interval by the choice of these images alone, and p is McNemar’s, exact; both are about '
    'these networks, not about the '
    'methods: another seed trains others.'
  )
  several = [name for name in of.run.teachers if name != of.taught_by]
  if of.taught_by and several:
    said += (
      f' The {of.taught_by} has the mean of the probabilities of {", ".join(several)}: at a '
      f'temperature of 1, the mean of the '
      'divergences from each of them is least there.'
    )
  return [markup.table(headings, lines), markup.paragraph(said)]


def calibration(of: Subject) -> list[str]:
  """Calibration of every network, before and after temperature scaling."""
  found: dict[str, Calibration] = {}
  for name, logits in of.test.items():
    held = (of.validation[name], of.validation_label) if of.validation else None
    found[name] = analysis.calibration((logits, of.label), held)
  lines = []
  for name, c in found.items():
    after = (
      (MISSING, MISSING)
      if c.after is None
      else (percent(c.after.ece), f'{c.after.cross_entropy:.4f}')
    )
    lines.append(
      [
        name,
        percent(c.before.ece),
        after[0],
        percent(c.by_chance),
        _temperature(c.temperature),
        f'{c.before.cross_entropy:.4f}',
        after[1],
      ]
    )
  headings = [
    'network',
    'ECE %, as trained',
    'ECE %, scaled',
    'ECE % by chance',
    'temperature',
    'cross-entropy, as trained',
    'cross-entropy, scaled',
  ]
  lowest, highest = analysis.TEMPERATURES
  if of.validation:
    fit = (
      f'The temperature is the one between {lowest:g} and {highest:g} under which the '
      f'cross-entropy on the '
      f'{len(of.validation_label):,} validation images is least: it is fitted on them only, never '
      f'on the test images, on which '
      'all of this is measured. The epoch was chosen on the same validation images.'
    )
    if any(row.get('method') == 'imported' for row in of.run.rows) and not trained_on_validation(
      of
    ):
      fit += (
        ' Whether an imported network was trained on these validation images is not known here: if '
        'it was, it is surer of them '
        'than it should be of others, and the temperature is too low for it.'
      )
  else:
    fit = 'No images are held out, so that no temperature can be fitted: it is never fitted on the test images.'
  said = (
    'The expected calibration error (ECE) is the mean distance between accuracy and confidence, '
    'the probability of the predicted '
    f'class, over {analysis.BINS} bins of equal width. By chance: what the ECE would be on '
    f'average, on as many images, if the '
    f'last of these confidences were all deserved. {fit}'
  )
  drawn = run_figures.reliability(found)
  return [
    markup.table(headings, lines),
    markup.paragraph(said),
    *markup.figure(
      drawn,
      'Reliability diagrams: accuracy by confidence on the test images. Squares: as trained'
      + ('; discs: after temperature scaling' if of.validation else '')
      + '. Their size follows the number of images in the bin, and '
      'those of few images scatter. On the dotted line confidence is deserved; below it, it is too '
      'high.',
    ),
  ]


def classes(of: Subject) -> list[str]:
  """Accuracies by class."""
  count = np.bincount(of.label, minlength=len(of.classes))
  each = {
    name: np.bincount(of.label, weights=analysis.right(logits, of.label), minlength=len(of.classes))
    for name, logits in of.test.items()
  }
  accuracy = {name: found / np.maximum(count, 1) for name, found in each.items()}
  headings = ['class', 'images', *(f'{name} %' for name in each)]
  against = of.taught_by or next(
    (row['name'] for row in of.run.networks if row['role'] == 'baseline' and row['name'] in each),
    None,
  )
  compared = of.student is not None and against is not None
  if compared:
    headings.append(f'{of.student} − {against}, points')
  lines = []
  for place, name in enumerate(of.classes):
    cells = [_share(found[place], count[place]) for found in each.values()]
    if compared:
      cells.append(
        f'{100 * (accuracy[of.student][place] - accuracy[against][place]):+.2f}'
        if count[place]
        else MISSING
      )
    lines.append([name, f'{count[place]:,}', *cells])
  least = min((int(n) for n in count if n), default=1)
  said = (
    f'Accuracy on the test images of each class. Of {least:,} images, as the smallest class has, '
    f'an accuracy of 90 % has a '
    f'95 % interval of {interval(0.9, least)} % by their choice alone.'
  )
  made = markup.table(headings, lines)
  return [
    made
    if len(lines) <= _MATRIX
    else f'<details><summary>all {len(lines)} classes</summary>{made}</details>',
    markup.paragraph(said),
  ]


def confusions(of: Subject) -> list[str]:
  """The student's matrix and its teacher's; without a teacher, its baseline's."""
  counts = {name: analysis.confusion(logits, of.label) for name, logits in of.test.items()}
  names = [name for name in (of.student, of.taught_by) if name] or list(counts)
  parts = [
    markup.paragraph(
      'Rows are the true classes, columns the predicted ones. The stronger the colour, the larger '
      'the share of '
      'the row (by its square root): blue where right, vermilion where wrong.'
    )
  ]
  parts += [
    f'<h3>{markup.text(name.capitalize())}</h3>{_matrix(counts[name], of.classes, name)}'
    for name in names
  ]
  first = counts[names[0]]
  wrong = np.where(np.eye(len(first), dtype=bool), 0, first)
  order = [
    divmod(int(place), len(first))
    for place in np.argsort(-wrong, axis=None, kind='stable')[:_CONFUSIONS]
  ]
  lines = [
    [
      f'{of.classes[row]} → {of.classes[column]}',
      *(f'{counts[name][row, column]:,}' for name in names),
      percent(first[row, column] / first[row].sum()),
    ]
    for row, column in order
    if wrong[row, column]
  ]
  if lines:
    headings = [
      'true → predicted',
      *(f'{name}, images' for name in names),
      f'{names[0]}, % of the class',
    ]
    parts += ['<h3>The most frequent mistakes</h3>', markup.table(headings, lines)]
  return parts


def _matrix(counts: np.ndarray, classes: Sequence[str], name: str) -> str:
  """A table, or a picture where it would be too wide."""
  if len(classes) > _MATRIX:
    alt = f'Confusion matrix of {name}: {len(classes)} by {len(classes)} classes in the order of the labels.'
    return f'<p>{_picture(run_figures.confusion(counts), alt, "map")}</p>'
  head = ''.join(f'<th scope="col">{markup.text(label)}</th>' for label in classes)
  body = ''
  for row, label in enumerate(classes):
    cells = ''.join(
      f'<td style="background:rgba{run_figures.shade(counts, row, column)}">{count}</td>'
      if count
      else '<td class="none">0</td>'
      for column, count in enumerate(counts[row])
    )
    body += f'<tr><th scope="row" class="t">{markup.text(label)}</th>{cells}</tr>\n'
  return (
    f'<div class="wide" tabindex="0" role="region" aria-label="Confusion matrix of '
    f'{markup.text(name)}"><table class="cells">'
    f'<thead><tr><th scope="col" class="t">true \\ '
    f'predicted</th>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'
  )


def images(of: Subject) -> list[str]:
  """Images on which the student and its teacher predict different classes."""
  if not (of.student and of.taught_by):
    return []
  student, teacher = of.test[of.student], of.test[of.taught_by]
  found = analysis.differing(student, teacher, of.label)
  probability = {
    of.student: np.exp(analysis.log_probabilities(student)),
    of.taught_by: np.exp(analysis.log_probabilities(teacher)),
  }
  total = int((student.argmax(-1) != teacher.argmax(-1)).sum())
  parts = [
    markup.paragraph(
      f'{total:,} of {len(of.label):,} test images. Of each kind at most {analysis.SHOWN} are '
      f'shown, those on '
      'which the two are surest: they are the extreme ones, not typical ones. Percentages are the '
      'probabilities '
      'that each gives to the class beside them, as trained.'
    )
  ]
  for kind, heading in _KINDS.items():
    cards = ''.join(_card(of, place, probability) for place in found[kind] if place in of.images)
    if cards:
      parts.append(f'<h3>{heading}</h3><ul class="images">{cards}</ul>')
  return parts


def _card(of: Subject, place: int, probability: Mapping[str, np.ndarray]) -> str:
  """A test image with its class and what each of the two makes of it."""
  true = int(of.label[place])
  lines = [f'<b>{markup.text(of.classes[true])}</b>']
  for name, probabilities in probability.items():
    chosen = int(probabilities[place].argmax())
    said = f'{name}: {of.classes[chosen]}, {probabilities[place, chosen]:.1%}'
    if chosen != true:
      said += f' ({of.classes[true]}: {probabilities[place, true]:.1%})'
    lines.append(markup.text(said))
  data, _ = run_figures.thumbnail(of.images[place])
  alt = f'test image {int(of.index[place])}, of the class {of.classes[true]}'
  return f'<li>{_picture(data, alt)}{"<br>".join(lines)}</li>'


def _picture(data: bytes, alt: str, name: str = '') -> str:
  look = f' class="{name}"' if name else ''
  return f'<img{look} alt="{markup.text(alt)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def _temperature(value: float | None) -> str:
  if value is None:
    return MISSING
  lowest, highest = analysis.TEMPERATURES
  sign = '≤ ' if value < 1.01 * lowest else '≥ ' if value > highest / 1.01 else ''
  return f'{sign}{value:.3f}'


def _share(count: int, of: int) -> str:
  return percent(count / of) if of else MISSING
