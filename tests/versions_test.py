"""The oldest line of versions follows from setup.cfg, and its outcome from a run."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests import versions

SETUP = """
[options]
install_requires =
    numpy>=2
    flatbuffers>=24
    orbax-checkpoint>=0.11.32,<1
[options.extras_require]
test =
    pytest>=8
onnx = onnx>=1.23
"""
PUBLISHED = {
  'numpy': ['2.4.6', '2.0.1', '2.0.0', '1.26.4'],
  'flatbuffers': ['25.2', '24.3.25', '24.3.6', '23.1'],
  'orbax-checkpoint': ['1.0', '0.11.32', '0.11.31'],
  'pytest': ['9.0', '8.0.0', '7.4'],
}


def test_what_is_asked_for_is_that_of_the_package_and_its_tests():
  asked = versions.requirements(SETUP)
  assert [each.name for each in asked] == ['numpy', 'flatbuffers', 'orbax-checkpoint', 'pytest']
  assert [str(versions.bound(each)) for each in asked] == ['2', '24', '0.11.32', '8']


def test_constraints_are_the_oldest_published_versions_that_are_admitted():
  made = versions.constraints(versions.requirements(SETUP), PUBLISHED.__getitem__)
  assert made == [
    'numpy==2.0.0',
    'flatbuffers==24.3.6',
    'orbax-checkpoint==0.11.32',
    'pytest==8.0.0',
  ]


@pytest.mark.parametrize(
  ('text', 'published', 'said'),
  [
    ('numpy', ['2.0'], 'has no lowest version'),
    ('numpy<3', ['2.0'], 'has no lowest version'),
    ('numpy>=2,<3', ['3.0', '1.9'], 'no published version fits'),
  ],
)
def test_what_has_no_oldest_version_is_a_fault(text, published, said):
  with pytest.raises(ValueError, match=said):
    versions.oldest(Requirement(text), published)


def test_every_dependency_of_kd_jax_has_a_lowest_version():
  asked = versions.requirements((versions.ROOT / 'setup.cfg').read_text(encoding='utf-8'))
  assert len(asked) > 20 and all(versions.bound(each) > Version('0') for each in asked)


def test_newer_versions_are_named():
  asked = versions.requirements(SETUP)
  have = {'numpy': '2.4.6', 'flatbuffers': '24.3.6', 'orbax-checkpoint': '0.11.40', 'pytest': '8.1'}
  assert versions.differences(asked, have) == ['orbax-checkpoint 0.11.40, and 0.11.32 is admitted']
  assert versions.differences(asked, have | {'pytest': '9.0'})[1:] == [
    'pytest 9.0, and 8 is admitted'
  ]


def test_the_outcome_takes_the_place_of_the_earlier_one():
  page = '| line | passed |\n|---|---|\n| oldest | – |\n| newest | 8 passed |\nMore.\n'
  now = versions.noted(page, 'oldest', ['9 passed in 1.00s'])
  assert now == page.replace('| oldest | – |', '| oldest | 9 passed in 1.00s |')
  with pytest.raises(ValueError, match='has no row'):
    versions.noted('nothing', 'oldest', ['9 passed'])


def test_the_page_has_a_row_for_each_line():
  page = versions.PAGE.read_text(encoding='utf-8')
  for line in versions.LINES:
    assert versions.noted(page, line, ['x']) != page
