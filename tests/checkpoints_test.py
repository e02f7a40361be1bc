"""docs/checkpoints.md: addresses, hashes and accuracies of files that anyone can fetch."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import kd_jax
from kd_jax import models
from kd_jax.data import sources

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'checkpoints.md'
AUTHORS = {'mean': (0.485, 0.456, 0.406), 'std': (0.229, 0.224, 0.225)}  # of akamaster's
_ROW = re.compile(
  r'^\| \[(\S+)\]\((\S+)\) \| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| ([\d.]+) \| `(\w+)` \|$', re.M
)
_ADDRESS = re.compile(r'https://github\.com/\w+/\w+/raw/[0-9a-f]{40}/\w+/([\w.-]+)')


class Row(NamedTuple):
  file: str
  address: str
  network: str
  parameters: str
  right: str
  percent: str
  sha256: str

  @property
  def count(self) -> int:
    return int(self.right.replace(',', ''))


ROWS = {row.file: row for row in (Row(*found) for found in _ROW.findall(PAGE.read_text()))}


def faults(row: Row) -> list[str]:
  """Return what cannot be right of a line, without its file."""
  address = _ADDRESS.fullmatch(row.address)
  found = {
    'address': not address or address[1] != row.file,
    'network': not models.is_known(row.network),
    'percent': f'{row.count / 100:.2f}' != row.percent,
    'sha256': not re.fullmatch(r'[0-9a-f]{64}', row.sha256),
  }
  return [name for name, wrong in found.items() if wrong]


def test_every_line_can_be_right():
  assert len(ROWS) == PAGE.read_text().count('| [') - 5 == 13  # five more are of CIFAR-100
  assert {name: faults(row) for name, row in ROWS.items() if faults(row)} == {}
  assert len({row.sha256 for row in ROWS.values()}) == len(ROWS)


@pytest.mark.parametrize(
  ('field', 'wrong'),
  [
    ('address', 'https://github.com/karanchahal/distiller/raw/master/pretrained/resnet8.pth'),
    ('network', 'resnet27'),
    ('percent', '93.14'),
    ('sha256', 'eeb1'),
  ],
)
def test_a_wrong_line_is_noticed(field, wrong):
  assert faults(ROWS['resnet26_cifar10.pth']._replace(**{field: wrong})) == [field]


def checked(folder: str) -> set[str]:
  """Return the files of a folder that are on the page; their hashes must be those of the page."""
  files = [path for path in Path(folder).iterdir() if path.suffix in ('.pth', '.th')]
  assert {path.name for path in files} <= {*ROWS}
  for path in files:
    assert hashlib.sha256(path.read_bytes()).hexdigest() == ROWS[path.name].sha256, path.name
  return {path.name for path in files}


def test_hashes_of_the_paper_s_files(pretrained_dir):
  assert 'resnet26_cifar10.pth' in checked(pretrained_dir)


def test_hashes_of_others_files(teachers_dir):
  assert len(checked(f'{teachers_dir}/pretrained_elsewhere')) == 2


def test_another_hash_is_noticed(tmp_path):
  (tmp_path / 'resnet8_cifar10.pth').write_bytes(b'another')
  with pytest.raises(AssertionError, match='resnet8_cifar10'):
    checked(str(tmp_path))


def test_accuracies_are_those_of_pytorch(reference_dir):
  """What the released code counted; `kd-jax crosscheck` compares kd_jax with it."""
  for path in Path(reference_dir).glob('logits_*.npz'):
    row = ROWS[f'{path.stem.removeprefix("logits_")}.pth']
    assert row.count == int(np.load(path)['test_correct']), path.name


@pytest.mark.system
def test_it_is_what_the_page_states(data_dir, teachers_dir):
  """One that the crosscheck does not have."""
  row = ROWS['resnet20-12fca82f.th']
  network = kd_jax.load_network(f'{teachers_dir}/pretrained_elsewhere/{row.file}', **AUTHORS)
  assert (network.spec.name, f'{network.parameters:,}') == (row.network, row.parameters)
  test = sources.load('cifar10', data_dir=data_dir, download=False).test
  assert abs(int((network.predict(test.image) == test.label).sum()) - row.count) <= 1
