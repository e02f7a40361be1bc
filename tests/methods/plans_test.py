"""The phases that a configuration comes to."""

from __future__ import annotations

import pytest

from kd_jax import methods, models
from kd_jax.methods import METHODS, RECIPES, plans
from kd_jax.types import ConfigError, NetworkSpec, OptimiserSpec

STUDENT, TEACHER = (
  NetworkSpec(name, 10, (32, 32, 3), mean=(0.5,) * 3, std=(0.2,) * 3)
  for name in ('resnet8', 'resnet26')
)
ROLES = ('teacher', 'baseline', 'student', 'stage')


def inputs(method: str = 'kd', **changed) -> plans.PlanInputs:
  common = {
    'recipe': 'written',
    'options': {},
    'student': STUDENT,
    'teacher': TEACHER,
    'relu_placement': 'block',
    'imported': (),
    'baseline': False,
    'epochs': 20,
    'teacher_epochs': 0,
    'batch_size': 128,
    'optimiser': OptimiserSpec(),
  }
  return plans.PlanInputs(method=method, **{**common, **changed})


def phases(method: str = 'kd', **changed):
  return plans.make(inputs(method, **changed))


def named(made) -> list[str]:
  return [phase.name for phase in made]


class TestNokd:
  def test_is_one_phase_without_teachers(self):
    (phase,) = phases('nokd')
    assert (phase.name, phase.role, phase.method_name, phase.teachers) == (
      'student',
      'student',
      'nokd',
      (),
    )
    assert (phase.student, phase.epochs, phase.shares) == (STUDENT, 20, {'train': 128})
    assert phase.start is None and phase.stop is None and phase.optimiser == OptimiserSpec()

  def test_with_a_baseline(self):
    assert named(phases('nokd', baseline=True)) == ['baseline', 'student']


class TestKd:
  def test_trains_a_teacher_first(self):
    teacher, student = phases('kd')
    assert (teacher.name, teacher.role, teacher.method_name, teacher.student) == (
      'teacher',
      'teacher',
      'nokd',
      TEACHER,
    )
    assert (
      student.teachers == ('teacher',)
      and student.method_name == 'kd'
      and student.student == STUDENT
    )

  def test_a_baseline_has_the_students_budget(self):
    teacher, baseline, student = phases('kd', baseline=True, teacher_epochs=7)
    assert (baseline.role, baseline.method_name, baseline.teachers) == ('baseline', 'nokd', ())
    for field in ('student', 'epochs', 'shares', 'optimiser'):
      assert getattr(baseline, field) == getattr(student, field)
    assert teacher.epochs == 7 and student.epochs == 20

  def test_a_teacher_trains_as_long_as_the_student_unless_told(self):
    assert phases('kd')[0].epochs == 20

  def test_an_imported_teacher_is_not_trained(self):
    (student,) = phases('kd', imported=('teacher',))
    assert student.teachers == ('teacher',)
    assert named(phases('kd', imported=('teacher',), baseline=True)) == ['baseline', 'student']

  @pytest.mark.parametrize(
    ('method', 'recipe'),
    [
      ('kd', 'written'),
      ('ab', 'published'),
      ('takd', 'written'),
      ('kd+oh', 'written'),
      ('mkd', 'written'),
      ('ft', 'written'),
    ],
  )
  def test_every_teacher_computes_in_its_type_while_it_teaches_and_no_student(self, method, recipe):
    plain = phases(method, recipe=recipe)
    made = phases(method, recipe=recipe, teacher_dtype='bfloat16')
    same = phases(method, recipe=recipe, teacher_dtype=TEACHER.compute_dtype)
    assert same[-1].teacher_changes == plain[-1].teacher_changes
    for before, after in zip(plain, made, strict=True):
      # the paraphraser that FT makes is no network of its spec
      changes = after.teachers and after.teachers != ('paraphraser_teacher',)
      more = {'compute_dtype': 'bfloat16'} if changes else {}
      assert after.teacher_changes == {**before.teacher_changes, **more}
      assert after.student == before.student

  def test_options_and_recipe_reach_the_method(self):
    with pytest.raises(ConfigError, match='alpha'):
      phases('kd', options={'kd': {'alpha': 2.0}})


