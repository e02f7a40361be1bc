"""Every method's terms, in every recipe, beside their formulas written out in numpy: neither torch
nor reference numbers are needed.

Weights and numbers stand here as METHODS' documentation has them, not as the code has: a recipe
that changes is noticed.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kd_jax import methods, models
from kd_jax.methods import METHODS
from kd_jax.types import Batch, Outputs
from tests import tiny

EXAMPLES, CLASSES, WIDTHS = 6, tiny.CLASSES, (4, 8)
LABELS = np.array([0, 1, 2, 3, -1, -1], np.int32)  # the last two have none
LABELLED = LABELS >= 0
STUDENT, TEACHER = tiny.network(dtype='float64'), tiny.network(dtype='float64', blocks=(2, 1))
pytestmark = pytest.mark.usefixtures('float64')


def outputs(network, seed: int) -> Outputs:
  """What a network might compute, drawn."""
  draw = np.random.default_rng(seed)
  with jax.enable_x64():
    shapes = models.output_shapes(network, batch=EXAMPLES)
  return jax.tree.map(lambda leaf: draw.normal(size=leaf.shape), shapes)


OWN = {'weak': outputs(STUDENT, 1), 'strong': outputs(STUDENT, 2)}
TAUGHT = tuple(
  {view: outputs(TEACHER, seed + n) for n, view in enumerate(OWN)} for seed in (10, 20, 30)
)


def terms(name: str, recipe: str = 'written', *, teachers: int = 1, own=OWN, **chosen):
  """The terms of a method on these outputs, and the method's own parameters and constants."""
  method = methods.make(name, recipe=recipe, chosen={name: chosen})
  infos = [tiny.info(TEACHER, tiny.variables(TEACHER, seed=100 + n)) for n in range(teachers)]
  variables = method.init(tiny.init_inputs(tiny.info(STUDENT), *infos, key=0))
  image, number = np.zeros((EXAMPLES, *STUDENT.spec.image_shape)), np.arange(EXAMPLES)
  shown = {view: own[view] for view in method.views}
  taught = tuple({view: teacher[view] for view in method.views} for teacher in TAUGHT[:teachers])
  with tiny.quick_compilation():
    found, _ = jax.jit(lambda variables, *given: method.loss(variables, tiny.loss_inputs(*given)))(
      variables, shown, taught, Batch(image, LABELS, number)
    )
  return {term: float(value) for term, value in found.items()}, variables


def check(found, **expected):
  assert found == {
    term: pytest.approx(value, rel=1e-6, abs=1e-12) for term, value in expected.items()
  }


# The formulas -------------------------------------------------------------------------------------


def log_softmax(z):
  z = z - z.max(-1, keepdims=True)
  return z - np.log(np.exp(z).sum(-1, keepdims=True))


def ce(own: Outputs) -> float:
  """The mean over the labelled examples."""
  return -np.mean([log_softmax(own.logits)[n, LABELS[n]] for n in np.flatnonzero(LABELLED)])


def divergences(own: Outputs, teacher: Outputs, temperature: float) -> np.ndarray:
  student, target = log_softmax(own.logits / temperature), log_softmax(teacher.logits / temperature)
  return (np.exp(target) * (target - student)).sum(-1)


def kl(own: Outputs, teacher: Outputs, temperature: float, kept=slice(None)) -> float:
  """T² times the mean divergence."""
  return temperature**2 * divergences(own, teacher, temperature)[kept].mean()


def relu(x):
  return np.maximum(x, 0)


def flat(x):
  return x.reshape(len(x), -1)


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def huber(x):
  return np.where(np.abs(x) <= 1, x**2 / 2, np.abs(x) - 0.5)


def distances(x):
  return np.linalg.norm(x[:, None] - x[None], axis=-1)


def distance_loss(own, teacher):
  relative = [d / d[d > 0].mean() for d in map(distances, (own, teacher))]
  return huber(relative[0] - relative[1]).mean()


