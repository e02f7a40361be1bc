"""Teachers of another image size, normalisation, architecture or order of classes, side by side."""

from __future__ import annotations

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import config as configuration
from kd_jax import methods, models
from kd_jax.config import each_teacher
from kd_jax.files.networks import save_network
from kd_jax.methods import classifier, plans
from kd_jax.models import predicting
from kd_jax.pytorch import names as torch_names
from kd_jax.pytorch import writer as torch_writer
from kd_jax.runs import evaluation, preparation, teacher_fit, teachers
from kd_jax.types import ConfigError, KdJaxError, NetworkSpec, Trained
from tests import tiny
from tests.knowing import knowing

# of a file that states its size, and of one that does not
SMALL = NetworkSpec('thin_resnet8', 3, (8, 8, 3), 'stage', (0.3, 0.4, 0.5), (0.2, 0.3, 0.4))
LARGE = NetworkSpec('thin_resnet14', 3, (32, 32, 3), 'block', (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
RUN = (16, 16, 3)
WANTED = NetworkSpec('thin_resnet8', 3, RUN)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  folder = tmp_path_factory.mktemp('teachers')
  small, large = (tiny.variables(models.build(spec)) for spec in (SMALL, LARGE))
  save_network(folder / 'small', SMALL, small, {'classes': ['c', 'a', 'b']})
  torch_writer.write(folder / 'large.pth', torch_names.to_torch(large, LARGE))
  return folder, small, large


def bilinear(image: np.ndarray, size: int) -> np.ndarray:
  """Return images resized by the triangle kernel, which is as wide as the pixels of the smaller."""
  matrix = np.zeros((size, image.shape[1]))
  scale = image.shape[1] / size
  width = max(scale, 1)
  for place in range(size):
    distance = np.abs(np.arange(image.shape[1]) + 0.5 - (place + 0.5) * scale) / width
    weights = np.maximum(1 - distance, 0)
    matrix[place] = weights / weights.sum()
  return np.einsum('hH,wW,bHWc->bhwc', matrix, matrix, image)


def config(folder, **changed):
  given = {
    'dataset': 'digits',
    'method': 'mkd',
    'mkd': {'teachers': 2},
    'teacher': 'thin_resnet8,thin_resnet14',
    'teacher_checkpoint': f'{folder}/small,{folder}/large.pth',
    'teacher_mean': LARGE.mean,
    'teacher_std': LARGE.std,
    'teacher_image_size': (0, 32),
  }
  return configuration.resolve(configuration.default(**given | changed))


@pytest.fixture(scope='module')
def loaded(files):
  return teachers.load(config(files[0]), WANTED, classes=['a', 'b', 'c'])


def image(count: int = 2) -> np.ndarray:
  return np.random.default_rng(0).random((count, *RUN)).astype(np.float32)


def test_each_sees_its_own_pictures(files, loaded):
  """One 8×8 and one 32×32 teacher, of 16×16 images; each by its own normalisation and weights."""
  _, small, large = files
  for trained, variables, spec, order in (
    (loaded['teacher1'], small, SMALL, [1, 2, 0]),
    (loaded['teacher2'], large, LARGE, [0, 1, 2]),
  ):
    # without its normalisation, which is done here beforehand
    seen = (bilinear(image(), spec.image_shape[0]) - spec.mean) / spec.std
    bare = models.build(spec._replace(mean=(), std=())).module
    wanted = bare.apply(variables, jnp.asarray(seen, jnp.float32), train=False)
    network = trained.network
    assert network.spec.image_shape == RUN and network.spec.name == spec.name
    given = network.module.apply(trained.variables, image(), train=False)
    np.testing.assert_allclose(given.logits, wanted.logits[:, np.array(order)], atol=1e-5)
    np.testing.assert_allclose(given.embedding, wanted.embedding, atol=1e-5)
    assert models.output_shapes(network).features[0].shape == (2, *wanted.features[0].shape[1:])


def test_what_is_done_is_said(loaded):
  said = [line for trained in loaded.values() for line in predicting.words(trained.network)]
  assert said == [
    'images of 16×16 are resized to the 8×8 pixels that it takes (bilinear)',
    'its classes have the names of this data set in another order, and are put into this one',
    'images of 16×16 are resized to the 32×32 pixels that it takes (bilinear)',
  ]


def test_of_a_method_that_takes_the_classifier_it_is_in_the_runs_order(loaded):
  network, variables = loaded['teacher1']
  head = classifier.classifier(models.info(network, variables=variables), 'srrl')
  there = variables['params']['head']
  np.testing.assert_array_equal(head['kernel'], there['kernel'][:, np.array([1, 2, 0])])
  np.testing.assert_array_equal(head['bias'], there['bias'][np.array([1, 2, 0])])


def test_a_network_of_another_spec_is_adapted_likewise(loaded):
  network = models.changed(loaded['teacher1'].network, {'relu_placement': 'block'})
  assert network.spec.relu_placement == 'block' and network.spec.image_shape == RUN
  around = predicting.adaptation(network)
  assert (around.size, around.order) == ((8, 8), (1, 2, 0))


def test_of_its_own_size_and_order_it_is_itself():
  network = models.build(SMALL)
  assert predicting.adapted(network, SMALL.image_shape) is network
  assert predicting.adaptation(network) is None and not [*predicting.words(network)]


def test_a_student_that_predicts_by_a_method_sees_its_own_size():
  network = predicting.through(
    models.build(SMALL), lambda own, outputs: outputs.logits * own.constants['factor'], ''
  )
  variables = tiny.variables(models.build(SMALL))
  method = {'params': {}, 'state': {}, 'constants': {'factor': jnp.asarray(2.0)}}
  given = predicting.adapted(network, RUN).module.apply(
    variables | {'method': method}, image(), train=False
  )
  seen = jnp.asarray(bilinear(image(), 8), jnp.float32)
  wanted = models.build(SMALL).module.apply(variables, seen, train=False)
  np.testing.assert_allclose(given.logits, 2 * wanted.logits, atol=1e-5)
  with pytest.raises(ConfigError, match='predicts by a method, and numbers the classes'):
    predicting.adapted(network, RUN, order=(1, 2, 0))


def test_the_fit_looks_at_the_pictures_that_it_sees():
  """The normalisation that is right at the teacher's own size is found from the run's pictures."""
  mean, std = teacher_fit.USUAL[3][3]
  true, guess = SMALL._replace(mean=mean, std=std), SMALL._replace(mean=(), std=())
  variables, part = knowing(true, image_shape=RUN)
  taken = Trained(predicting.adapted(models.build(guess), RUN), variables)
  found = teacher_fit.fitted(taken, part, fixed=['relu_placement']).network
  assert (found.spec.mean, found.spec.std, found.spec.image_shape) == (mean, std, RUN)
  assert predicting.seen_shape(found) == SMALL.image_shape


@pytest.mark.parametrize(
  ('changed', 'said'),
  [
    ({'teacher_image_size': (8, 32)}, 'teacher_image_size is for a file of weights alone, and'),
    ({'teacher_image_size': (8, 8, 8)}, 'teacher_image_size has values for 3 teachers'),
    ({'teacher': 'thin_resnet8'}, 'holds .*thin_resnet14|weights do not fit|weights'),
    ({'teacher_relu_placement': 'auto,block,stage'}, 'has values for 3 teachers'),
  ],
)
def test_keys_that_do_not_fit(files, changed, said):
  with pytest.raises(KdJaxError, match=said):
    teachers.load(config(files[0], **changed), WANTED, classes=['a', 'b', 'c'])


def test_it_teaches_in_its_own_type(loaded):
  key = {'teacher_dtype': 'bfloat16', 'teacher': 'thin_resnet8', 'student': 'thin_resnet8'}
  given = configuration.default(dataset='digits', validation_examples=100, **key)
  phase = preparation.prepare(configuration.resolve(given)).phases[-1]
  assert phase.student.compute_dtype == 'float32'
  teacher = loaded['teacher1']
  rounded = models.changed(teacher.network, phase.teacher_changes)

  def logits(network):
    return network.module.apply(teacher.variables, image(), train=False).logits

  plain, fast = logits(teacher.network), logits(rounded)
  chex.assert_trees_all_equal_dtypes(plain, fast)
  difference = float(jnp.abs(plain - fast).max() / jnp.abs(plain).max())
  assert 1e-5 < difference < 0.02, difference


def test_keys_of_one_teacher_each(files):
  given = config(
    files[0],
    teacher_relu_placement='auto,stage',
    teacher_mean=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    teacher_std=(1.0,) * 6,
    teacher_weights='raw,ema',
  )
  first, second = each_teacher.of(given, 3)
  assert first.spec == {'mean': (0.1, 0.2, 0.3), 'std': (1.0,) * 3} and first.weights == 'raw'
  assert second.spec == {'mean': (0.4, 0.5, 0.6), 'std': (1.0,) * 3, 'relu_placement': 'stage'}
  assert (second.weights, second.image_size, second.network) == ('ema', 32, 'thin_resnet14')


def test_teachers_of_one_architecture_each_are_trained(files):
  inputs = plans.PlanInputs(
    method='mkd',
    recipe='written',
    options={'mkd': {'teachers': 2}},
    student=WANTED,
    teacher=WANTED,
    more_teachers=(WANTED._replace(name='thin_resnet14'),),
    relu_placement='block',
    imported=('teacher1',),
    baseline=False,
    epochs=1,
    teacher_epochs=0,
    batch_size=4,
    optimiser=tiny.sgd(),
  )
  trained, student = plans.make(inputs)
  assert (trained.name, trained.student.name) == ('teacher2', 'thin_resnet14')
  assert student.teachers == ('teacher1', 'teacher2') and methods.teachers('mkd')[1] > 2


def test_no_other_network_s_program_is_taken_for_it():
  network = models.build(SMALL._replace(image_shape=RUN))
  others = (
    predicting.adapted(models.build(SMALL), RUN),
    predicting.adapted(models.build(SMALL._replace(image_shape=(32, 32, 3))), RUN),
    predicting.adapted(network, RUN, order=(1, 2, 0)),
  )
  assert len({each.spec for each in (network, *others)}) == 1
  assert len({evaluation.identified(each) for each in (network, *others)}) == 4