class TestAb:
  def test_two_phases_of_one_student(self):
    teacher, boundary, student = phases('ab')
    assert named((teacher, boundary, student)) == ['teacher', 'boundary', 'student']
    assert (boundary.role, boundary.epochs, student.epochs) == ('stage', 12, 8)
    assert student.start == 'boundary' and boundary.start is None
    assert (
      boundary.optimiser.schedule_options == {'drops': ()} and student.optimiser == OptimiserSpec()
    )
    assert not boundary.method.trains(('student', 'head', 'bias')) and student.method.trains(
      ('student', 'head', 'bias')
    )

  def test_published_moves_the_relus_of_its_first_phase_alone_and_adds_its_epochs(self):
    _, boundary, student = phases('ab', recipe='published', epochs=5)
    assert (boundary.epochs, student.epochs) == (10, 5)
    assert (
      boundary.student == STUDENT._replace(relu_placement='stem') and student.student == STUDENT
    )
    assert (boundary.teacher_changes, student.teacher_changes) == ({'relu_placement': 'stem'}, {})
    assert boundary.optimiser == student.optimiser == OptimiserSpec()  # each with its own drops

  @pytest.mark.parametrize(
    'changed',
    [
      {'epochs': 1},
      {'options': {'ab': {'boundary_epochs': 20}}},
      {'options': {'ab': {'boundary_share': 0.0}}},
      {'options': {'ab': {'boundary_share': 1.0}}},
      {'options': {'ab': {'boundary_added': True, 'boundary_share': 0.0}}},
    ],
    ids=str,
  )
  def test_each_phase_needs_an_epoch(self, changed):
    with pytest.raises(ConfigError, match='each phase needs at least one'):
      phases('ab', **changed)


class TestFitnet:
  def test_the_hint_first_then_the_whole_student(self):
    teacher, hint, student = phases('fitnet')
    assert named((teacher, hint, student)) == ['teacher', 'hint', 'student']
    assert (hint.role, hint.epochs, student.epochs) == ('stage', 8, 12)
    assert student.start == 'hint' and hint.start is None
    assert hint.optimiser.schedule_options == {'drops': ()}
    assert student.optimiser == OptimiserSpec()

  def test_a_baseline_draws_as_the_first_phase_does(self):
    _, baseline, _, _ = phases('fitnet', baseline=True)
    assert baseline.draws_as == 'hint'

  @pytest.mark.parametrize('name', ['resnet8', 'wrn10_1'])
  def test_the_hint_trains_up_to_its_stage_and_nothing_beyond(self, name):
    """A WRN's stage ends with the BatchNorm of the next stage's first block."""
    spec = STUDENT._replace(name=name)
    for stage in (1, 2):
      _, hint, student = phases('fitnet', student=spec, options={'fitnet': {'stage': stage}})
      params = models.shapes(models.build(spec))['params']
      trained = {
        path[:2] if path[0].startswith('stage') else path[:1]
        for path in leaves(params)
        if hint.method.trains(('student', *path))
      }
      blocks = {part[0] for part in trained}
      assert 'stem_conv' in blocks and f'stage{stage}_block1' in blocks
      beyond = {part for part in trained if part[0] > f'stage{stage}_block9'} - {('stem_conv',)}
      norms = {(f'stage{stage + 1}_block1', 'norm1')} if name == 'wrn10_1' else set()
      assert beyond - {('stem_norm',)} == norms
      assert hint.method.trains(('method', 'conv1', 'kernel'))
      assert all(student.method.trains(('student', *path)) for path in leaves(params))

  @pytest.mark.parametrize('recipe', ['published', 'official'])
  def test_one_phase_where_the_recipe_says_so(self, recipe):
    teacher, student = phases('fitnet', recipe=recipe)
    assert (student.name, student.epochs, student.start) == ('student', 20, None)
    assert student.settings['plan'] != phases('fitnet')[-1].settings['plan']

  def test_each_phase_needs_an_epoch(self):
    for changed in ({'epochs': 1}, {'options': {'fitnet': {'hint_share': 1.0}}}):
      with pytest.raises(ConfigError, match='each phase needs at least one'):
        phases('fitnet', **changed)

  def test_options_reach_both_phases(self):
    for chosen in ({'stage': 0}, {'temperature': 0.0}):
      with pytest.raises(ConfigError, match='fitnet'):
        phases('fitnet', options={'fitnet': chosen})

  def test_in_a_join_it_is_one_phase(self):
    teacher, student = phases('kd+fitnet')
    assert student.epochs == 20