def angle_loss(own, teacher):
  def cosines(x):
    gap = x[None] - x[:, None]
    length = np.linalg.norm(gap, axis=-1, keepdims=True)
    gap = np.divide(gap, length, out=np.zeros_like(gap), where=length > 0)
    return np.einsum('ijd,ikd->ijk', gap, gap)

  return huber(cosines(own) - cosines(teacher)).mean()


def rank_loss(own, teacher, alpha, beta=3, length=4):
  """−log of how probable the student finds the order of each example's four nearest neighbours by
  the teacher.
  """
  total = 0.0
  for row, other in zip(distances(own), distances(teacher), strict=True):
    near = np.argsort(other)[1 : length + 1]  # the nearest is the example itself
    scores = -alpha * row[near] ** beta
    total += sum(np.log(np.exp(scores[m:]).sum()) - scores[m] for m in range(length))
  return total / len(own)


def attention(x):
  return unit(flat((x**2).mean(-1)))


def connected(params, number: int, x, *, normalised=True):
  """A 1×1 convolution, then BatchNorm on the statistics of the batch."""
  y = x @ np.asarray(params[f'conv{number + 1}']['kernel'])[0, 0]
  if not normalised:
    return y
  norm = params[f'norm{number + 1}']
  y = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + 1e-5)
  return y * np.asarray(norm['scale']) + np.asarray(norm['bias'])


# Logits -------------------------------------------------------------------------------------------


OWN_WEAK, OWN_STRONG = OWN['weak'], OWN['strong']
TAUGHT_WEAK, TAUGHT_STRONG = TAUGHT[0]['weak'], TAUGHT[0]['strong']


@pytest.mark.parametrize(
  ('recipe', 'chosen', 'alpha', 'temperature'),
  [('written', {}, 0.5, 5.0), ('official', {}, 0.9, 4.0), ('official', {'alpha': 0.2}, 0.2, 4.0)],
)
def test_kd(recipe, chosen, alpha, temperature):
  found, _ = terms('kd', recipe, **chosen)
  check(
    found,
    cross_entropy=(1 - alpha) * ce(OWN_WEAK),
    distillation=alpha * kl(OWN_WEAK, TAUGHT_WEAK, temperature),
  )


def test_kds_reductions():
  once = 0.5 * kl(OWN_WEAK, TAUGHT_WEAK, 5.0)
  assert terms('kd', reduction='elements')[0]['distillation'] == pytest.approx(
    once / CLASSES, rel=1e-6
  )
  assert terms('kd', scaled=False)[0]['distillation'] == pytest.approx(once / 25, rel=1e-6)


def test_mkd_takes_the_mean_over_its_teachers():
  found, _ = terms('mkd', teachers=3)
  mean = np.mean([kl(OWN_WEAK, teacher['weak'], 5.0) for teacher in TAUGHT])
  check(found, cross_entropy=0.5 * ce(OWN_WEAK), distillation=0.5 * mean)


def test_dkd():
  """α weighs whether it is the label's class, β how the other classes share the rest:

  1 and 8 at T = 4, after the warm-up.
  """
  student, target = (np.exp(log_softmax(z.logits / 4)) for z in (OWN_WEAK, TAUGHT_WEAK))
  whether, which = [], []
  for n in np.flatnonzero(LABELLED):
    b_s, b_t = (np.array([p[n, LABELS[n]], 1 - p[n, LABELS[n]]]) for p in (student, target))
    q_s, q_t = (np.delete(p[n], LABELS[n]) / (1 - p[n, LABELS[n]]) for p in (student, target))
    whether.append((b_t * np.log(b_t / b_s)).sum())
    which.append((q_t * np.log(q_t / q_s)).sum())
  # else the two could stand for each other
  assert abs(np.mean(whether) - np.mean(which)) > 0.1 * np.mean(which)
  check(
    terms('dkd', warmup_epochs=0.0)[0],
    cross_entropy=ce(OWN_WEAK),
    target_class=16 * np.mean(whether),
    other_classes=8 * 16 * np.mean(which),
  )
  found, _ = terms('dkd', target=2.0, others=1.0, warmup_epochs=0.0)
  assert found['target_class'] == pytest.approx(2 * 16 * np.mean(whether), rel=1e-6)


