"""From config files to a validated Config: every mistake is one line."""

from __future__ import annotations

import dataclasses
import json

import ml_collections
import pytest

from kd_jax import config
from kd_jax.config import Config
from kd_jax.methods import METHODS
from kd_jax.train import optim
from kd_jax.types import ConfigError, KdJaxError, OptimiserSpec


def resolved(**changed) -> Config:
  return config.resolve(config.default(**changed))


def refused(match: str, **changed) -> None:
  with pytest.raises(ConfigError, match=match) as caught:
    resolved(**changed)
  assert len(str(caught.value).splitlines()) == 1


def test_what_is_shared_holds_no_paths(tmp_path):
  teachers = '/of/mine/a.pth, b.pth'
  shared = resolved(
    dataset=str(tmp_path), data_dir='/of/mine', cache_dir='/of/mine', teacher_checkpoint=teachers
  ).to_share()
  assert (
    shared['dataset'] == tmp_path.name
    and shared['teacher_checkpoint'] == 'a.pth,b.pth'
    and 'data_dir' not in shared
    and 'cache_dir' not in shared
  )
  assert resolved(dataset='mnist/corrupted').to_share()['dataset'] == 'mnist/corrupted'
  assert resolved(seed=3).to_share()['seed'] == 3


class TestDefault:
  def test_every_key_has_help_and_a_valid_default(self):
    assert all(field.metadata['help'].strip() for field in config.KEYS.values())
    assert {name: getattr(resolved(), name) for name in config.KEYS} == {
      n: f.default for n, f in config.KEYS.items()
    }

  def test_is_locked(self):
    made = config.default()
    with pytest.raises(AttributeError, match='locked'):
      made.epohs = 3
    with pytest.raises(AttributeError, match='locked'):
      made.kd.alhpa = 0.5

  def test_has_a_section_a_method_whose_options_follow_the_recipe_unless_set(self):
    made = config.default()
    for name in METHODS:
      assert set(made[name]) == set(config.options_of(name)) and not any(
        v is not None for v in made[name].values()
      )
    assert resolved(method='kd', recipe='official').options == {'kd': {}}

  @pytest.mark.parametrize('name', METHODS)
  def test_every_method_resolves(self, name):
    assert resolved(method=name).options == {name: {}}

  def test_an_unknown_key_is_named_with_what_was_meant(self):
    with pytest.raises(
      ConfigError, match="unknown configuration key 'batchsize'. Did you mean 'batch_size'"
    ):
      config.default(batchsize=3)

  def test_changes_do_not_reach_the_next_one(self):
    config.default(epochs=3).kd.alpha = 0.1
    assert resolved().epochs == 200 and resolved().options == {'kd': {}}


