"""A file is the old one or the new one, never half, and nothing else is left."""

from __future__ import annotations

import os
import signal

import pytest

from kd_jax.files import atomic, hashes, locks
from kd_jax.types import FileError
from tests.disk import child


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
  path = tmp_path / 'a[1].txt'  # no pattern
  path.write_text('old')
  with atomic.opened(path) as file:
    file.write(b'new')
    assert path.read_text() == 'old'
  assert path.read_text() == 'new' and names(tmp_path) == [path.name]


def test_a_fault_leaves_the_old_file(tmp_path):
  path = tmp_path / 'a'
  path.write_text('old')
  with pytest.raises(ZeroDivisionError), atomic.opened(path) as file:
    file.write(b'new')
    raise ZeroDivisionError
  assert path.read_text() == 'old' and names(tmp_path) == ['a']


def test_anyone_may_read_what_the_mask_allows(tmp_path):
  before = os.umask(0o022)
  try:
    atomic.write_bytes(tmp_path / 'a', b'')
  finally:
    os.umask(before)
  assert (tmp_path / 'a').stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize('when', ['file.write', 'locks.take'])
def test_remains_are_removed_and_nothing_else(tmp_path, when):
  """Of a process that was killed while it wrote, or before it had a lock."""
  script = f"""
from kd_jax.files import atomic, locks
kill = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
if {when!r} == 'locks.take':
  locks.take = kill
with atomic.opened(folder / 'a') as file:
  file.write(b'half')
  file.flush()
  kill()
"""
  code, _, err = child(script, tmp_path)
  assert code == -signal.SIGKILL, err
  (remains,) = names(tmp_path)
  others = ['.a', '.a.txt', '.a.tmp', f'.b.{"0" * 32}.tmp', f'.a.{"0" * 32}']
  for name in others:
    (tmp_path / name).write_text('mine')
  used = tmp_path / f'.a.{"f" * 32}.tmp'
  with open(used, 'xb') as file:
    locks.take(file)  # by another process that still writes
    atomic.write_bytes(tmp_path / 'a', b'whole')
    assert names(tmp_path) == sorted([*others, 'a', used.name])
  atomic.write_bytes(tmp_path / 'a', b'again')
  assert names(tmp_path) == sorted([*others, 'a']) and remains not in names(tmp_path)


def test_a_draft_that_another_process_took_for_remains_is_made_anew(tmp_path, monkeypatch):
  take, removed = locks.take, []

  def late(file, **rest):
    if not removed:
      removed.append(file.name)
      os.unlink(file.name)
    take(file, **rest)

  monkeypatch.setattr(locks, 'take', late)
  atomic.write_bytes(tmp_path / 'a', b'whole')
  assert removed and names(tmp_path) == ['a'] and (tmp_path / 'a').read_bytes() == b'whole'


class TestFolder:
  """A folder for files in the making."""

  def test_it_is_gone_at_the_end_and_so_are_remains_and_nothing_else(self, tmp_path):
    others = {'.make', 'make-1'}
    for name in (*others, '.make-1', '.make-2'):
      (tmp_path / name).mkdir()
    (tmp_path / '.make-1' / 'half').touch()
    used = os.open(tmp_path / '.make-2', os.O_RDONLY)  # by another process that still writes
    locks.take(used)
    with atomic.folder(tmp_path, '.make-') as draft:
      assert {*names(tmp_path)} == {*others, '.make-2', draft.name}
      with atomic.folder(tmp_path, '.make-') as second:
        assert draft.exists() and second != draft
    os.close(used)
    assert {*names(tmp_path)} == {*others, '.make-2'}

  def test_one_that_another_process_took_for_remains_is_made_anew(self, tmp_path, monkeypatch):
    take, removed = locks.take, []

    def late(number, **rest):
      if not removed:
        (folder,) = tmp_path.iterdir()
        removed.append(folder)
        folder.rmdir()
      take(number, **rest)

    monkeypatch.setattr(locks, 'take', late)
    with atomic.folder(tmp_path, '.make-') as draft:
      assert removed and draft.exists()


def test_a_folder_is_made(tmp_path):
  atomic.write_bytes(tmp_path / 'b' / 'c' / 'a', b'x')
  assert (tmp_path / 'b' / 'c' / 'a').read_bytes() == b'x'


@pytest.mark.parametrize('place', ['file/a', 'folder'])
def test_what_cannot_be_written_is_one_line(tmp_path, place):
  (tmp_path / 'file').touch()
  (tmp_path / 'folder').mkdir()
  with pytest.raises(FileError, match='cannot be written .*choose another folder') as caught:
    atomic.write_bytes(tmp_path / place, b'x')
  assert '\n' not in str(caught.value) and names(tmp_path) == ['file', 'folder']


def test_hashes(tmp_path):
  (tmp_path / 'a').write_bytes(b'abc')
  known = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'  # FIPS 180-2
  assert hashes.of_file(tmp_path / 'a') == hashes.of_bytes(b'a', b'bc') == known
  assert hashes.of_json({'b': 1, 'a': [2]}) == hashes.of_json({'a': [2], 'b': 1})
  assert hashes.of_json({'a': [2]}) != hashes.of_json({'a': [3]})