def test_triplet_and_unsupervised():
  cosine = 1 - (unit(OWN_WEAK.logits) * unit(TAUGHT_WEAK.logits)).sum(-1).mean()
  check(terms('triplet')[0], cosine=0.5 * cosine, distillation=0.5 * kl(OWN_WEAK, TAUGHT_WEAK, 5.0))
  check(terms('unsupervised')[0], distillation=kl(OWN_WEAK, TAUGHT_WEAK, 5.0))


@pytest.mark.parametrize(('recipe', 'share'), [('written', 1.0), ('published', 0.5)])
def test_uda_adds_its_views_up_as_written_and_averages_them_as_published(recipe, share):
  hard, soft = (
    ce(OWN_WEAK) + ce(OWN_STRONG),
    kl(OWN_WEAK, TAUGHT_WEAK, 5.0) + kl(OWN_STRONG, TAUGHT_STRONG, 5.0),
  )
  check(terms('uda', recipe)[0], cross_entropy=share * 0.5 * hard, distillation=share * 0.5 * soft)
  if recipe == 'written':
    check(terms('uda_nokd', teachers=0)[0], cross_entropy=hard / 2)


def test_stl_as_written_counts_the_unsure_images_in_its_mean():
  """Of the two unlabelled images the student is sure of the first alone, and it is half of the
  mean.
  """
  z = OWN_WEAK.logits.copy()
  z[4], z[5] = (9, 0, 0, 0, 0), (0.3, 0, 0, 0, 0)
  own = {'weak': OWN_WEAK._replace(logits=z), 'strong': OWN_STRONG}
  target = np.exp(log_softmax(z[4] / 0.4))
  agree = (target * (log_softmax(z[4] / 0.4) - log_softmax(OWN_STRONG.logits[4]))).sum()
  soft = kl(own['weak'], TAUGHT_WEAK, 5.0, LABELLED) + kl(OWN_STRONG, TAUGHT_STRONG, 5.0, LABELLED)
  hard = ce(own['weak']) + ce(OWN_STRONG)
  check(
    terms('stl', own=own)[0],
    cross_entropy=0.5 * hard,
    distillation=0.5 * soft,
    consistency=agree / 2,
  )


def test_stl_as_published_is_a_quarter_of_four_terms():
  hard = ce(OWN_WEAK) + ce(OWN_STRONG)
  soft = kl(OWN_WEAK, TAUGHT_WEAK, 5.0, LABELLED) + kl(OWN_STRONG, TAUGHT_STRONG, 5.0, LABELLED)
  rest = kl(OWN_WEAK, TAUGHT_WEAK, 1.0, ~LABELLED) + kl(OWN_STRONG, TAUGHT_STRONG, 1.0, ~LABELLED)
  check(
    terms('stl', 'published')[0],
    cross_entropy=0.5 * hard / 4,
    distillation=0.5 * soft / 4,
    unlabelled=rest / 4,
  )


# Relations ----------------------------------------------------------------------------------------


def test_rkd_as_written_compares_what_the_classifier_sees():
  own, teacher = OWN_WEAK.embedding, TAUGHT_WEAK.embedding
  check(
    terms('rkd')[0],
    cross_entropy=0.5 * ce(OWN_WEAK),
    distillation=0.5 * kl(OWN_WEAK, TAUGHT_WEAK, 5.0),
    distance=25 * distance_loss(own, teacher),
    angle=50 * angle_loss(own, teacher),
  )


def test_rkd_as_official_compares_the_pooled_feature_after_its_relu_at_length_1():
  own, teacher = (unit(relu(o.features[-1]).mean((1, 2))) for o in (OWN_WEAK, TAUGHT_WEAK))
  check(
    terms('rkd', 'official')[0],
    cross_entropy=ce(OWN_WEAK),
    distillation=kl(OWN_WEAK, TAUGHT_WEAK, 4.0),
    distance=25 * distance_loss(own, teacher),
    angle=50 * angle_loss(own, teacher),
  )


