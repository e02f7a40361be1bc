"""The faults of tests.mutants: each is one line that goes wrong, and the test that has to notice.

The first ten of METHODS and STEP once lived. A fault that passes shows a gap in the tests: write
the test, not another fault.
"""

from __future__ import annotations

from typing import NamedTuple

from tests import mutant_strangers


class Mutant(NamedTuple):
  """`old`, which stands once in `file`, becomes `new`; `test` has to fail then."""

  file: str
  old: str
  new: str
  test: str


_HAND, _STEP, _OPTIM = (
  'tests/methods/by_hand_test.py::',
  'tests/train/step_test.py::',
  'tests/train/optim_test.py::',
)
_UPDATES = 'tests/train/updates_test.py::'
_FIFTY = _UPDATES + 'TestFiftySteps::test_are_those_recorded_of_torch'
_LOGITS, _FEATURES, _RELATIONAL = (
  f'tests/losses/{name}_test.py::' for name in ('logits', 'features', 'relational')
)
_FIELD = 'tests/methods/by_hand_field_test.py::'
_MODULES = 'tests/methods/by_hand_modules_test.py::'
_CRD, _NEGATIVES, _LEVELS = (
  f'tests/methods/{name}_test.py::' for name in ('crd', 'negatives', 'by_hand_levels')
)
_PHASED = 'tests/methods/phased_test.py::'
_CONVOLVED = 'tests/models/convolution_test.py::test_equals_flaxs_in_value_and_gradients'
_ON_LARGE_MAPS = 'tests/models/convolution_test.py::test_gradients_on_large_maps_are_xlas_own'
_CONTRAST = 'tests/losses/contrast_test.py::'
_SOFT, _SIMILAR = (f'tests/losses/{name}_test.py::' for name in ('soft_labels', 'similarity'))
_STATISTICS, _ANALYSIS = (f'tests/measures/{name}_test.py::' for name in ('statistics', 'analysis'))
_TABLES = 'tests/report/study_tables_test.py::'
_BANK = 'tests/methods/memory_bank_test.py::'
_QUANTISED = 'tests/deploy/quantised_test.py::'
_LAYOUTS = 'tests/data/layouts_test.py::'
_DEIT = 'tests/methods/deit_test.py::'
_LONGER = 'tests/runs/longer_test.py::'
_STORED = 'tests/runs/stored_size_test.py::'
_HASHES = 'tests/studies/workers_test.py::test_what_changes_a_phase_changes_its_hash'


def _of(file: str, *faults: tuple[str, str, str]) -> list[Mutant]:
  return [Mutant(file, *fault) for fault in faults]