def leaves(params, path=()):
  """The paths of the leaves of nested dicts."""
  for name, inside in params.items():
    if isinstance(inside, dict):
      yield from leaves(inside, (*path, name))
    else:
      yield (*path, name)


class TestTakd:
  def test_a_chain(self):
    teacher, assistant, student = phases('takd')
    assert named((teacher, assistant, student)) == ['teacher', 'assistant', 'student']
    assert assistant.student == TEACHER._replace(name='resnet20') and assistant.teachers == (
      'teacher',
    )
    assert student.teachers == ('assistant',) and student.student == STUDENT

  def test_a_longer_one(self):
    made = phases('takd', options={'takd': {'assistants': 'resnet20, resnet14'}})
    assert [(phase.name, phase.student.name, phase.teachers) for phase in made] == [
      ('teacher', 'resnet26', ()),
      ('assistant1', 'resnet20', ('teacher',)),
      ('assistant2', 'resnet14', ('assistant1',)),
      ('student', 'resnet8', ('assistant2',)),
    ]

  @pytest.mark.parametrize(
    ('teacher', 'assistant', 'placement'),
    [
      ('wrn16_4', 'resnet20', 'stage'),
      ('resnet26', 'wrn10_1', 'block'),
      ('resnet26', 'resnet20', 'stage'),
    ],
  )
  def test_an_assistants_relus_stand_where_its_own_kind_has_them(
    self, teacher, assistant, placement
  ):
    configured = {'relu_placement': 'stage', 'options': {'takd': {'assistants': assistant}}}
    spec = TEACHER._replace(name=teacher, relu_placement=models.relu_placement(teacher, 'stage'))
    _, between, _ = phases('takd', teacher=spec, **configured)
    assert between.student.relu_placement == placement
    models.build(between.student)

  def test_needs_an_assistant_that_is_a_network(self):
    with pytest.raises(ConfigError, match='names no network'):
      phases('takd', options={'takd': {'assistants': ' , '}})
    _, assistant, _ = phases('takd', options={'takd': {'assistants': 'resnet21'}})
    with pytest.raises(ConfigError, match="no network 'resnet21'"):
      models.build(assistant.student)


class TestMkd:
  def test_teachers_of_one_architecture(self):
    *teachers, student = phases('mkd')
    assert named(teachers) == ['teacher1', 'teacher2', 'teacher3'] and {
      t.student for t in teachers
    } == {TEACHER}
    assert student.teachers == ('teacher1', 'teacher2', 'teacher3')

  def test_those_that_are_there_are_not_trained(self):
    made = phases('mkd', imported=('teacher1', 'teacher2'))
    assert named(made) == ['teacher3', 'student'] and made[-1].teachers == (
      'teacher1',
      'teacher2',
      'teacher3',
    )

  def test_no_teachers(self):
    with pytest.raises(ConfigError, match='at least 1'):
      phases('mkd', options={'mkd': {'teachers': 0}})


class TestUnlabelled:
  def test_half_a_batch(self):
    assert phases('stl')[-1].shares == {'train': 64, 'unlabelled': 64}
    assert phases('stl', batch_size=5)[-1].shares == {'train': 3, 'unlabelled': 2}
    assert phases('stl')[0].shares == {'train': 128}

  def test_one_image_cannot_be_halved(self):
    with pytest.raises(ConfigError, match='batch_size is 1'):
      phases('stl', batch_size=1)

  def test_unlabelled_images_alone(self):
    assert phases('unsupervised')[-1].shares == {'unlabelled': 128}