@pytest.mark.parametrize('alpha', [2.0, 3.0])
def test_rkds_rank_has_a_scale(alpha):
  # at this distance no order is certain
  near = OWN_WEAK._replace(embedding=0.3 * OWN_WEAK.embedding)
  found, _ = terms('rkd', own={'weak': near}, rank=0.7, rank_scale=alpha)
  assert found['rank'] == pytest.approx(
    0.7 * rank_loss(near.embedding, TAUGHT_WEAK.embedding, alpha), rel=1e-6
  )


def test_rkds_attention_is_after_the_relu():
  found, _ = terms('rkd', attention=100.0)
  pairs = zip(OWN_WEAK.features, TAUGHT_WEAK.features, strict=True)
  expected = sum(((attention(relu(s)) - attention(relu(t))) ** 2).mean() for s, t in pairs)
  assert found['attention'] == pytest.approx(100 * expected, rel=1e-6)


def test_rkds_hint_is_a_mean_of_squares_after_a_convolution():
  found, variables = terms('rkd', hint=2.0)
  expected = sum(
    ((connected(variables.params, n, s, normalised=False) - t) ** 2).mean()
    for n, (s, t) in enumerate(zip(OWN_WEAK.features, TAUGHT_WEAK.features, strict=True))
  )
  assert found['hint'] == pytest.approx(2 * expected, rel=1e-6)


# Features -----------------------------------------------------------------------------------------


def boundary(own, teacher, margin=1.0):
  """(s+m)² where s > −m and t ≤ 0, (s−m)² where s ≤ m and t > 0; the earlier of two stages counts
  half.
  """
  total = 0.0
  for weight, s, t in zip((0.5, 1.0), own, teacher, strict=True):
    error = np.where((s > -margin) & (t <= 0), (s + margin) ** 2, 0) + np.where(
      (s <= margin) & (t > 0), (s - margin) ** 2, 0
    )
    total += weight * error.sum() / EXAMPLES
  return total


@pytest.mark.parametrize('recipe', ['written', 'published', 'official'])
def test_ab(recipe):
  """As written there is a connector everywhere, else where the widths differ: here nowhere."""
  found, variables = terms('ab', recipe)
  own = OWN_WEAK.features
  if recipe == 'written':
    own = [connected(variables.params, n, s) for n, s in enumerate(own)]
  else:
    assert not variables.params
  check(found, boundary=0.003 * boundary(own, TAUGHT_WEAK.features))


@pytest.mark.parametrize('recipe', ['written', 'published', 'official'])
def test_oh(recipe):
  """(s−t')² where s > t' or t' > 0, t' the teacher's feature above its margin; the earlier of two
  stages counts half.
  """
  found, variables = terms('oh', recipe)
  total = 0.0
  for n, (weight, t, m) in enumerate(
    zip((0.5, 1.0), TAUGHT_WEAK.features, variables.constants['margins'], strict=True)
  ):
    s, target = connected(variables.params, n, OWN_WEAK.features[n]), np.maximum(t, np.asarray(m))
    total += weight * np.where((s > target) | (target > 0), (s - target) ** 2, 0).sum() / EXAMPLES
  check(found, cross_entropy=ce(OWN_WEAK), overhaul=1e-3 * total)


def test_ohs_margin_is_the_mean_of_what_the_last_norm_leaves_negative():
  """Of the block's second norm: the mean of N(β, γ²) below 0, by 200,000 draws."""
  _, variables = terms('oh')
  weights = tiny.variables(TEACHER, seed=100)['params']
  for margin, (block, norm) in zip(variables.constants['margins'], TEACHER.norms, strict=True):
    scale, bias = (
      np.asarray(weights[block][norm][name], np.float64)[:, None] for name in ('scale', 'bias')
    )
    drawn = bias + np.abs(scale) * np.random.default_rng(0).normal(size=(1, 200_000))
    np.testing.assert_allclose(margin, [row[row < 0].mean() for row in drawn], rtol=0.02)