METHODS = [
  *_of(
    'kd_jax/methods/base.py',
    (
      'jnp.asarray(sum(divergences) / len(divergences))',
      'jnp.asarray(sum(divergences))',
      _HAND + 'test_mkd_takes_the_mean_over_its_teachers',
    ),
    ('return temperature**2 * reduce.mean', 'return temperature * reduce.mean', _HAND + 'test_kd'),
    (
      'for option, value in weights.items():',
      'for option, value in list(weights.items())[:1]:',
      'tests/methods/weights_test.py::test_a_weight_below_0_is_refused',
    ),
    (
      'return (label >= 0).astype(jnp.float32)',
      'return (label >= -1).astype(jnp.float32)',
      _HAND + 'test_kd',
    ),
    (
      'tuple(jax.nn.relu(feature) for feature',
      'tuple(jax.nn.leaky_relu(feature) for feature',
      _HAND + 'test_pkd',
    ),
  ),
  *_of(
    'kd_jax/methods/dkd.py',
    (
      'term(target, logits.target_class_kl)',
      'term(others, logits.target_class_kl)',
      _HAND + 'test_dkd',
    ),
    (
      'term(others, logits.other_classes_kl)',
      'term(target, logits.other_classes_kl)',
      _HAND + 'test_dkd',
    ),
  ),
  *_of(
    'kd_jax/methods/base.py',
    (
      'share = jnp.maximum(epoch / 20, 12 * progress)',
      'share = jnp.minimum(epoch / 20, 12 * progress)',
      _FIELD + 'test_of_a_short_run_the_warm_up_is_a_twelfth',
    ),
    (
      'return jnp.minimum(share, 1) * term',
      'return share * term',
      _FIELD + 'test_a_warm_up_counts_epochs_from_1_and_ends',
    ),
  ),
  *_of(
    'kd_jax/methods/kd.py',
    ('standardised(o) if standardise', 'o if standardise', _FIELD + 'test_kd_standardised'),
    ('alpha * weight * divergence', 'alpha * divergence', _FIELD + 'test_kd_standardised'),
  ),
  *_of(
    'kd_jax/methods/dist.py',
    ('whole(own, inputs.axis).T', 'whole(own, inputs.axis)', _FIELD + 'test_dist'),
    ('weight * temperature**2', 'weight * temperature', _FIELD + 'test_dist'),
  ),
  *_of(
    'kd_jax/methods/ttm.py',
    (
      'exponent=exponent) * apart',
      'exponent=1.0) * apart',
      _FIELD + 'test_wttm_weighs_the_examples',
    ),
  ),
  *_of(
    'kd_jax/methods/nkd.py',
    ('others * temperature**2 * mean(rest)', 'others * mean(rest)', _FIELD + 'test_nkd'),
  ),
  *_of(
    'kd_jax/methods/rld.py',
    ('weight * at**2 * mean', 'weight * temperature**2 * mean', _FIELD + 'test_rld'),
  ),
  *_of(
    'kd_jax/methods/wsld.py',
    (
      'label_doubt(*given, label) * soft',
      'label_doubt(*given, label) + soft',
      _FIELD + 'test_wsld',
    ),
  ),
  *_of(
    'kd_jax/methods/fitnet.py',
    (
      'mean_squared_error(jax.nn.relu(regressed), target)',
      'mean_squared_error(regressed, target)',
      _FIELD + 'test_fitnet',
    ),
    (
      'path[1:] in up_to_stage(student, stage)',
      'True',
      'tests/methods/plans_test.py::TestFitnet::'
      'test_the_hint_trains_up_to_its_stage_and_nothing_beyond',
    ),
  ),
  *_of(
    'kd_jax/methods/review.py',
    ('min(widest, own', 'min(512, own', _MODULES + 'test_a_narrower_review'),
  ),
  *_of(
    'kd_jax/methods/fsp.py',
    ('(stem, *own), (other, *target)', 'own, target', _PHASED + 'test_fsp'),
    (
      "jax.nn.relu(outputs.layers['stem_norm'])",
      "outputs.layers['stem_norm']",
      _PHASED + 'test_fsp',
    ),
    ('if own != target:', 'if False:', _PHASED + 'test_other_widths_are_refused_in_one_line'),
    (
      'path[1:] in up_to_stage(student, 0)',
      'True',
      _PHASED + 'TestFspsPhases::test_the_flow_trains_all_but_the_classifier',
    ),
  ),
  *_of(
    'kd_jax/methods/ft.py',
    (
      "jax.lax.stop_gradient(variables.params[PARAPHRASER]['encoder'])",
      "variables.params[PARAPHRASER]['encoder']",
      _PHASED + 'test_the_student_does_not_reach_the_paraphraser',
    ),
    (
      "{**info.variables['params'], PARAPHRASER: made['params']}",
      "{PARAPHRASER: made['params']}",
      'tests/methods/resume_test.py::test_the_teacher_of_ft_is_saved_with_its_paraphraser',
    ),
    (
      "path[:2] == ('method', PARAPHRASER)",
      "path[0] == 'method'",
      _PHASED + 'test_the_first_phase_trains_the_paraphraser_alone',
    ),
    ('normalised=True, dtype', 'normalised=False, dtype', _PHASED + 'test_ft_in_one_phase'),
  ),
  *_of(
    'kd_jax/models/factors.py',
    ('nn.leaky_relu(x, 0.1)', 'nn.relu(x)', _PHASED + 'test_ft_in_one_phase'),
    ('max(int(width * share), 1)', 'int(width * share)', _PHASED + 'test_a_factor_has_a_channel'),
  ),
  *_of(
    'kd_jax/methods/phased.py',
    (
      'rest = inputs.epochs if flow_added else',
      'rest =',
      _PHASED + 'TestFspsPhases::test_official_adds_its_epochs',
    ),
    (
      'inputs.imported_specs.get(teachers[0], inputs.teacher)',
      'inputs.teacher',
      _PHASED + 'TestFtsPhases::test_an_imported_teacher_keeps_its_own_network',
    ),
    (
      'paraphraser_rate * inputs.optimiser.learning_rate',
      'inputs.optimiser.learning_rate',
      _PHASED + 'TestFtsPhases::test_the_paraphraser_first_then_the_student_for_all_epochs',
    ),
  ),
  *_of(
    'kd_jax/methods/stages.py',
    ('*after_relu((student.features[i]', '*((student.features[i]', _FIELD + 'test_attention'),
  ),
  *_of(
    'kd_jax/methods/sp.py', ('after_relu(o.features)[-1]', 'o.features[-1]', _FIELD + 'test_sp')
  ),
  *_of(
    'kd_jax/methods/crd.py',
    ('images * first)', 'first)', _CRD + 'test_two_steps_are_those_by_hand'),
    (
      'jnp.where(first > 0, first,',
      'jnp.where(first < 0, first,',
      _CRD + 'test_two_steps_are_those_by_hand',
    ),
    (
      "part(student, 'teacher')",
      "part(student, 'student')",
      _CRD + 'test_two_steps_are_those_by_hand',
    ),
    (
      'reduce.mean(apart, mask=counted,',
      'reduce.mean(apart,',
      _CRD + 'test_an_image_that_is_not_trained_on_does_not_count',
    ),
    (
      'contrast.renewed(state[bank], whole(example, inputs.axis)',
      'contrast.renewed(state[bank], (example)',
      _CRD + 'test_banks_and_normalisers_of_eight_devices_are_those_of_one',
    ),
  ),
  *_of(
    'kd_jax/methods/simkd.py',
    (
      'own, train=False',
      'own, train=True, mutable=["batch_stats"]',
      _MODULES + 'test_simkd_predicts_by_the_teachers_classifier_and_running_statistics',
    ),
    ('maps.equal_sizes(*after_relu(pair))', 'maps.equal_sizes(*pair)', _MODULES + 'test_simkd'),
    (
      'return logits + bias[None, :]',
      'return logits',
      'tests/methods/simkd_test.py::test_windows_of_two_by_two_go_to_the_classifier_in_its_order',
    ),
  ),
  *_of(
    'kd_jax/methods/classifier.py',
    (
      'predicting.bare(network) is network',
      'True',
      'tests/methods/simkd_test.py::test_it_teaches_by_its_predictions_but_lends_no_classifier',
    ),
    (
      'np.allclose(embed(map_), means, atol=0.02)',
      'embed(map_).shape == means.shape',
      'tests/methods/simkd_test.py::test_a_classifier_that_sees_something_else_is_refused',
    ),
  ),
  *_of(
    'kd_jax/models/reach.py',
    (
      "('method', 'params'), ('method', 'constants')",
      "('method', 'params')",
      'tests/methods/simkd_test.py::test_the_parameters_are_those_of_body_projector_and_classifier',
    ),
  ),
  *_of(
    'kd_jax/methods/review.py',
    (
      'own = (*after_relu(own[:-1]), own[-1]',
      'own = (*own[:-1], own[-1]',
      _MODULES + 'test_review',
    ),
    ('warmed(term, inputs, warmup_epochs)', 'term', _MODULES + 'test_review'),
  ),
  *_of(
    'kd_jax/models/review.py',
    ('deeper = block(maps', '_ = block(maps', _MODULES + 'test_review'),
    ('x = share[..., :1] * x + share[..., 1:] * y', 'x = x + y', _MODULES + 'test_review'),
    (
      'jnp.arange(wanted) * length // wanted',
      'jnp.arange(wanted) % length',
      _MODULES + 'test_the_nearest_place_is_that_of_torch',
    ),
  ),
  *_of(
    'kd_jax/losses/maps.py',
    ('weight /= 2', 'weight /= 1', _MODULES + 'test_only_windows_smaller_than_the_map_count'),
    ('+ jnp.log(variance)', '', _MODULES + 'test_vid'),
    ('bottom, top) / places', 'bottom, top)', _PHASED + 'test_fsp'),
    (
      'attention_map(teacher)).mean(-1)',
      'attention_map(teacher)).sum(-1)',
      _PHASED + 'test_ft_in_one_phase',
    ),
  ),
  *_of(
    'kd_jax/losses/similarity.py',
    (
      'return jnp.where(apart, 2 * jnp.log(jnp.where(apart, total, 1)), 0)',
      'return 2 * jnp.log(total)',
      _MODULES + 'test_equal_embeddings_have_no_distance_and_no_gradient',
    ),
  ),
  *_of(
    'kd_jax/methods/srrl.py',
    ("+ head['bias'][None, :]", '', _MODULES + 'test_srrl'),
    ('jax.nn.relu(connected[:, 0, 0])', 'connected[:, 0, 0]', _MODULES + 'test_srrl'),
  ),
  *_of(
    'kd_jax/models/regressor.py',
    ('relu(x, train=train) if number > 1 else x', 'x', _MODULES + 'test_vid'),
  ),
  *_of(
    'kd_jax/methods/negatives.py',
    (
      'place < of.first[label], place, place + own',
      'place < of.first[label], place, place',
      _NEGATIVES + 'test_they_have_other_classes_and_are_all_different',
    ),
    (
      'jnp.arange(count, dtype=jnp.int32) % others',
      'jnp.minimum(jnp.arange(count, dtype=jnp.int32), others - 1)',
      _NEGATIVES + 'test_where_there_are_too_few_each_comes_as_often_as_any_other',
    ),
    (
      'jax.random.fold_in(key, number)',
      'key',
      _NEGATIVES + 'test_a_draw_depends_on_the_key_and_the_number_and_not_on_the_place',
    ),
    (
      'ROUNDS = 8',
      'ROUNDS = 2',
      _NEGATIVES + 'test_each_is_drawn_as_often_as_any_other_and_so_is_each_pair',
    ),
  ),
  *_of(
    'kd_jax/losses/contrast.py',
    (
      '(ratios.shape[1] - 1) / examples',
      'ratios.shape[1] / examples',
      _CONTRAST + 'test_contrast_is_that_of_numpy_and_names_its_own_row_first',
    ),
    (
      'bank[of[1]] @ of[0])',
      'bank[of[1]] @ -of[0])',
      _CONTRAST + 'test_similarities_and_their_gradients_are_those_of_numpy',
    ),
    (
      'keep * bank[numbers] +',
      'bank[numbers] +',
      _CONTRAST + 'test_a_bank_is_renewed_at_the_numbers_alone',
    ),
  ),
  *_of(
    'kd_jax/methods/mlld.py',
    ('gram_distance(own.T, target.T)', 'gram_distance(own, target)', _LEVELS + 'test_mlld'),
    ('few_images * kl + of_strong', 'kl + of_strong', _LEVELS + 'test_mlld_as_released'),
    ('TEMPERATURES[3:])', 'TEMPERATURES[4:])', _LEVELS + 'test_mlld_as_released'),
  ),
  *_of(
    'kd_jax/methods/ctkd.py',
    ('still - strength', 'still + strength', _LEVELS + 'test_ctkds_temperature_climbs_the_loss'),
    ('lowest + span', 'span', _LEVELS + 'test_ctkd_begins_at_its_temperature'),
  ),
  *_of('kd_jax/methods/dense.py', ("params[role]['bias'][None, :]", '0.0', _FIELD + 'test_cc')),
  *_of(
    'kd_jax/methods/unlabelled.py',
    (
      'reduce.mean(agree, mask=without, axis=inputs.axis)',
      'reduce.mean(agree, mask=without * (agree > 0), axis=inputs.axis)',
      _HAND + 'test_stl_as_written_counts_the_unsure_images_in_its_mean',
    ),
    (
      'value / 4 for name',
      'value for name',
      _HAND + 'test_stl_as_published_is_a_quarter_of_four_terms',
    ),
    (
      "views = ('weak', 'strong') if unlabelled_strong else",
      "views = ('weak',) if unlabelled_strong else",
      _HAND + 'test_stl_as_published_is_a_quarter_of_four_terms',
    ),
  ),
  *_of(
    'kd_jax/methods/uda.py',
    (
      'share = 0.5 if averaged else 1.0',
      'share = 1.0',
      _HAND + 'test_uda_adds_its_views_up_as_written_and_averages_them_as_published',
    ),
  ),
  *_of(
    'kd_jax/methods/table.py',
    (
      "'normalised': True",
      "'normalised': False",
      _HAND + 'test_rkd_as_official_compares_the_pooled_feature_after_its_relu_at_length_1',
    ),
    (
      "_HEO = {'teacher_statistics': 'batch', ",
      "_HEO = {'teacher_statistics': 'running', ",
      _HAND + 'test_how_networks_are_run',
    ),
    (
      "{'averaged': True, **_AUTOAUGMENT}",
      "{'averaged': True}",
      _HAND + 'test_how_networks_are_run',
    ),
    (
      "_KD_OFFICIAL = {'alpha': 0.9, 'temperature': 4.0}",
      "_KD_OFFICIAL = {'alpha': 0.4, 'temperature': 9.0}",
      _HAND + 'test_kd',
    ),
  ),
  *_of(
    'kd_jax/methods/rkd.py',
    (
      'after_relu(outputs.features)[-1].mean',
      'outputs.features[-1].mean',
      _HAND + 'test_rkd_as_official_compares_the_pooled_feature_after_its_relu_at_length_1',
    ),
    (
      'attention_transfer(*after_relu(pair))',
      'attention_transfer(*pair)',
      _HAND + 'test_rkds_attention_is_after_the_relu',
    ),
    ('alpha=rank_scale)', 'alpha=3.0)', _HAND + 'test_rkds_rank_has_a_scale'),
    (
      "terms['distance'] = distance *",
      "terms['distance'] = angle *",
      _HAND + 'test_rkd_as_written_compares_what_the_classifier_sees',
    ),
  ),
  *_of(
    'kd_jax/methods/kd.py',
    (
      "'distillation': alpha * weight * divergence",
      "'distillation': (1 - alpha) * weight * divergence",
      _HAND + 'test_kd',
    ),
    (
      'divergence = divergence / temperature**2',
      'divergence = divergence / temperature',
      _HAND + 'test_kds_reductions',
    ),
  ),
  *_of(
    'kd_jax/methods/pkd.py',
    ('pairs if last else pairs[:-1]', 'pairs', _HAND + 'test_pkd'),
    ('_AUTHORS = 500 / 768', '_AUTHORS = 500', _HAND + 'test_pkd'),
    (
      '[size / sum(sizes) for size in sizes]',
      '[1 / len(sizes) for size in sizes]',
      _HAND + 'test_pkd',
    ),
  ),
  *_of(
    'kd_jax/methods/oh.py',
    ('w * features.overhaul_partial_l2', 'features.overhaul_partial_l2', _HAND + 'test_oh'),
    (
      "(norm['scale'], norm['bias'])",
      "(norm['bias'], norm['scale'])",
      _HAND + 'test_ohs_margin_is_the_mean_of_what_the_last_norm_leaves_negative',
    ),
  ),
  *_of(
    'kd_jax/methods/ab.py',
    (
      'trains=trains_body',
      'trains=lambda path: True',
      _HAND + 'test_nothing_but_ab_and_simkd_leaves_a_part_of_the_student_untrained',
    ),
  ),
  *_of(
    'kd_jax/methods/sfd.py',
    (
      '-(-block * many // few)',
      'block * many // few',
      'tests/methods/sfd_test.py::test_where_their_numbers_do_not_divide_a_block_meets_the_next_one',
    ),
    (
      'weight * differences[jnp.argmax(differences)]',
      'weight * differences.mean()',
      _HAND + 'test_sfd_as_published_is_the_largest_difference_of_each_layer',
    ),
  ),
  *_of(
    'kd_jax/methods/join.py',
    (
      '{term: weight * value for',
      '{term: value for',
      _HAND + 'test_a_join_weighs_its_parts_and_adds_no_term_twice',
    ),
  ),
]