class TestResolve:
  def test_is_frozen(self):
    with pytest.raises(dataclasses.FrozenInstanceError):
      resolved().epochs = 3

  def test_an_integer_may_stand_for_a_number(self):
    assert resolved(learning_rate=1).learning_rate == 1

  @pytest.mark.parametrize(
    'changed',
    [
      {'student': 'resnet88'},
      {'teacher': 'resnet25'},
      {'recipe': 'writen'},
      {'parallel': 'pmapp'},
      {'relu_placement': 'blocks'},
      {'compute_dtype': 'bfloat'},
      {'teacher_dtype': 'float16'},
      {'teacher_relu_placement': ''},
      {'teacher_guess': 'fitted'},
      {'teacher_weights': 'averaged'},
      {'selection': 'tests'},
      {'optimiser': 'adam'},
      {'schedule': 'cosinus'},
      {'decay': 'kernel'},
      {'data_placement': 'gpu'},
    ],
    ids=str,
  )
  def test_names_are_checked_with_the_valid_ones(self, changed):
    ((name, value),) = changed.items()
    refused(f"unknown {name} '{value}'.*Valid: ", **changed)

  def test_did_you_mean(self):
    refused("Did you mean 'resnet8", student='resnet88')
    refused("Did you mean 'written'", recipe='writen')

  @pytest.mark.parametrize(
    'changed',
    [
      {'epochs': 0},
      {'batch_size': 0},
      {'log_every': 0},
      {'seed': -1},
      {'seed': 2**32},
      {'train_examples': -1},
      {'crop_padding': -1},
      {'teacher_epochs': -1},
      {'validation_examples': -1},
      {'eval_examples': -1},
      {'weight_decay': -1.0},
      {'weight_decay': float('nan')},
      {'weight_decay': float('inf')},
      {'learning_rate': 0.0},
      {'learning_rate': float('nan')},
      {'learning_rate': float('inf')},
      {'learning_rate_factor': 0.0},
      {'momentum': 1.0},
      {'momentum': -0.1},
      {'momentum': float('nan')},
      {'label_smoothing': 1.0},
      {'mixup': -1.0},
      {'cutmix': float('inf')},
      {'warmup': 1.0},
      {'ema': 1.0},
      {'ema': -0.1},
      {'clip': -1.0},
      {'accumulate': 0},
      {'patience': -1},
      {'learning_rate_drops': (0.5, 1.0)},
      {'learning_rate_drops': (200,)},
      {'learning_rate_drops': (0.0,)},
      {'learning_rate_drops': (float('nan'),)},
    ],
    ids=str,
  )
  def test_ranges(self, changed):
    refused(next(iter(changed)), **changed)

  @pytest.mark.parametrize(
    'changed',
    [
      {'seed': 2**32 - 1},
      {'seed': 0},
      {'epochs': 1},
      {'momentum': 0.0},
      {'weight_decay': 0.0},
      {'learning_rate_drops': ()},
      {'crop_padding': 0},
      {'train_examples': 0},
    ],
    ids=str,
  )
  def test_the_ends_of_the_ranges(self, changed):
    ((name, value),) = changed.items()
    assert getattr(resolved(**changed), name) == value

  @pytest.mark.parametrize(
    ('name', 'value'),
    [
      ('epochs', True),
      ('epochs', '3'),
      ('epochs', 2.5),
      ('student', 3),
      ('mean', 0.5),
      ('flip', 1),
      ('learning_rate', 'fast'),
      ('learning_rate', True),
    ],
  )
  def test_types(self, name, value):
    """A config file may return any ConfigDict, which need not keep types."""
    loose = ml_collections.ConfigDict({**config.default().to_dict(), name: value})
    with pytest.raises(ConfigError, match=f'^{name} is a'):
      config.resolve(loose)

  def test_a_config_of_a_few_keys_takes_the_other_defaults(self):
    made = config.resolve(ml_collections.ConfigDict({'epochs': 3}))
    assert made == dataclasses.replace(resolved(), epochs=3)

  def test_unknown_keys_of_a_loose_config(self):
    with pytest.raises(
      ConfigError, match="unknown configuration key 'epohs'. Did you mean 'epochs'"
    ):
      config.resolve(ml_collections.ConfigDict({'epohs': 3}))
    with pytest.raises(ConfigError, match="unknown option of kd 'alhpa'. Did you mean 'alpha'"):
      config.resolve(ml_collections.ConfigDict({'method': 'kd', 'kd': {'alhpa': 0.5}}))


