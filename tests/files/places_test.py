"""URLs are refused before anything runs, and paths are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_jax import config as configuration
from kd_jax.commands.command_line import refusal
from kd_jax.data import sources
from kd_jax.files import places
from kd_jax.runs import run
from kd_jax.studies import definition, workers
from kd_jax.types import ConfigError

URLS = (
  's3://bucket/run',
  'gs://bucket/run',
  'file:///tmp/run',
  'https://example.org/x.pth',
  Path('s3://bucket/run'),
)
PATHS = (
  '',
  'runs/kd',
  '/tmp/run',
  '~/run',
  './s3',
  'C:/runs',
  r'C:\runs',
  'cifar10:3.0.2',
  'name/config:1.0.0',
  'a.b:small',
  'a b',
)


def config(**changed):
  return configuration.default(**{'dataset': 'digits', 'validation_examples': 287} | changed)


@pytest.mark.parametrize('url', URLS)
def test_a_url_is_refused_with_what_to_do(url):
  with pytest.raises(
    ConfigError, match=r'^--workdir=.* is a URL, .*copy the files.*, or mount'
  ) as caught:
    places.check_local('--workdir', url)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('path', PATHS)
def test_a_path_is_none(path):
  places.check_local('--workdir', path)


def test_arguments_and_values_of_flags():
  assert refusal(['runs/kd', '--out=s3://b']).startswith('--out=s3://b is a URL')
  assert refusal(['--out', 'gs://b']).startswith('gs://b is a URL') and not refusal(
    ['runs/kd', '--top=3', '--format', 'json']
  )


@pytest.mark.parametrize('key', configuration.PATHS)
def test_every_key_that_names_a_place(key):
  with pytest.raises(ConfigError, match=f'{key}=s3://b/x is a URL'):
    configuration.resolve(config(**{key: 's3://b/x'}))


def test_the_environment_may_name_one_too(monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', 'gs://tfds-data')
  with pytest.raises(ConfigError, match='TFDS_DATA_DIR=gs://tfds-data is a URL'):
    sources.load('cifar10', download=False)


def test_a_run_and_a_study_refuse_one_before_they_load_anything(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sources, 'load', None)
  with pytest.raises(ConfigError, match='--workdir=s3://b/run is a URL'):
    run.run(configuration.resolve(config()), 's3://b/run')
  rows = definition.study(
    'T',
    question='Q',
    protocol='P',
    rows=[definition.Row('A')],
    dataset='digits',
    validation_examples=287,
  )
  with pytest.raises(ConfigError, match='--workdir=s3://b/study is a URL'):
    workers.work(definition.resolve(rows), 's3://b/study')
  assert not list(tmp_path.iterdir())