LOSSES = [
  *_of(
    'kd_jax/losses/soft_labels.py',
    (
      '/ (logits.shape[-1] - 1)',
      '/ logits.shape[-1]',
      _SOFT
      + 'test_standardised_logits_have_mean_0_and_deviation_1_and_see_neither_shift_nor_scale',
    ),
    (
      'jax.nn.log_softmax(exponent * teacher_logits)',
      'jax.nn.log_softmax(teacher_logits) * exponent',
      _SOFT + 'test_transformed_is_a_temperature_of_the_teacher_alone',
    ),
    (
      'teacher_logits < of_label',
      'teacher_logits <= of_label',
      _SOFT + 'test_classes_that_the_teacher_ranks_above_the_label_are_not_taught',
    ),
    (
      'jnp.argmax(teacher_logits, axis=-1))',
      'labels)',
      _SOFT + 'test_confidence_is_the_teachers_in_its_own_choice',
    ),
    (
      'return jax.lax.stop_gradient(-jnp.expm1',
      'return (-jnp.expm1',
      _SOFT + 'test_doubt_is_small_where_the_student_knows_better_and_teaches_nothing',
    ),
  ),
  *_of(
    'kd_jax/losses/similarity.py',
    (
      'rows - rows.mean(-1, keepdims=True)',
      'rows - rows.mean(keepdims=True)',
      _SIMILAR + 'test_correlation_is_pearsons_and_sees_neither_shift_nor_scale',
    ),
    (
      'kernel / kernel.sum(-1, keepdims=True)',
      'kernel / kernel.sum()',
      'tests/verify/method_losses_test.py::test_every_term_agrees',
    ),
    (
      '/ max(len(apart) - 1, 1)',
      '/ len(apart)',
      _SIMILAR + 'test_congruence_multiplies_neighbours_and_is_0_for_one_example',
    ),
  ),
  *_of(
    'kd_jax/losses/maps.py',
    (
      'size = min(height, other_height), min(width, other_width)',
      'size = other_height, other_width',
      _SIMILAR + 'test_the_larger_map_is_averaged_whichever_it_is',
    ),
    (
      '- 2 * kernel(student, teacher)',
      '- kernel(student, teacher)',
      _SIMILAR + 'test_selectivity_does_not_see_the_order_of_channels',
    ),
  ),
  *_of(
    'kd_jax/losses/logits.py',
    (
      'jnp.where(labels >= 0, -picked, 0)',
      '-picked',
      _LOGITS + 'TestCrossEntropy::test_no_label_costs_nothing_and_teaches_nothing',
    ),
    (
      'return divergence.terms(teacher, student).sum(-1)',
      'return divergence.terms(student, teacher).sum(-1)',
      _LOGITS + 'TestKlDivergence::test_by_hand',
    ),
    ('other = ~jax.nn.one_hot(', 'other = 2 > jax.nn.one_hot(', _HAND + 'test_dkd'),
    (
      'jax.nn.softmax(logits).max(-1) > confidence',
      'jax.nn.softmax(logits / sharpening).max(-1) > confidence',
      'tests/losses/logits_more_test.py::test_consistency_judges_confidence_before_sharpening',
    ),
    (
      'logits = jax.lax.stop_gradient(logits)',
      'logits = logits + 0',
      _LOGITS + 'TestConsistency::test_the_plain_view_gets_no_gradient',
    ),
  ),
  *_of(
    'kd_jax/losses/divergence.py',
    (
      'jnp.maximum(target * ratio + difference, 0)',
      'target * ratio',
      'tests/losses/divergence_test.py::test_float32_keeps_its_digits',
    ),
  ),
  *_of(
    'kd_jax/losses/features.py',
    (
      'jnp.where(teacher > 0, margin - student',
      'jnp.where(teacher < 0, margin - student',
      _FEATURES + 'test_activation_boundary_by_hand',
    ),
    (
      '(student > target) | (target > 0)',
      '(student > target) & (target > 0)',
      _FEATURES + 'test_overhaul_partial_l2_by_hand',
    ),
    (
      'negative <= 0.001',
      'negative <= 0.01',
      _FEATURES + 'test_overhaul_margin_changes_branch_at_a_probability_of_a_thousandth',
    ),
    (
      '2.0 ** (i + 1 - stages)',
      '2.0 ** -i',
      _FEATURES + 'test_stage_weights_halve_from_the_deepest_stage',
    ),
    (
      'energy = jnp.square(feature).mean(-1)',
      'energy = jnp.abs(feature).mean(-1)',
      _HAND + 'test_rkds_attention_is_after_the_relu',
    ),
    (
      "'bilinear', antialias=False",
      "'bilinear', antialias=True",
      _FEATURES + 'test_interpolating_to_a_quarter_takes_no_antialiasing',
    ),
    (
      '_max(jnp.abs(student - teacher), axis=-1)',
      '_max(student - teacher, axis=-1)',
      _HAND + 'test_sfd_as_published_is_the_largest_difference_of_each_layer',
    ),
  ),
  *_of(
    'kd_jax/losses/relational.py',
    (
      'losses.sum() / _count(mask, losses.dtype) ** 2',
      'losses.sum() / jnp.maximum(_pairs(mask).sum(dtype=losses.dtype), 1)',
      _HAND + 'test_rkd_as_written_compares_what_the_classifier_sees',
    ),
    (
      '(own[:, None] + own[None, :] - squared) / 2',
      '(own[:, None] + own[None, :] - squared)',
      _RELATIONAL + 'test_angle_is_the_mean_over_all_triples_by_hand',
    ),
    (
      'jnp.where(pairs, -teacher_distances, -jnp.inf)',
      'jnp.where(pairs, -student_distances, -jnp.inf)',
      _HAND + 'test_rkds_rank_has_a_scale',
    ),
    ('reverse=True)', 'reverse=False)', _RELATIONAL + 'test_rank_by_hand'),
  ),
  *_of(
    'kd_jax/losses/reduce.py',
    (
      'count = jax.lax.pmean(count, axis)',
      'count = jax.lax.psum(count, axis)',
      'tests/losses/reduce_test.py::TestManyDevices::test_value',
    ),
    (
      'jnp.where(mask > 0, values * mask, 0)',
      '(values * mask)',
      'tests/losses/reduce_test.py::TestOneDevice::test_a_masked_value_may_be_anything',
    ),
  ),
]