@pytest.mark.parametrize(('recipe', 'weight'), [('written', 500 / 768), ('published', 10.0)])
def test_pkd(recipe, weight):
  """As written: the squared distance of vectors of length 1, every stage but the last.

  As published: one mean, after the ReLU.
  """
  pairs = list(zip(OWN_WEAK.features, TAUGHT_WEAK.features, strict=True))
  if recipe == 'written':
    patient = sum(((unit(flat(s)) - unit(flat(t))) ** 2).sum(-1).mean() for s, t in pairs[:-1])
  else:
    own, teacher = (np.concatenate([flat(relu(pair[n])) for pair in pairs], -1) for n in (0, 1))
    patient = ((own - teacher) ** 2).mean()
  check(
    terms('pkd', recipe)[0],
    cross_entropy=0.5 * ce(OWN_WEAK),
    distillation=0.5 * kl(OWN_WEAK, TAUGHT_WEAK, 5.0),
    patient=weight * patient,
  )


LAYERS = {
  'stem_conv': 'stem_conv',
  'stem_norm': 'stem_norm',
  'stage1_block1': 'stage1_block2',
  'stage2_block1': 'stage2_block1',
}


def test_sfd_as_written_is_a_mean_of_squares_over_every_layer():
  feature = sum(
    ((OWN_WEAK.layers[own] - TAUGHT_WEAK.layers[other]) ** 2).mean()
    for own, other in LAYERS.items()
  )
  check(terms('sfd')[0], cross_entropy=ce(OWN_WEAK), feature=feature)
  cosine = sum(
    (1 - (unit(flat(OWN_WEAK.layers[o])) * unit(flat(TAUGHT_WEAK.layers[t]))).sum(-1)).mean()
    for o, t in LAYERS.items()
  )
  assert terms('sfd', compare='cosine')[0]['feature'] == pytest.approx(cosine, rel=1e-6)


def test_sfd_as_published_is_the_largest_difference_of_each_layer():
  largest = sum(
    np.abs(OWN_WEAK.layers[o].max((1, 2)) - TAUGHT_WEAK.layers[t].max((1, 2))).max()
    for o, t in LAYERS.items()
  )
  check(terms('sfd', 'published')[0], cross_entropy=ce(OWN_WEAK), feature=largest)


# Joins and recipes --------------------------------------------------------------------------------


def test_a_join_weighs_its_parts_and_adds_no_term_twice():
  found, _ = terms('kd+0.25*dkd')
  alone, _ = terms('dkd')
  check(
    found,
    cross_entropy=0.5 * ce(OWN_WEAK),
    distillation=0.5 * kl(OWN_WEAK, TAUGHT_WEAK, 5.0),
    target_class=0.25 * alone['target_class'],
    other_classes=0.25 * alone['other_classes'],
  )


@pytest.mark.parametrize(
  ('name', 'recipe', 'statistics', 'joint', 'strong'),
  [
    ('oh', 'written', 'running', True, None),
    ('oh', 'official', 'batch', True, None),
    ('oh', 'published', 'batch', True, None),
    ('ab', 'written', 'running', True, None),
    ('ab', 'official', 'batch', True, None),
    ('kd', 'official', 'running', True, None),
    ('uda', 'written', 'running', True, 'weak+randaugment:2:5'),
    ('uda', 'published', 'running', False, 'autoaugment_published'),
    ('stl', 'written', 'running', True, 'weak+randaugment:2:5'),
    ('stl', 'published', 'running', False, 'weak+autoaugment_published'),
  ],
)
def test_how_networks_are_run(name, recipe, statistics, joint, strong):
  method = methods.make(name, recipe=recipe)
  assert (method.teacher_statistics, method.joint, method.views.get('strong')) == (
    statistics,
    joint,
    strong,
  )
  assert method.views['weak'] == 'weak'


@pytest.mark.parametrize('name', METHODS)
def test_nothing_but_ab_and_simkd_leaves_a_part_of_the_student_untrained(name):
  trains = methods.make(name).trains
  assert (
    trains(('student', 'stem_conv', 'kernel'))
    and trains(('student', 'stem_norm', 'scale'))
    and trains(('method', 'conv1'))
  )
  assert trains(('student', 'head', 'kernel')) == (name not in ('ab', 'simkd'))
