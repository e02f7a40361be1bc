"""What the command sets in the environment before JAX starts."""

from __future__ import annotations

import importlib.metadata
import os

import pytest

from kd_jax import main


@pytest.fixture
def started(monkeypatch):
  """The processes that were started in the place of this one."""
  calls = []
  monkeypatch.setattr(os, 'execv', lambda *command: calls.append(command))
  monkeypatch.setattr(main.sys, 'platform', 'linux')
  monkeypatch.delenv('GLIBC_TUNABLES', raising=False)
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  return calls


def test_the_process_is_started_anew_once(started):
  main.settle_environment()
  assert len(started) == 1 and os.environ['GLIBC_TUNABLES'] == main.TUNABLES and os.environ['XLA_FLAGS'] == main.ONEDNN
  main.settle_environment()  # as the new process does
  assert len(started) == 1 and os.environ['XLA_FLAGS'] == main.ONEDNN


def test_what_the_user_has_set_goes_before_it(started, monkeypatch):
  own = main.ONEDNN.replace('true', 'false')
  monkeypatch.setenv('GLIBC_TUNABLES', 'glibc.malloc.check=1')
  monkeypatch.setenv('XLA_FLAGS', own)
  main.settle_environment()
  assert not started and os.environ['XLA_FLAGS'] == own and os.environ['GLIBC_TUNABLES'] == 'glibc.malloc.check=1'


def test_other_flags_of_xla_stay(started, monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=2')
  main.settle_environment()
  assert os.environ['XLA_FLAGS'].split() == ['--xla_force_host_platform_device_count=2', main.ONEDNN]


@pytest.mark.parametrize(('version', 'known'), [('0.7.2', False), ('0.8.1', True), ('0.12.0.1', True), ('0.13.0', False)])
def test_a_flag_that_xla_may_not_know_is_not_set(started, monkeypatch, version, known):
  monkeypatch.setattr(importlib.metadata, 'version', lambda name: version)
  main.settle_environment()
  assert ('XLA_FLAGS' in os.environ) == known


def test_other_systems_are_left_as_they_are(started, monkeypatch):
  monkeypatch.setattr(main.sys, 'platform', 'darwin')
  main.settle_environment()
  assert not started and 'GLIBC_TUNABLES' not in os.environ