STEP = [
  *_of(
    'kd_jax/train/step.py',
    (
      '_teacher_outputs(teacher, variables, views,',
      '_teacher_outputs(teacher, variables, dict.fromkeys(views, pixels / 255),',
      _STEP + 'TestTeachers::test_a_teacher_sees_the_crop_and_flip_that_the_student_sees',
    ),
    (
      '{view: jax.lax.stop_gradient(one(image))',
      '{view: (one(image))',
      _STEP + 'TestTeachers::test_a_teacher_gets_no_gradient_and_still_counts',
    ),
    (
      "if statistics == 'running':",
      "if statistics == 'batch':",
      _STEP + 'TestTeachers::test_running_or_batch_statistics',
    ),
    (
      'jax.random.fold_in(frozen.key, step)',
      'jax.random.fold_in(frozen.key, 0)',
      _STEP + 'TestByHand::test_each_step_draws_its_own_augmentation',
    ),
    (
      'variables = variables | changed',
      'variables = variables | {}',
      _STEP + 'TestViews::test_batch_norm_sees_the_views_together_or_one_after_the_other',
    ),
    (
      'step // frozen.epoch_steps + 1',
      'step // frozen.epoch_steps',
      _BANK + 'test_the_warm_up_follows_the_epochs',
    ),
    (
      'jax.random.fold_in(networks_key, jax.lax.axis_index(axis))',
      'networks_key',
      _STEP + 'TestStreams::test_each_device_draws_for_itself',
    ),
  ),
  *_of(
    'kd_jax/train/evaluation.py',
    (
      'counted = jnp.where(labels >= 0, mask, 0)',
      'counted = mask',
      _STEP + 'TestByHand::test_images_without_a_label_are_neither_right_nor_counted',
    ),
  ),
  *_of(
    'kd_jax/train/schedules.py',
    (
      'step = round((drop if drop < 1 else drop / span.epochs) * span.steps)',
      'step = int((drop if drop < 1 else drop / span.epochs) * span.steps)',
      _OPTIM + 'TestLearningRate::test_drops_at_a_third_and_two_thirds_rounded',
    ),
    (
      ' * span.steps) - span.warmup',
      ' * span.steps)',
      _UPDATES + 'TestWarmup::test_does_not_move_the_drops',
    ),
    ('top = rise * span.steps - 1', 'top = rise * span.steps', _FIFTY),
  ),
  *_of(
    'kd_jax/data/mixing.py',
    (
      'return row_of[partner[position]]',
      'return partner[position] % len(position)',
      'tests/data/mixing_test.py::test_devices_agree',
    ),
    (
      'smoothing) * jax.nn.one_hot(label, classes) + smoothing / classes',
      'smoothing) * jax.nn.one_hot(label, classes) + smoothing / (classes - 1)',
      'tests/data/mixing_test.py::TestSmoothing::test_is_that_of_torch',
    ),
    (
      'return kept, kept.mean()',
      'return kept, jax.random.uniform(share_key)',
      'tests/data/mixing_test.py::TestCutmix::test_a_box_is_the_partners_and_the_share_is_what_is_left',
    ),
  ),
  *_of(
    'kd_jax/train/optim.py',
    (
      'add_decayed_weights(weight_decay, mask)',
      'add_decayed_weights(weight_decay, lambda p: jax.tree.map(lambda x: x.ndim > 1, p))',
      _OPTIM + 'TestSgd::test_vectors_and_scalars_decay_as_matrices_do',
    ),
    ('nesterov=nesterov', 'nesterov=False', _OPTIM + 'TestSgd::test_fifty_steps_are_torchs'),
    ('optax.clip_by_global_norm(spec.clip)', 'optax.clip(spec.clip)', _FIFTY),
    ("path[-1].key == 'kernel'", "path[-1].key != 'kernel'", _FIFTY),
    (
      'schedule((number + 1) * every - 1)',
      'schedule(number * every)',
      _UPDATES + 'test_accumulated_steps_are_one_step_of_the_mean_gradient_at_the_last_ones_rate',
    ),
    ('jnp.where(update > 1, ', 'jnp.where(update > 0, ', _FIFTY),
    ('jnp.where((step + 1) % spec.accumulate == 0, kept, 1)', 'kept', _FIFTY),
    (
      "'keep': optax.set_to_zero()",
      "'keep': train",
      _OPTIM + 'TestSgd::test_what_is_not_trained_stays_bit_for_bit',
    ),
  ),
  *_of(
    'kd_jax/models/layers.py',
    (
      '* var * correction',
      '* var',
      'tests/models/layers_test.py::TestBatchNorm::test_the_running_variance_is_not_the_biased_one',
    ),
    (
      'keep = self.momentum',
      'keep = 1 - self.momentum',
      _STEP + 'TestByHand::test_counts_its_steps_and_moves_the_statistics',
    ),
    (
      'variances + jnp.square(means - mean[None])',
      'variances',
      'tests/models/layers_test.py::TestBatchNorm::test_over_an_axis_it_sees_the_whole_batch',
    ),
  ),
  *_of(
    'kd_jax/train/keys.py',
    (
      'zlib.crc32(name.encode())',
      '0',
      'tests/train/keys_test.py::test_every_use_in_a_run_has_a_key_of_its_own',
    ),
  ),
]

