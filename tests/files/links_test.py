"""The folder of a stranger that holds symbolic links: nothing outside of it is shown, written or
removed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kd_jax.commands import main
from kd_jax.deploy import export
from kd_jax.files import folders, run_records, study_records
from kd_jax.runs import workdir
from kd_jax.types import FileError
from tests import bad_input
from tests.report import run_report_test, study_report_test

SAID = 'is a symbolic link to .*, outside of .*: put the files themselves in its place'
PARTS = ('networks', 'phases', 'events', 'report', 'export', 'examples', 'checkpoints')
FILES = ('predictions.npz', 'results.json', 'config.json', 'answer.md', '.lock', 'result.json')


@pytest.fixture
def outside(tmp_path):
  """A folder of the user's."""
  place = tmp_path / 'outside'
  for name in ('student', 'student/checkpoints/3'):
    (place / name).mkdir(parents=True)
  for name in ('secret.txt', 'student/result.json', 'student/network.safetensors'):
    (place / name).write_text('{"secret": 1}')
  return place


def refused(call) -> None:
  with pytest.raises(FileError, match=SAID) as caught:
    call()
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', [*PARTS, *FILES, 'phases/a/result.json', 'networks/student'])
def test_a_link_that_leads_out_is_refused(tmp_path, outside, name):
  folder = tmp_path / 'run'
  folders.check_links(folder)  # it is not there yet
  (folder / name).parent.mkdir(parents=True)
  folders.check_links(folder)
  (folder / name).symlink_to(outside if name in PARTS else outside / 'secret.txt')
  refused(lambda: folders.check_links(folder))


@pytest.mark.parametrize('to', ['/nosuch', '../outside/secret.txt', '..', '../run2'])
def test_wherever_it_leads(tmp_path, outside, to):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'answer.md').symlink_to(to)
  refused(lambda: folders.check_links(tmp_path / 'run'))


def test_other_links_stay(tmp_path, outside):
  folder = tmp_path / 'real'
  (folder / 'networks' / 'a').mkdir(parents=True)
  (folder / 'networks' / 'b').symlink_to('a')
  (folder / 'networks' / 'c').symlink_to(folder / 'networks' / 'a')
  (folder / 'data').symlink_to(outside)  # is none of kd_jax's
  (tmp_path / 'run').symlink_to(folder)
  for place in (folder, tmp_path / 'run', Path(os.path.relpath(folder))):
    folders.check_links(place)


def test_a_folder_that_cannot_be_has_none(tmp_path):
  folders.check_links(tmp_path / ('x' * 300))
  (tmp_path / 'file').touch()
  folders.check_links(tmp_path / 'file' / 'below')


def test_all_that_a_run_keeps_is_looked_at():
  _, *lines = workdir.__doc__.split('\n\n')[1].splitlines()
  named = {word.strip('/') for line in lines for word in line[:28].replace('/<phase>', '').split()}
  assert len(named) > 8 and named <= folders.KEPT


def refuses_to_report(folder, read, name, outside):
  """A part of a finished folder becomes a link to elsewhere, where nothing changes."""
  place = folder / name
  if place.exists():
    place.rename(folder.parent / 'aside')
  place.symlink_to(outside if place.suffix == '' else outside / 'secret.txt')
  before = bad_input.contents(outside)
  refused(lambda: read(folder))
  assert main.call('report', [str(folder)]) == 2 and bad_input.contents(outside) == before


@pytest.mark.parametrize('name', ['report', 'predictions.npz', 'networks', 'phases/student'])
def test_a_report_of_a_run(tmp_path, outside, name):
  folder = tmp_path / 'run'
  run_report_test.made(folder)
  refuses_to_report(folder, run_records.read, name, outside)


@pytest.mark.parametrize('name', ['report', 'answer.md', 'results.json', 'phases'])
def test_a_report_of_a_study(tmp_path, outside, name, capsys):
  folder = tmp_path / 'study'
  study_report_test.made(folder)
  refuses_to_report(folder, study_records.read, name, outside)
  assert 'secret"' not in capsys.readouterr().out


@pytest.mark.parametrize('name', ['phases', 'networks', '.lock', 'results.json', 'config.json'])
def test_a_run_that_goes_on(tmp_path, outside, name):
  folder = tmp_path / 'run'
  folder.mkdir()
  (folder / name).symlink_to(outside if name in PARTS else outside / 'secret.txt')
  before = bad_input.contents(tmp_path)
  claim = workdir.claimed(
    folder, {'epochs': 2, 'unlabelled_dataset': ''}, longer=lambda b: ['student']
  )
  refused(claim.__enter__)
  assert bad_input.contents(tmp_path) == before


def test_an_export(tmp_path, outside):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'export').symlink_to(outside)
  refused(lambda: export.export(tmp_path / 'run', 'stablehlo'))


def test_a_study_that_goes_on(tmp_path, outside):
  from kd_jax.studies import workers

  folder = tmp_path / 'study'
  folder.mkdir()
  (folder / 'phases').symlink_to(outside)
  refused(lambda: workers.work(None, folder))
  assert json.loads((outside / 'student' / 'result.json').read_text()) == {'secret': 1}
