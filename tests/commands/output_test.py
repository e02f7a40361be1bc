"""What is printed reaches every encoding."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from kd_jax.commands import output
from kd_jax.files import results
from kd_jax.report import run_table
from kd_jax.runs.progress import Progress
from tests import forks

ROOT = Path(__file__).resolve().parents[2]
ROWS = [{'name': '狗', 'method': 'kd', 'student': 'thin_resnet8', 'test_accuracy': 0.5}]


def written(text: str, encoding: str) -> bytes:
  return text.encode(encoding, output.HANDLER)


@pytest.mark.parametrize(
  ('text', 'encoding', 'expected'),
  [
    ('a–b × 狗', 'utf-8', 'a–b × 狗'.encode()),
    ('a–b × ─', 'latin-1', b'a-b \xd7 -'),
    ('a–b × …', 'ascii', b'a-b x ...'),
    ('狗.png', 'latin-1', b'\\u72d7.png'),
    ('🐕', 'cp1252', b'\\ud83d\\udc15'),
    (os.fsdecode(b'\xff\xfe.png'), 'utf-8', b'\xff\xfe.png'),
    (os.fsdecode(b'\xff.png'), 'ascii', b'\xff.png'),
    ('狗', 'shift_jis', b'\x8b\xe7'),
  ],
)
def test_what_an_encoding_lacks_is_written_plainly(text, encoding, expected):
  assert written(text, encoding) == expected


def test_what_is_written_in_json_is_json():
  assert json.loads(written(json.dumps('狗🐕', ensure_ascii=False), 'ascii')) == '狗🐕'


def test_it_decodes_nothing():
  with pytest.raises(UnicodeDecodeError):
    b'\xff'.decode('utf-8', output.HANDLER)


def test_streams_are_settled(monkeypatch):
  streams = [io.TextIOWrapper(io.BytesIO(), encoding='latin-1') for _ in range(2)]
  monkeypatch.setattr(sys, 'stdout', streams[0])
  monkeypatch.setattr(sys, 'stderr', streams[1])
  output.settle()
  for stream in streams:
    print(run_table.text(results.from_json(ROWS)), file=stream, flush=True)
    assert rb'\u72d7    kd' in stream.buffer.getvalue()


@pytest.mark.parametrize('stream', [None, io.StringIO(), object()])
def test_what_cannot_be_settled_is_left(monkeypatch, stream):
  monkeypatch.setattr(sys, 'stdout', stream)
  output.settle()


def test_progress_keeps_to_the_stream_that_is_settled():
  stream = io.TextIOWrapper(io.BytesIO(), encoding='latin-1', errors=output.HANDLER)
  Progress(1, 1, stream=stream).say('runs/狗 …')
  assert stream.buffer.getvalue() == b'runs/\\u72d7 ...\n'


COMMANDS = {
  'launch.py': ['launch.py', '--config.dataset=狗'],
  'report': ['-m', 'kd_jax.report', '狗'],
  'export': ['-m', 'kd_jax.export', '狗'],
  'predict': ['-m', 'kd_jax.predict', '狗', '狗.png'],
  'crosscheck': ['-m', 'kd_jax.crosscheck', '--reference=狗', '--pretrained=狗'],
}


@pytest.mark.parametrize('name', COMMANDS)
def test_commands_in_latin_1(name, tmp_path):
  (tmp_path / 'launch.py').write_text((ROOT / 'launch.py').read_text())
  for arguments in ([*COMMANDS[name][:-1], '--help'], COMMANDS[name]):
    done = forks.python(*arguments, cwd=tmp_path, env={**os.environ, 'PYTHONIOENCODING': 'latin-1'})
    assert 'Traceback' not in done.stderr and done.returncode == (0 if '--help' in arguments else 2)
  assert r'\u72d7' in done.stderr