DATA = [
  *_of(
    'kd_jax/data/augment.py',
    (
      '0, 2 * padding + 1, jnp.int32',
      '0, 2 * padding, jnp.int32',
      'tests/data/augment_test.py::TestRandomCrop::test_draws_every_offset_about_equally_often',
    ),
    ('images[:, :, ::-1]', 'images[:, ::-1]', 'tests/data/augment_test.py::TestFlip::test_by_hand'),
  ),
  *_of(
    'kd_jax/data/pipeline.py',
    (
      'astype(jnp.float32) / 255',
      'astype(jnp.float32) / 256',
      'tests/data/pipeline_test.py::TestPreprocess::test_gives_a_view_a_policy_in_float32_between_0_and_1',
    ),
    (
      'jax.random.fold_in(jax.random.fold_in(key, source), number)',
      'jax.random.fold_in(key, source)',
      'tests/data/pipeline_test.py::TestOrder::test_passes_and_keys_differ',
    ),
  ),
  *_of(
    'kd_jax/data/splits.py',
    (
      'np.maximum(np.bincount(labels, minlength=classes) - 1, 0)',
      'np.bincount(labels, minlength=classes)',
      'tests/data/splits_test.py::test_hold_out_refuses_counts_that_cannot_be_balanced',
    ),
    (
      'favoured = np.argsort(class_rank',
      'favoured = np.argsort(classes',
      'tests/data/splits_test.py::test_balanced_subset_may_favour_any_class',
    ),
  ),
  *_of(
    'kd_jax/data/layouts.py',
    (
      'if [entry.name for entry in folders] != [_IMAGES] or _annotations(files):',
      'if [entry.name for entry in folders] != [_IMAGES]:',
      _LAYOUTS + 'TestTinyImageNet::test_test_images_with_annotations_test',
    ),
    (
      'found.setdefault(names[os.path.basename(file.path)], [])',
      'found.setdefault([*names.values()][0], [])',
      _LAYOUTS + 'TestTinyImageNet::test_labels_are_right',
    ),
    (
      "folders['test'] = folders.pop(chosen)",
      "folders['test'] = folders[chosen]",
      _LAYOUTS + 'TestSplits::test_val_tests_if_asked',
    ),
    (
      'split = _SPLITS[name.lower()]',
      'split = _SPLITS[name]',
      _LAYOUTS + 'TestSplits::test_their_names_may_be_in_any_case',
    ),
  ),
  *_of(
    'kd_jax/data/folders.py',
    (
      'source._replace(label=chosen[split][1])',
      'source',
      _LAYOUTS + 'TestTinyImageNet::test_labels_that_change_are_noticed',
    ),
  ),
  *_of(
    'kd_jax/data/folder_files.py',
    (
      'start.startswith(_BEGINNINGS)',
      'False',
      _LAYOUTS + 'TestOtherFiles::test_what_begins_like_an_image_is_refused',
    ),
  ),
  *_of(
    'kd_jax/methods/deit.py',
    ('teacher.logits.argmax(-1)', 'student.logits.argmax(-1)', _DEIT + 'TestLoss::test_hard'),
    (
      'outputs.layers.get(DISTILLATION_TOKEN, outputs.embedding)',
      'outputs.embedding',
      _DEIT + 'TestLoss::test_hard',
    ),
    ('return (both[0] + both[1]) / 2', 'return both[0]', _DEIT + 'test_predict_and_export_follow'),
  ),
  *_of(
    'kd_jax/models/vit.py',
    (
      'x[:, len(own) :]',
      'x[:, 1:]',
      _DEIT + 'test_the_token_stands_second_and_is_no_part_of_the_maps',
    ),
  ),
  *_of(
    'kd_jax/runs/longer.py',
    (
      'not np.array_equal(one, other)',
      'len(one) != len(other)',
      _LONGER + 'test_what_depends_on_the_epochs_is_refused',
    ),
    (
      'in (*other.teachers, other.start)',
      'in other.teachers[1:]',
      _LONGER + 'test_what_depends_on_the_epochs_is_refused',
    ),
  ),
  *_of(
    'kd_jax/runs/trial.py',
    (
      'return id(traced.invars[-1]) in needed',
      'return False',
      _LONGER + 'test_what_depends_on_the_epochs_is_refused',
    ),
  ),
  *_of(
    'kd_jax/data/pictures.py',
    (
      'cropping.centre(pixels, (height, width))[0]',
      'pixels[0][:height, :width]',
      _STORED + 'test_prediction_sees_the_middle_as_evaluation_does',
    ),
  ),
  *_of(
    'kd_jax/runs/logits_table.py',
    ('round(more / 2)', '0', _STORED + 'test_a_table_of_logits_holds_every_crop'),
  ),
  *_of(
    'kd_jax/data/sources.py',
    (
      'return side, stored_size or side',
      'return side, side',
      _LAYOUTS + 'TestStoredSize::test_images_are_kept_larger_than_networks_take_them',
    ),
  ),
  *_of(
    'kd_jax/data/roles.py',
    (
      'in (roles.validation, roles.test)',
      'in (roles.test,)',
      'tests/data/roles_test.py::TestUnlabelled::test_what_is_validated_or_tested_on_is_left_out_by_its_pixels',
    ),
    (
      'kept, train_examples, seed=seed, names',
      'kept, train_examples, seed=0, names',
      'tests/data/roles_test.py::TestAssign::test_a_subset_to_train_on_is_balanced_and_drawn_by_the_seed',
    ),
  ),
]

NUMBERS = [
  *_of(
    'kd_jax/measures/statistics.py',
    ('p * (len(values) - rank)', 'p * len(tested)', _STATISTICS + 'test_holm_by_hand'),
    (
      '_quantile(n - 1) * _deviation',
      '_quantile(n) * _deviation',
      _STATISTICS + 'test_a_mean_has_students_interval',
    ),
    (
      'paired = len(gaps) >= 2',
      'paired = False',
      _STATISTICS + 'test_rows_are_paired_where_seeds_are_common',
    ),
    ('/ (len(values) - 1))', '/ len(values))', _STATISTICS + 'test_a_mean_has_students_interval'),
    (
      'weight = 1 + z**2 / n',
      'weight = 1.0',
      _STATISTICS + 'test_an_accuracy_has_wilsons_interval',
    ),
    (
      'stats.binomtest(alone, alone + other)',
      'stats.binomtest(alone, n)',
      _STATISTICS + 'test_networks_on_the_same_images',
    ),
  ),
  *_of(
    'kd_jax/report/comparisons.py',
    (
      'if d and d.n >= FEWEST else None',
      'if d else None',
      _TABLES + 'test_two_seeds_decide_nothing',
    ),
  ),
  *_of(
    'kd_jax/files/study_records.py',
    (
      'passes=multiple * epochs',
      'passes=multiple',
      _TABLES + 'test_what_an_older_kd_jax_wrote_is_read_and_its_operations_are_left_out',
    ),
  ),
  *_of(
    'kd_jax/measures/analysis.py',
    (
      'abs(b.accuracy - b.confidence)',
      '(b.accuracy - b.confidence)',
      _ANALYSIS + 'test_reliability_by_hand',
    ),
    (
      'temperature = fitted(*validation)',
      'temperature = fitted(*test)',
      _ANALYSIS + 'test_the_temperature_is_that_of_the_validation_images_alone',
    ),
  ),
  *_of(
    'kd_jax/train/peaks.py',
    (
      'total += length * _further_turns',
      'total += _further_turns',
      'tests/train/peaks_test.py::test_every_turn_of_a_loop_counts',
    ),
  ),
]

