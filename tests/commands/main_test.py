"""What the command sets in the environment before JAX starts."""

from __future__ import annotations

import importlib.metadata
import os

import pytest

from kd_jax.train import environment


def plugin(name: str) -> importlib.metadata.EntryPoint:
  return importlib.metadata.EntryPoint(name, f'jax_plugins.{name}', 'jax_plugins')


# what this version of jaxlib is told of convolutions
ONEDNN = ' '.join(environment.known([environment.ONEDNN, environment.NO_YNN]))


@pytest.fixture
def started(monkeypatch):
  """The processes that were started in the place of this one."""
  calls = []
  monkeypatch.setattr(os, 'execv', lambda *command: calls.append(command))
  monkeypatch.setattr(environment.sys, 'platform', 'linux')
  ours = ('GLIBC_TUNABLES', 'XLA_FLAGS', 'JAX_COMPILATION_CACHE_DIR', 'XDG_CACHE_HOME')
  monkeypatch.setattr(
    os, 'environ', {name: value for name, value in os.environ.items() if name not in ours}
  )
  monkeypatch.setattr(importlib.metadata, 'entry_points', lambda group: [])
  return calls


def test_the_process_is_started_anew_once(started):
  environment.start_anew()
  assert (
    len(started) == 1
    and os.environ['GLIBC_TUNABLES'] == environment.TUNABLES
    and os.environ['XLA_FLAGS'] == ONEDNN
  )
  environment.start_anew()  # as the new process does
  assert len(started) == 1 and os.environ['XLA_FLAGS'] == ONEDNN


def test_what_the_user_has_set_goes_before_it(started):
  own = environment.ONEDNN.replace('true', 'false')
  os.environ['GLIBC_TUNABLES'] = 'glibc.malloc.check=1'
  os.environ['XLA_FLAGS'] = own
  environment.start_anew()
  assert (
    not started
    and os.environ['XLA_FLAGS'] == own
    and os.environ['GLIBC_TUNABLES'] == 'glibc.malloc.check=1'
  )


def test_other_flags_of_xla_stay(started):
  os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=2'
  environment.start_anew()
  assert os.environ['XLA_FLAGS'].split() == [
    '--xla_force_host_platform_device_count=2',
    *ONEDNN.split(),
  ]


@pytest.mark.parametrize(
  ('version', 'known'), [('0.7.2', False), ('0.8.1', True), ('0.12.0.1', True), ('0.13.0', False)]
)
def test_a_flag_that_xla_may_not_know_is_not_set(started, monkeypatch, version, known):
  monkeypatch.setattr(importlib.metadata, 'version', lambda name: version)
  environment.start_anew()
  assert ('XLA_FLAGS' in os.environ) == known


@pytest.mark.parametrize(('version', 'known'), [('0.11.2', False), ('0.12.0.1', True)])
def test_so_is_one_that_only_newer_versions_know(started, monkeypatch, version, known):
  monkeypatch.setattr(importlib.metadata, 'version', lambda name: version)
  environment.start_anew()
  assert os.environ['XLA_FLAGS'].startswith(environment.ONEDNN)
  assert (environment.NO_YNN in os.environ['XLA_FLAGS']) == known


def test_without_onednn_ynnpack_keeps_the_convolutions(started, monkeypatch):
  monkeypatch.setattr(importlib.metadata, 'version', lambda name: '0.12.0')
  os.environ['XLA_FLAGS'] = environment.ONEDNN.replace('true', 'false')
  environment.start_anew()
  assert environment.NO_YNN not in os.environ['XLA_FLAGS']


def test_triton_s_products_are_left_out_where_a_gpu_may_be(started, monkeypatch):
  """They ended the process on the first GPU that was tried."""
  monkeypatch.setattr(importlib.metadata, 'entry_points', lambda group: [plugin('xla_cuda13')])
  environment.start_anew()
  environment.start_anew()  # as the new process does
  assert os.environ['XLA_FLAGS'].split() == [environment.NO_TRITON, *ONEDNN.split()]
  os.environ['XLA_FLAGS'] = '--xla_gpu_enable_triton_gemm=true'
  environment.set_accelerator_flags()
  assert os.environ['XLA_FLAGS'] == '--xla_gpu_enable_triton_gemm=true'


def test_another_accelerator_gets_no_flag_of_a_gpu(started, monkeypatch):
  monkeypatch.setattr(importlib.metadata, 'entry_points', lambda group: [plugin('xla_tpu')])
  environment.start_anew()
  assert environment.has_accelerator() and os.environ['XLA_FLAGS'] == ONEDNN


def test_other_systems_are_left_as_they_are(started, monkeypatch):
  monkeypatch.setattr(environment.sys, 'platform', 'darwin')
  environment.start_anew()
  assert not started and 'GLIBC_TUNABLES' not in os.environ


def test_programs_are_kept_where_they_can_be_written(started, monkeypatch):
  """Those of oneDNN cannot."""
  environment.start_anew()
  assert 'JAX_COMPILATION_CACHE_DIR' not in os.environ
  monkeypatch.setattr(importlib.metadata, 'entry_points', lambda group: [plugin('xla_cuda13')])
  os.environ['XDG_CACHE_HOME'] = '/caches'
  environment.start_anew()
  assert os.environ['JAX_COMPILATION_CACHE_DIR'] == '/caches/kd_jax/compiled'


def test_they_are_kept_without_onednn_and_where_the_user_says(started):
  os.environ['XLA_FLAGS'] = environment.ONEDNN.replace('true', 'false')
  environment.start_anew()
  assert os.environ['JAX_COMPILATION_CACHE_DIR'].endswith('/kd_jax/compiled')
  os.environ['JAX_COMPILATION_CACHE_DIR'] = '/mine'
  environment.start_anew()
  assert os.environ['JAX_COMPILATION_CACHE_DIR'] == '/mine'