class TestTogether:
  def test_selecting_on_validation_images_needs_some(self):
    refused('selection=validation needs validation_examples', validation_examples=0)
    assert resolved(validation_examples=0, selection='test').selection == 'test'

  def test_mean_and_std_go_together(self):
    refused('mean has 3 values and std 1', mean=(0.5, 0.5, 0.5), std=(0.2,))
    refused('standard deviations are greater than 0', mean=(0.5,), std=(0.0,))
    for bad in ('x', float('nan'), float('inf')):
      refused('mean holds finite numbers', mean=(bad,), std=(1.0,))
      refused('std holds finite numbers', mean=(0.5,), std=(bad,))

  def test_an_option_of_another_method(self):
    made = config.default(method='kd')
    made.oh.weight = 1e-4
    with pytest.raises(ConfigError, match="oh.weight is set, but the method is 'kd'"):
      config.resolve(made)

  def test_options_reach_the_config_and_are_checked_by_their_method(self):
    made = config.default(method='kd')
    made.kd.alpha = 0.3
    assert config.resolve(made).options == {'kd': {'alpha': 0.3}}
    made.kd.alpha = 3.0
    with pytest.raises(KdJaxError, match='alpha'):
      config.resolve(made)

  def test_a_join_takes_the_options_of_its_parts(self):
    made = config.default(method='kd+0.5*oh')
    made.kd.alpha, made.oh.weight = 0.3, 1e-4
    assert config.resolve(made).options == {'kd': {'alpha': 0.3}, 'oh': {'weight': 1e-4}}

  @pytest.mark.parametrize(
    ('method', 'match'),
    [
      ('kdd', "unknown method 'kdd'"),
      ('kd+kd', 'names kd twice'),
      ('x*kd', "'x' is no weight"),
      ('-1*kd', 'not greater than 0'),
      ('0*kd', 'not greater than 0'),
      ('inf*kd', 'not greater than 0'),
      ('', 'unknown method'),
      ('kd+', 'unknown method'),
    ],
  )
  def test_methods_that_cannot_be_read(self, method, match):
    with pytest.raises(KdJaxError, match=match) as caught:
      resolved(method=method)
    assert len(str(caught.value).splitlines()) == 1


class TestJson:
  def test_round_trips(self):
    made = config.default(method='kd+oh', mean=(0.5,), std=(0.25,), learning_rate_drops=(0.5,))
    made.kd.alpha = 0.3
    stored = config.resolve(made).for_json()
    assert json.loads(json.dumps(stored)) == stored
    assert set(stored) == {*config.KEYS, 'options'}
    assert stored['options'] == {'kd': {'alpha': 0.3}, 'oh': {}} and stored['mean'] == [0.5]
    assert not config.difference(stored, config.resolve(made).for_json())
    assert config.from_json(json.loads(json.dumps(stored))) == config.resolve(made)

  def test_what_an_older_version_did_not_know_has_its_default(self):
    stored = resolved(flip=False).for_json()
    del stored['batch_size']
    assert config.from_json(stored) == resolved(flip=False)

  @pytest.mark.parametrize(
    'stored', [{'epoch': 3}, {'epochs': 'many'}, {'student': 'resnet9'}], ids=str
  )
  def test_what_is_no_configuration_is_refused(self, stored):
    with pytest.raises(ConfigError):
      config.from_json(stored)


class TestDifference:
  def test_names_what_makes_another_run(self):
    changed = config.difference(resolved().for_json(), resolved(epochs=3, seed=1).for_json())
    assert sorted(changed) == ['epochs: 200 → 3', 'seed: 0 → 1']

  @pytest.mark.parametrize(
    'changed',
    [
      {'data_dir': '/elsewhere'},
      {'cache_dir': '/elsewhere'},
      {'download': False},
      {'data_placement': 'host'},
      {'parallel': 'pmap'},
      {'log_every': 7},
    ],
    ids=str,
  )
  def test_some_keys_may_change(self, changed):
    assert not config.difference(resolved().for_json(), resolved(**changed).for_json())
    assert set(changed) <= set(config.FREE)

  def test_options_count(self):
    made = config.default()
    made.kd.alpha = 0.3
    assert config.difference(resolved().for_json(), config.resolve(made).for_json())

  def test_a_key_of_a_newer_version(self):
    stored = resolved().for_json()
    del stored['flip']
    assert not config.difference(stored, resolved().for_json())  # it did what the default says
    assert config.difference(stored, resolved(flip=False).for_json()) == ['flip: True → False']

  def test_a_key_of_another_version_counts(self):
    assert config.difference(resolved().for_json() | {'unheard_of': 1}, resolved().for_json()) == [
      'unheard_of: 1 → None'
    ]