SELECTION_AND_HASHES = [
  *_of(
    'kd_jax/files/atomic.py',
    (
      'file.close()  # before',
      'return file, draft  # before',
      'tests/files/atomic_test.py::test_a_draft_that_another_process_took_for_remains_is_made_anew',
    ),
    (
      'if draft.exists():  #',
      'if draft.name:  #',
      'tests/files/atomic_test.py::TestFolder::test_one_that_another_process_took_for_remains_is_made_anew',
    ),
    (
      '_locked(remains, wait=False)',
      'contextlib.nullcontext()',
      'tests/files/atomic_test.py::TestFolder::test_it_is_gone_at_the_end_and_so_are_remains_and_nothing_else',
    ),
  ),
  Mutant(
    'kd_jax/data/decoded.py',
    'atomic.remove_remains(file)',
    'atomic.locks.available()',
    'tests/data/decoded_test.py::test_what_a_killed_process_left_is_removed_and_nothing_else',
  ),
  *_of(
    'kd_jax/train/loop.py',
    (
      'value > progress.best_value',
      'value >= progress.best_value',
      'tests/train/loop_test.py::TestSelection::test_the_best_epoch_is_the_first_with_the_highest_metric',
    ),
  ),
  *_of(
    'kd_jax/studies/definition.py',
    (
      'means.index(max(means))',
      'means.index(min(means))',
      'tests/studies/definition_test.py::TestSweep::test_the_best_mean_is_run_at_the_rows_seeds',
    ),
  ),
  *_of(
    'kd_jax/studies/tasks.py',
    ("'crop_padding', 'flip', 'seed')", "'crop_padding', 'seed')", _HASHES),
    (
      "    'student': phase.student._asdict(),",
      "    'settings': {}, 'student': phase.student._asdict(),",
      _HASHES,
    ),
    (
      "in ('unlabelled_sha256', 'unlabelled_excluded')",
      "in ('unlabelled_sha256',)",
      'tests/runs/run_test.py::test_a_data_set_may_be_its_own_unlabelled_one',
    ),
    (
      'len(users[task.identity]) > 1',
      'len(users[task.identity]) > 0',
      'tests/studies/workers_test.py::test_a_teacher_is_free_only_where_another_row_has_it',
    ),
  ),
]

_VIT, _MOBILE, _NORMS, _BRIDGE = (
  f'tests/models/{name}_test.py::' for name in ('vit', 'mobilenet', 'norms', 'bridge')
)
_PUBLIC = 'tests/pytorch/networks_test.py::test_gives_the_logits_of_public_code_and_its_names_back'

_ADAPTED = 'tests/runs/adapted_teachers_test.py::'

NETWORKS = [
  *_of(
    'kd_jax/models/predicting.py',
    (
      'outputs.logits[:, list(self.order)]',
      'outputs.logits',
      _ADAPTED + 'test_each_sees_its_own_pictures',
    ),
    (
      "*self.size, image.shape[-1]), 'bilinear')",
      "*self.size, image.shape[-1]), 'nearest')",
      _ADAPTED + 'test_each_sees_its_own_pictures',
    ),
    (
      'return adapted(network, other.spec.image_shape,',
      'return adapted(network, network.spec.image_shape,',
      _ADAPTED + 'test_a_network_of_another_spec_is_adapted_likewise',
    ),
  ),
  *_of(
    'kd_jax/methods/classifier.py',
    (
      'leaf[..., list(around.order)]',
      'leaf',
      _ADAPTED + 'test_of_a_method_that_takes_the_classifier_it_is_in_the_runs_order',
    ),
  ),
  *_of(
    'kd_jax/models/variables.py',
    (
      'return jax.tree.map(lambda leaf: leaf, found)',
      'return found',
      'tests/models/variables_test.py::test_what_a_caller_changes_stays_with_it',
    ),
    (
      'rest, jnp.result_type(float))',
      'rest, None)',
      'tests/models/variables_test.py::'
      'test_another_batch_and_wider_numbers_have_shapes_of_their_own',
    ),
  ),
  *_of(
    'kd_jax/models/vit.py',
    ('nn.gelu(y, approximate=False)', 'nn.gelu(y)', _PUBLIC),
    ('query.shape[-1] ** -0.5', 'query.shape[-1] ** -1.0', _VIT + 'test_attention_by_hand'),
    (
      'broadcast_dims=(1, 2)',
      'broadcast_dims=(2,)',
      _VIT + 'test_stochastic_depth_leaves_out_branches_of_an_example',
    ),
    (
      '(number - 1) / max(self.depth - 1, 1)',
      'number / self.depth',
      _VIT + 'test_stochastic_depth_rises_with_the_blocks',
    ),
    (
      '{-(-depth * stage // _STAGES)',
      '{depth * stage // _STAGES',
      _VIT + 'test_the_ends_of_quarters',
    ),
    (
      'longer <= 14 * side',
      'longer < 14 * side',
      _VIT + 'test_the_side_of_a_patch_follows_from_the_images',
    ),
  ),
  *_of(
    'kd_jax/losses/soft_labels.py',
    (
      '[None] != labels[:, None]',
      '[None] >= 0',
      'tests/losses/soft_labels_test.py::'
      'test_the_label_is_no_lower_class_where_one_program_rounds_its_logit_twice',
    ),
  ),
  *_of(
    'kd_jax/models/three_by_three.py',
    ('[[1, 2], [3, 0]]', '[[1, 2], [0, 3]]', _ON_LARGE_MAPS),
    ('(ins, 3, 3, outs)[:, ::-1, ::-1]', '(ins, 3, 3, outs)', _CONVOLVED),
    ('padded[:, i : i + down : stride', 'padded[:, i : i + down : 1', _CONVOLVED),
    ('range(0, len(x), count)', 'range(0, count, count)', _ON_LARGE_MAPS),
  ),
  *_of(
    'kd_jax/models/norms.py',
    ('(1, 2, -1), self.epsilon', '(1, 2), self.epsilon', _NORMS + 'test_group_norm_by_hand'),
    (
      'convolution(x, gain)',
      'convolution(x)',
      _NORMS + 'TestConvolved::test_equals_one_after_the_other',
    ),
    (
      'x.astype(wide(self.dtype)).reshape',
      'x.reshape',
      _NORMS + 'test_statistics_are_of_float32_where_maps_are_not',
    ),
  ),
  *_of(
    'kd_jax/models/resnet.py',
    ('nn.max_pool(x, (3, 3)', 'nn.avg_pool(x, (3, 3)', _PUBLIC),
    (
      "if norm != 'batch':",
      "if norm == 'none':",
      _NORMS + 'TestResidualNetworks::test_keep_no_statistics',
    ),
  ),
  *_of(
    'kd_jax/models/mobilenet.py',
    (
      'CODES[code].strides[1 + row]',
      'CODES[code].strides[row]',
      _MOBILE + 'test_features_are_the_last_maps_of_a_size',
    ),
    ('jnp.minimum(relu(x, train=train), 6.0)', 'relu(x, train=train)', _MOBILE + 'test_relu6'),
  ),
  *_of(
    'kd_jax/models/depthwise.py',
    (
      'kernel[i, j].reshape',
      'kernel[j, i].reshape',
      _MOBILE + 'test_depthwise_is_the_grouped_convolution',
    ),
  ),
  *_of(
    'kd_jax/models/bridge.py',
    (
      "if train and self.is_mutable_collection('batch_stats'):",
      'if False:',
      _BRIDGE + 'test_computes_what_its_twin_does',
    ),
    (
      'return jax.random.fold_in(key, number)',
      'return jax.random.fold_in(jax.random.key(0), number)',
      _BRIDGE + 'test_what_it_draws_follows_from_the_key',
    ),
  ),
  *_of(
    'kd_jax/pytorch/recognition.py',
    (
      '>= _LARGE',
      '> _LARGE',
      'tests/pytorch/specs_test.py::test_rows_that_look_alike_are_told_apart_by_the_images',
    ),
  ),
  *(
    Mutant(f'kd_jax/{path}', old, new, f'tests/pytorch/{test}')
    for path, old, new, test in (
      (
        'pytorch/values.py',
        "_BUILTINS = ('builtins', '__builtin__')",
        '_BUILTINS = ()',
        'opaque_test.py::test_what_acts_on_the_machine_is_refused',
      ),
      (
        'models/resnet.py',
        '(around, around)',
        '(0, 2 * around)',
        'public_networks_test.py::test_logits_of_public_code',
      ),
      (
        'pytorch/names.py',
        '{**stated, **unstated}',
        '{**unstated, **stated}',
        'tensors_test.py::test_its_normalisation_is_taken_but_a_given_one_goes_before',
      ),
    )
  ),
  *(
    Mutant(f'kd_jax/{path}', old, new, f'tests/{test}')
    for path, old, new, test in (
      (
        'models/inverted.py',
        'starts = starts[1:]',
        'pass',
        'models/families_test.py::test_a_stage_ends_where_the_map_does',
      ),
      (
        'models/inverted.py',
        'if numbers.expanded != x.shape[-1]:',
        'if True:',
        'models/families_test.py::test_a_block_widens_and_adds_where_its_shapes_say',
      ),
      (
        'models/convnext.py',
        'approximate=False',
        'approximate=True',
        'models/families_test.py::test_a_convnext_block_by_hand',
      ),
      (
        'models/mobilenet_v3.py',
        "'timm': Code(1e-5, 0.9, True)",
        "'timm': Code(1e-3, 0.9, True)",
        'models/families_test.py::test_the_two_codes_of_mobilenet_v3_differ_in_batch_norm',
      ),
      (
        'models/efficientnet.py',
        "squeeze='silu'",
        "squeeze='relu'",
        'pytorch/families_test.py::test_logits_of_public_code_and_its_names_back',
      ),
      (
        'models/patches.py',
        'image[:, : rows * side, : columns * side]',
        'image[:, -rows * side :, : columns * side]',
        'models/families_test.py::test_what_is_left_of_an_image_counts_for_nothing',
      ),
      (
        'pytorch/spelling_inverted.py',
        "{'norm2': 'bn1', 'conv3': 'conv_pw', 'norm3': 'bn2'}",
        "{'norm2': 'bn2', 'conv3': 'conv_pw', 'norm3': 'bn1'}",
        'pytorch/families_test.py::test_logits_of_public_code_and_its_names_back',
      ),
      (
        'pytorch/specs.py',
        'recognition.of_row(found) != recognition.of_row(name)',
        'False',
        'pytorch/families_test.py::test_another_network_than_asked_for_is_called_by_its_name',
      ),
      (
        'models/shufflenet.py',
        'stride = 2 if self.imagenet else 1',
        'stride = 1',
        'models/families_test.py::test_shufflenet_at_the_strides_of_torchvision',
      ),
      (
        'pytorch/dialects.py',
        'enumerate((1, 2, 3, 4, 3, 3, 1))',
        'enumerate((1, 2, 3, 3, 4, 3, 1))',
        'pytorch/families_test.py::test_timms_mobilenet_v2_is_read_as_torchvisions',
      ),
      (
        'pytorch/second_head.py',
        "found[f'{_NAME}.weight'].T",
        "found[f'{_NAME}.weight'][::-1].T",
        'pytorch/second_head_test.py::test_a_distilled_file_predicts_by_both_classifiers',
      ),
      (
        'runs/teacher_fit.py',
        '_logits(models.rebuilt(trained.network, unnormalised))',
        '_logits(models.build(unnormalised))',
        'pytorch/second_head_test.py::test_the_usual_normalisations_are_tried_with_both_classifiers',
      ),
    )
  ),
]

