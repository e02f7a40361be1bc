"""Faults in what guards against files and folders of strangers, for tests.mutants: file, text, what
it becomes, and the test that has to fail.
"""

from __future__ import annotations

_ARRAYS, _PT2, _LINKS, _NAMES = (
  f'tests/{name}_test.py::'
  for name in ('files/arrays', 'models/pt2_files', 'files/links', 'names_of_strangers')
)
_PROGRAMS = 'tests/models/programs_test.py::test_another_program_is_refused'


def _of(file: str, *faults: tuple[str, str, str]) -> list[tuple[str, str, str, str]]:
  return [(file, *fault) for fault in faults]


FAULTS = [
  *_of(
    'kd_jax/files/arrays.py',
    (
      'if sum(entry.file_size for entry in entries) > most:',
      'if max(entry.file_size for entry in entries) < 0:',
      _ARRAYS + 'test_every_reader_refuses_a_bomb_before_it_goes_off',
    ),
    ('if len(names) != len(entries) or', 'if', _ARRAYS + 'test_what_is_refused'),
    (
      'entry.file_size - stored.tell() != math.prod(shape) * kind.itemsize or rows > most',
      'rows > most',
      _ARRAYS + 'test_a_size_that_is_a_lie_takes_no_more_than_it_states',
    ),
    ('kind.itemsize or rows > most', 'kind.itemsize', _ARRAYS + 'test_what_is_refused'),
    ('allow_pickle=False', 'allow_pickle=True', _ARRAYS + 'test_what_is_refused'),
  ),
  *_of(
    'kd_jax/models/pt2_files.py',
    (
      'or not _PLAIN.fullmatch(entry.filename)',
      'or not _PLAIN.search(entry.filename + "/extra/x")',
      _PT2 + 'test_an_entry_is_an_array_or_the_program',
    ),
    (
      "name == 'use_pickle' and item",
      "name == 'use_pickle' and not item and item is None",
      _PT2 + 'test_an_entry_is_an_array_or_the_program',
    ),
    (
      'if not _OPERATOR.fullmatch(name)',
      'if not _OPERATOR.match(name)',
      _PT2 + 'test_an_operator_is_one_of_torchs',
    ),
    (
      "if name == 'guards_code':",
      "if name == 'guards':",
      _PT2 + 'test_what_would_be_evaluated_is_arithmetic',
    ),
    (
      'return small and isinstance(base, ast.Name | ast.Call)',
      'return small',
      _PT2 + 'test_what_would_be_evaluated_is_arithmetic',
    ),
    ('return name in _CALLED', 'return True', _PT2 + 'test_what_would_be_evaluated_is_arithmetic'),
    (
      "os.environ[name] = '1'",
      "os.environ[name] = '0'",
      _PT2 + 'test_torch_load_reads_arrays_alone_meanwhile',
    ),
  ),
  *_of(
    'kd_jax/models/programs.py',
    ('(1 if batch is None else batch) <= _MOST', '1 <= _MOST', _PROGRAMS),
    ('if not 0 < channels * height', 'if not channels * height', _PROGRAMS),
  ),
  *_of(
    'kd_jax/files/folders.py',
    (
      'for path in (folder / name, *_below(folder / name)):',
      'for path in (folder / name,):',
      _LINKS + 'test_a_link_that_leads_out_is_refused',
    ),
    (
      'os.path.islink(path) and os.path.commonpath([top, os.path.realpath(path)]) != top',
      'os.path.islink(path)',
      _LINKS + 'test_other_links_stay',
    ),
    (
      'top = os.path.realpath(folder)',
      'top = os.path.abspath(folder)',
      _LINKS + 'test_other_links_stay',
    ),
  ),
  *_of(
    'kd_jax/runs/workdir.py',
    ('  check_links(folder)', '  pass', _LINKS + 'test_a_run_that_goes_on'),
  ),
  *_of(
    'kd_jax/studies/workers.py',
    ('folders.check_links(folder)', 'pass', _LINKS + 'test_a_study_that_goes_on'),
  ),
  *_of(
    'kd_jax/text.py',
    (
      'c.isprintable() or _HARMLESS.match(c) else escape(c)',
      "_HARMLESS.match(c) or c > ' ' else escape(c)",
      _NAMES + 'test_what_steers_a_terminal_is_shown',
    ),
    (
      'given.startswith(_FORMULA) and not _NUMBER.fullmatch(given)',
      'given.startswith(_FORMULA) and not _NUMBER.match(given)',
      _NAMES + 'test_a_formula_is_a_text',
    ),
  ),
  *_of(
    'kd_jax/commands/output.py',
    (
      'self.direct.write(visible(text))',
      'self.direct.write(text)',
      _NAMES + 'TestTheScreen::test_what_commands_print',
    ),
  ),
  *_of(
    'kd_jax/report/tables.py',
    ("'[': '{[}',", "'[': '[',", _NAMES + 'TestTables::test_latex'),
    (
      '[csv_cell(visible(cell)) for cell in line]',
      '[visible(cell) for cell in line]',
      _NAMES + 'TestTables::test_csv',
    ),
  ),
  *_of(
    'kd_jax/commands/predict.py',
    (
      '(rank, csv_cell(name), share)',
      '(rank, name, share)',
      _NAMES + 'TestPredictions::test_csv_has_no_formula',
    ),
  ),
  *_of(
    'kd_jax/pytorch/tensors.py',
    (
      'except ValueError:  # of no values',
      'except TypeError:  # of no values',
      'tests/pytorch/safetensors_strangers_test.py::test_what_deceives_is_refused_in_one_line',
    ),
  ),
  *_of(
    'kd_jax/data/decoded.py',
    (
      "np.load(labels, mmap_mode='r')",
      'np.load(labels)',
      'tests/data/decoded_test.py::test_damaged_files_are_made_anew',
    ),
  ),
  *_of(
    'kd_jax/studies/definition.py',
    (
      "if 'seed' in row.sweep:",
      "if 'seed' in row.changes:",
      'tests/studies/definition_test.py::test_a_mistake_is_one_line_that_names_the_row',
    ),
  ),
]