def test_the_optimiser_of_a_run():
  made = resolved(
    learning_rate=0.2,
    momentum=0.8,
    weight_decay=1e-3,
    learning_rate_drops=(0.5,),
    learning_rate_factor=0.3,
  )
  assert made.optimiser_spec() == OptimiserSpec(
    learning_rate=0.2,
    options={'momentum': 0.8, 'nesterov': True, 'weight_decay': 1e-3},
    schedule_options={'drops': (0.5,), 'factor': 0.3},
  )
  assert optim.described(resolved().optimiser_spec()) == optim.described(OptimiserSpec())


def test_an_optimiser_and_a_schedule_of_today():
  made = resolved(
    optimiser='adamw',
    weight_decay=0.05,
    optimiser_options='beta2=0.95, epsilon=1e-6',
    schedule='cosine',
    schedule_options='final=1e-5',
    warmup=0.1,
    clip=1.0,
    decay='kernels',
    ema=0.999,
    accumulate=2,
  )
  assert made.optimiser_spec() == OptimiserSpec(
    name='adamw',
    options={'weight_decay': 0.05, 'beta2': 0.95, 'epsilon': 1e-6},
    schedule='cosine',
    schedule_options={'final': 1e-5},
    warmup=0.1,
    clip=1.0,
    decay='kernels',
    ema=0.999,
    accumulate=2,
  )


@pytest.mark.parametrize(
  ('changed', 'match'),
  [
    ({'optimiser': 'adamw', 'momentum': 0.8}, 'momentum is of optimiser=sgd'),
    ({'optimiser': 'adamw', 'nesterov': False}, 'nesterov is of optimiser=sgd'),
    ({'schedule': 'cosine', 'learning_rate_drops': (0.5,)}, 'drops is of schedule=steps'),
    ({'optimiser_options': 'beta2=0.95'}, "'beta2' is no option of sgd"),
    ({'optimiser_options': 'momentum 0.5'}, 'optimiser_options is name=value'),
    ({'schedule_options': 'final'}, 'schedule_options is name=value'),
    ({'schedule': 'cosine', 'schedule_options': 'end=0'}, "'end' is no option of cosine"),
    ({'schedule': 'one_cycle', 'warmup': 0.1}, 'set warmup=0'),
    ({'optimiser': 'optax:sgd'}, 'set weight_decay=0'),
    ({'optimiser': 'optax:sgdd', 'weight_decay': 0}, "has no 'sgdd'"),
    ({'alternating_flip': True, 'flip': False}, 'set flip=True'),
    ({'augment': 'cutout'}, "'cutout' in the augmentation"),
    ({'augment': 'weak'}, 'leave weak out'),
    ({'learning_rate_drops': (150, 200, 210)}, 'epochs from 1 to less than 200'),
  ],
)
def test_what_does_not_go_together(changed, match):
  refused(match, **changed)


def test_keys_may_be_nested_or_dotted():
  nested, dotted = resolved(kd={'alpha': 1}), resolved(**{'kd.alpha': 1.0})
  assert nested == dotted and nested.options['kd'] == {'alpha': 1.0}
  assert resolved(mean=[0.5, 0.5, 0.5], std=[1, 1, 1]).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
  ('changed', 'match'),
  [
    ({'epochs': 'many'}, "epochs is a int, such as 200, not 'many'"),
    ({'kd': {'alhpa': 1.0}}, "unknown option of kd 'alhpa'. Did you mean 'alpha'?"),
    ({'kdd.alpha': 1.0}, "unknown configuration key 'kdd'. Did you mean 'kd'?"),
    ({'kd.alpha': 'half'}, "kd.alpha is a float, such as 0.5, not 'half'"),
    ({'kd': 3}, "unknown configuration key 'kd'"),
  ],
)
def test_wrong_keys_are_one_line(changed, match):
  refused(match, **changed)


def test_what_a_key_may_be():
  assert config.choices('flip') == ('True', 'False') and 'kd' in config.choices('method')
  assert 'resnet8' in config.choices('student') and config.choices('epochs') == ()