STUDIES = [
  *_of(
    'kd_jax/studies/cifar100.py',
    (
      "'learning_rate_drops': (150 / 240, 180 / 240, 210 / 240)",
      "'learning_rate_drops': (160 / 240, 180 / 240, 210 / 240)",
      'tests/studies/cifar100_test.py::test_the_rate_falls_after_150_180_and_210_epochs',
    ),
    (
      'list(PAIRS).index(pair)',
      'list(PAIRS).index(pair) - 1',
      'tests/studies/cifar100_test.py::test_published_numbers',
    ),
  ),
  *_of(
    'kd_jax/runs/rows.py',
    (
      "best = max(loop.selecting(epoch, 'test_accuracy')",
      "best = max(loop.selecting(epoch, 'validation_accuracy')",
      'tests/runs/every_epoch_test.py::test_the_best_is_that_of_the_history',
    ),
  ),
  *_of(
    'kd_jax/studies/workers.py',
    (
      "whole = {p.run.row for p in planned if p.run.kind == 'final'} == {*study.only}",
      'whole = False',
      'tests/studies/rows_test.py::test_a_row_is_run_alone_and_the_others_later',
    ),
  ),
  *_of(
    'kd_jax/studies/definition.py',
    (
      'itertools.product(*row.sweep.values())',
      'zip(*row.sweep.values())',
      'tests/studies/definition_test.py::TestSweep::test_of_several_keys_every_combination_is_tried',
    ),
  ),
  *_of(
    'kd_jax/report/comparisons.py',
    (
      'statistics.holm([d.p if d and d.n >= FEWEST else None for d in differences])',
      '[d.p if d and d.n >= FEWEST else None for d in differences]',
      'tests/report/planted_test.py::test_of_many_comparisons_any_is_in_at_most_five_of_a_hundred_studies',
    ),
  ),
  *_of(
    'kd_jax/commands/sweeping.py',
    (
      'if row.name in rows else row',
      'if row.name not in rows else row',
      'tests/commands/sweeping_test.py::test_rows_of_a_study_sweep',
    ),
  ),
  *_of(
    'kd_jax/report/ranges.py',
    (
      'if length > _SHRUNK * _length(kept)',
      'if length > _length(kept)',
      'tests/report/study_curves_test.py::test_an_axis_is_cut_where_that_halves_it',
    ),
  ),
  *_of(
    'kd_jax/report/study_curves.py',
    (
      'if value > points[known][1]',
      'if value < points[known][1]',
      'tests/report/study_curves_test.py::test_named_is_the_best_of_each_compute',
    ),
  ),
  *_of(
    'kd_jax/report/answer.py',
    (
      'str(escape(' + "' '.join(text.split())))",
      'str((' + "' '.join(text.split())))",
      'tests/report/answer_test.py::test_its_markup',
    ),
  ),
  *_of(
    'kd_jax/report/tables.py',
    (
      'and heading not in kept and len(cells) == 1',
      'and len(cells) == 1',
      'tests/report/tables_out_test.py::test_columns_of_one_content_are_folded',
    ),
  ),
  *_of(
    'kd_jax/config/idle.py',
    (
      'part is None or part.plan in _UNLABELLED',
      'part is not None and part.plan in _UNLABELLED',
      'tests/config_idle_test.py::test_a_method_of_another_version_or_of_one_s_own_may_use_all',
    ),
  ),
]