class TestDual:
  def test_side_by_side_then_hinton(self):
    together, student = phases('dual')
    assert named((together, student)) == ['side_by_side', 'student']
    assert (together.role, together.teachers, together.epochs, student.epochs) == (
      'stage',
      (),
      10,
      10,
    )
    assert together.method.companion.spec == TEACHER and student.method.companion is None
    assert (
      student.teachers == (plans.companion_name('side_by_side'),)
      and student.start == 'side_by_side'
    )
    assert (
      together.optimiser.schedule_options == {'drops': ()} and student.optimiser == OptimiserSpec()
    )

  def test_the_first_ends_when_the_teacher_leads_and_the_second_when_the_student_meets_it(self):
    together, student = phases('dual', options={'dual': {'lead': 0.25}})
    assert [together.stop(0.5, teacher) for teacher in (0.25, 0.5, 0.625, 0.75, 0.875)] == [
      False,
      False,
      False,
      True,
      True,
    ]
    assert [student.stop(own, 0.5) for own in (0.25, 0.5, 0.625)] == [False, True, True]

  def test_a_lead_that_is_just_reached_counts(self):
    together, _ = phases('dual')
    pairs = [(of, of + 100) for of in range(4900)]  # right of 5,000 images: 2 points apart
    assert all(together.stop(own / 5000, teacher / 5000) for own, teacher in pairs)
    assert not any(together.stop((own + 1) / 5000, teacher / 5000) for own, teacher in pairs)

  def test_a_teacher_that_is_there_teaches_at_once(self):
    baseline, student = phases('dual', imported=('teacher',), baseline=True)
    assert (student.teachers, student.epochs, student.start) == (('teacher',), 20, None)
    assert student.stop(0.5, 0.5) and not student.stop(0.25, 0.5)
    assert baseline.stop is None

  @pytest.mark.parametrize(
    'changed',
    [
      {'epochs': 1},
      {'options': {'dual': {'side_by_side_share': 0.0}}},
      {'options': {'dual': {'side_by_side_share': 1.0}}},
    ],
    ids=str,
  )
  def test_each_phase_needs_an_epoch(self, changed):
    with pytest.raises(ConfigError, match='each phase needs at least one'):
      phases('dual', **changed)

  @pytest.mark.parametrize('lead', [-0.01, 1.0, float('nan')])
  def test_a_lead_is_a_difference_of_accuracies(self, lead):
    with pytest.raises(ConfigError, match='difference of accuracies'):
      phases('dual', options={'dual': {'lead': lead}})


class TestJoin:
  def test_trains_one_student(self):
    teacher, student = phases('kd+0.5*ab')
    assert (teacher.method_name, student.method_name, student.name) == (
      'nokd',
      'kd+0.5*ab',
      'student',
    )

  @pytest.mark.parametrize('name', ['takd', 'mkd', 'stl', 'unsupervised', 'dual'])
  def test_of_methods_with_plans_of_their_own_is_refused(self, name):
    with pytest.raises(ConfigError, match=f"'{name}' trains in several phases"):
      phases(f'kd+{name}')


@pytest.mark.parametrize('recipe', RECIPES)
@pytest.mark.parametrize('baseline', [False, True])
@pytest.mark.parametrize('name', METHODS)
class TestEvery:
  def made(self, name, baseline, recipe):
    return phases(name, baseline=baseline, recipe=recipe)

  def test_names_are_unique_and_refer_to_what_came_before(self, name, baseline, recipe):
    made, there = self.made(name, baseline, recipe), set()
    for phase in made:
      assert phase.name not in there and phase.role in ROLES and set(phase.teachers) <= there
      assert phase.start is None or phase.start in there
      assert phase.epochs >= 1 and all(share >= 1 for share in phase.shares.values())
      there.add(phase.name)
      if phase.method.companion:
        there.add(plans.companion_name(phase.name))

  def test_a_baseline_draws_as_the_students_first_phase(self, name, baseline, recipe):
    """The same weights, order and augmentation: what differs is the method alone."""
    made = self.made(name, baseline, recipe)
    first = next(phase.name for phase in made if phase.role in ('student', 'stage'))
    assert {phase.role: phase.draws_as for phase in made if phase.draws_as} == (
      {'baseline': first} if baseline else {}
    )

  def test_ends_with_the_student_and_has_a_baseline_where_wanted(self, name, baseline, recipe):
    made = self.made(name, baseline, recipe)
    assert (made[-1].name, made[-1].role, made[-1].method_name) == ('student', 'student', name)
    assert ('baseline' in named(made)) == baseline

  def test_the_student_has_as_many_teachers_as_its_method_takes(self, name, baseline, recipe):
    fewest, most = methods.teachers(name)
    assert fewest <= len(self.made(name, baseline, recipe)[-1].teachers) <= most

  def test_the_budget_is_the_students(self, name, baseline, recipe):
    """A student's phases add up to its epochs, so that it is compared with a baseline of as many;
    but AB's published ten more, FSP's official and FT's, whose first phase is the teacher's, an
    eighth.
    """
    own = [
      phase.epochs
      for phase in self.made(name, baseline, recipe)
      if phase.role in ('student', 'stage')
    ]
    added = {('ab', 'published'): 10, ('fsp', 'official'): 2, **{('ft', r): 2 for r in RECIPES}}
    assert sum(own) == 20 + added.get((name, recipe), 0)