_EMBEDDED = 'tests/runs/embedded_test.py::'
_TABLE = 'tests/runs/embedding_table_test.py::'
_ONCE = 'tests/runs/run_once_test.py::'
EMBEDDINGS = [
  Mutant(
    'kd_jax/runs/embedded.py',
    'workdir.versions(command=False)',
    'workdir.versions()',
    f'{_EMBEDDED}test_a_student_is_trained_and_its_epoch_chosen_without_labels',
  ),
  Mutant(
    'kd_jax/losses/contrast.py',
    'unit_length(vectors) @ unit_length(bank).T for',
    'vectors @ unit_length(bank).T for',
    _CONTRAST + 'test_bank_similarity_is_that_of_numpy',
  ),
  *_of(
    'kd_jax/methods/embedding.py',
    (
      'return ((first + epoch.astype(jnp.uint32)) % views)',
      'return ((first + epoch.astype(jnp.uint32)) * 0)',
      'tests/methods/embedding_test.py::test_views_of_a_table_are_drawn_by_the_table_and_come_in_turn',
    ),
    (
      "'none' if views > 1 else method.views[first]",
      'method.views[first]',
      'tests/methods/embedding_test.py::test_views_of_a_table_are_drawn_by_the_table_and_come_in_turn',
    ),
    (
      'loss=loss, trains=trains_body',
      'loss=loss',
      _EMBEDDED + 'test_the_classifier_stays_and_the_rest_learns',
    ),
  ),
  *_of(
    'kd_jax/runs/embedding_table.py',
    (
      'for spell in (_whole, _file, _stem):',
      'for spell in (_stem,):',
      _TABLE + 'test_names_are_matched',
    ),
    (
      'if counts.max() > 1:',
      'if counts.max() > 2:',
      _TABLE + 'test_pictures_without_a_row_of_their_own_are_refused',
    ),
  ),
  Mutant(
    'kd_jax/runs/embedded.py',
    "if before.get('table_sha256') != data['table_sha256']:",
    'if False:',
    _EMBEDDED + 'test_another_table_is_refused_in_a_folder_that_was_begun',
  ),
  Mutant(
    'kd_jax/data/seeded.py',
    'jax.random.fold_in(jax.random.fold_in(key, example), view)',
    'jax.random.fold_in(key, example)',
    'tests/data/seeded_test.py::test_a_view_follows_from_the_seed_the_images_number_and_its_own',
  ),
  Mutant(
    'kd_jax/measures/neighbours.py',
    'near[own, start + own] = -np.inf',
    'near[own, own] = -np.inf',
    'tests/measures/neighbours_test.py::test_none_is_its_own_neighbour',
  ),
  Mutant(
    'kd_jax/measures/probes.py',
    'intercept - scaled @ mean',
    'intercept',
    'tests/measures/probes_test.py::test_what_is_linear_is_found_and_is_a_dense_layer_of_the_features_themselves',
  ),
  Mutant(
    'kd_jax/models/programs.py',
    'value[: len(part)]',
    'value',
    'tests/models/programs_test.py::test_outputs_have_their_names_whatever_the_batch',
  ),
  Mutant(
    'kd_jax/runs/run_once.py',
    'key = [hashes.of_file(path), ',
    'key = [',
    _ONCE + 'test_it_is_run_once_and_its_table_has_logits_and_embeddings',
  ),
]

EXPORTS = [
  Mutant(
    'kd_jax/deploy/runners.py',
    'image = np.concatenate([image, examples])',
    'image = np.concatenate([image, image[: len(examples)]])',
    'tests/deploy/runners_test.py::test_a_fault_on_an_example_alone_is_noticed',
  ),
  *_of(
    'kd_jax/deploy/quantised.py',
    (
      'label = np.asarray(part.source.label)[part.index]',
      'label = np.asarray(part.source.label)[: len(part.index)]',
      _QUANTISED + 'test_accuracies_are_of_every_image_of_the_split_once',
    ),
    (
      "'same_class': float((own == other).mean())",
      "'same_class': float((other == label).mean())",
      _QUANTISED + 'test_accuracies_are_of_every_image_of_the_split_once',
    ),
  ),
  Mutant(
    'kd_jax/runs/test_split.py',
    'if own != (spec.classes, tuple(spec.image_shape)):',
    'if own[0] != spec.classes:',
    _QUANTISED + 'test_an_accuracy_that_cannot_be_had_is_one_line',
  ),
  Mutant(
    'kd_jax/deploy/export.py',
    "atomic.folder(out, '.export-')",
    'tempfile.TemporaryDirectory(dir=out)',
    'tests/deploy/export_draft_test.py::test_what_a_killed_export_left_is_removed',
  ),
  Mutant(
    'kd_jax/deploy/onnx_files.py',
    'not all(isinstance(name, str) for name in classes)',
    'not classes',
    'tests/deploy/onnx_files_test.py::test_what_others_write_under_this_name_is_left_alone',
  ),
]

_SHARED = 'tests/runs/shared_test.py::'
_LARGE_PLAN = 'tests/studies/sizes_test.py::'
_LARGE_PAGE = 'tests/report/sizes_test.py::'
_HINT = 'tests/studies/rows_test.py::test_a_dry_run_says_what_sharing_a_teacher_saves'
_TAUGHT_IN = (
  'tests/methods/plans_test.py::TestKd::'
  'test_every_teacher_computes_in_its_type_while_it_teaches_and_no_student'
)
SIZES = [
  *_of(
    'kd_jax/runs/shared.py',
    (
      'drawn = config.seed if config.train_examples else 0',
      'drawn = 0',
      _SHARED + 'test_they_get_what_each_would_get_alone',
    ),
    (
      'drawn = config.seed if config.train_examples else 0',
      'drawn = config.seed',
      _SHARED + 'test_the_seed_draws_no_images_where_all_are_taken',
    ),
    (
      "return self._once('parts', key,",
      "return self._once('parts', _parted(config),",
      _SHARED + 'test_they_get_what_each_would_get_alone',
    ),
    (
      "held = config.validation_examples if config.selection == 'validation' else 0",
      'held = config.validation_examples',
      _SHARED + 'test_they_get_what_each_would_get_alone',
    ),
  ),
  *_of(
    'kd_jax/studies/tasks.py',
    (
      'key = str(path), status.st_mtime_ns, status.st_size',
      'key = str(path), 0, 0',
      _LARGE_PLAN + 'test_a_result_that_is_written_anew_is_read_anew',
    ),
    (
      'if key not in self._rows:',
      'if key:',
      _LARGE_PLAN + 'test_a_study_at_work_reads_each_result_once',
    ),
    (
      'if task.identity in known]',
      'if task.identity in ()]',
      _LARGE_PLAN + 'test_a_plan_does_once_what_rows_share',
    ),
  ),
  *_of(
    'kd_jax/studies/definition.py',
    (
      'return replace(config, seed=seed)',
      'return config',
      _LARGE_PLAN + 'test_a_study_at_work_reads_each_result_once',
    ),
    ('if key not in resolved:', 'if key:', _LARGE_PLAN + 'test_a_plan_does_once_what_rows_share'),
  ),
  *_of(
    'kd_jax/methods/phases.py',
    ('companions.isdisjoint(each.teachers)', 'True', _TAUGHT_IN),
    ('**each.teacher_changes, **changes', '**changes', _TAUGHT_IN),
  ),
  *_of(
    'kd_jax/studies/estimate.py',
    ('if least < _WORTH * total:', 'if True:', _HINT),
    ('sharing=shared[name]', 'sharing=1', _HINT),
  ),
  Mutant(
    'kd_jax/report/ranges.py',
    'min(least, lows[out - first])',
    'min(least, lows[first])',
    _LARGE_PAGE + 'test_an_axis_is_cut_where_trying_every_part_cuts_it',
  ),
  Mutant(
    'kd_jax/report/study_figures.py',
    'names = _having(study)[: figures.MOST_ROWS]',
    'names = _having(study)',
    _LARGE_PAGE + 'test_the_reference_is_drawn_wherever_it_stands',
  ),
  Mutant(
    'kd_jax/report/comparisons.py',
    'return list(_of(study))',
    'return list(_of.__wrapped__(study))',
    _LARGE_PAGE + 'test_a_page_goes_through_its_runs_as_often_whatever_the_rows',
  ),
  Mutant(
    'kd_jax/report/plots.py',
    'figures.png(path_png, (8.2, 1.6 + 0.62 * len(named)))',
    'figures.png(path_png, (8.2, 1.6 + 0.62 * count))',
    _LARGE_PAGE + 'test_the_picture_of_a_study_is_as_high_as_the_rows_it_draws',
  ),
  *_of(
    'kd_jax/data/splits.py',
    (
      'order = np.lexsort((rank, members))',
      'order = np.lexsort((indices, members))',
      'tests/data/splits_test.py::test_hold_out_chooses_at_random_within_a_class',
    ),
    (
      'np.repeat(np.cumsum(counts) - counts, counts)',
      'np.repeat(np.cumsum(counts), counts)',
      'tests/data/splits_test.py::test_hold_out_is_the_same_on_every_machine',
    ),
  ),
]

MUTANTS = [
  *(*METHODS, *LOSSES, *STEP, *DATA, *NUMBERS),
  *(*SELECTION_AND_HASHES, *NETWORKS, *STUDIES, *EMBEDDINGS, *EXPORTS, *SIZES),
  *(Mutant(*fault) for fault in mutant_strangers.FAULTS),
]
