"""What a wheel holds: all of the package, the configurations, and the command."""

from __future__ import annotations

import configparser
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE', 'kd_jax', 'configs')


def files(folder: Path) -> set[str]:
  return {
    path.relative_to(folder).as_posix()
    for path in folder.rglob('*')
    if path.is_file() and path.suffix != '.pyc'
  }


def packages(folder: Path, name: str) -> set[str]:
  """A folder with Python files, and those below it, as packages."""
  places = {Path(file).parent.as_posix() for file in files(folder) if file.endswith('.py')}
  return {'.'.join([name, *Path(place).parts]) for place in places}


@pytest.fixture(scope='module')
def setup() -> configparser.ConfigParser:
  parser = configparser.ConfigParser()
  parser.read(ROOT / 'setup.cfg', encoding='utf-8')
  return parser


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> zipfile.ZipFile:
  """Built from a copy, without network, as pip does."""
  if importlib.util.find_spec('setuptools') is None:
    pytest.skip("setuptools is not installed, which builds the wheel: pip install -e '.[test]'")
  folder = tmp_path_factory.mktemp('wheel')
  for name in SOURCES:
    copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
    copy(ROOT / name, folder / name)
  command = [
    sys.executable,
    '-m',
    'pip',
    'wheel',
    '--no-deps',
    '--no-build-isolation',
    '--no-index',
    '-w',
    'dist',
    '.',
  ]
  done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stdout + done.stderr
  (built,) = (folder / 'dist').glob('*.whl')
  with zipfile.ZipFile(built) as archive:
    yield archive


def test_every_package_is_listed(setup):
  listed = setup['options']['packages'].split()
  assert set(listed) == packages(ROOT / 'kd_jax', 'kd_jax') | packages(
    ROOT / 'configs', 'kd_jax.configs'
  )
  assert len(set(listed)) == len(listed)


def test_a_new_folder_would_be_noticed(tmp_path):
  for name in ('one.py', 'sub/two.py', 'data/notes.txt'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
  assert packages(tmp_path, 'kd_jax') == {'kd_jax', 'kd_jax.sub'}


@pytest.mark.system
def test_the_wheel_holds_the_package_and_the_configurations(wheel):
  held = {name for name in wheel.namelist() if '.dist-info/' not in name}
  configs = {f'kd_jax/configs/{name}' for name in files(ROOT / 'configs')}
  assert 'kd_jax/configs/paper/digits.py' in configs
  assert held == {f'kd_jax/{name}' for name in files(ROOT / 'kd_jax')} | configs


@pytest.mark.system
def test_the_wheel_has_the_command(wheel):
  (entry_points,) = (
    name for name in wheel.namelist() if name.endswith('.dist-info/entry_points.txt')
  )
  assert (
    '[console_scripts]\nkd-jax = kd_jax.commands.main:command\n'
    in wheel.read(entry_points).decode()
  )


@pytest.mark.system
def test_the_package_in_a_wheel_finds_its_configurations(wheel, tmp_path):
  """Unpacked, away from the checkout; the dependencies are this environment's."""
  wheel.extractall(tmp_path / 'site')
  code = (
    'from kd_jax.commands.config_file import CONFIGS, names; print(CONFIGS, *names(), sep="\\n")'
  )
  done = subprocess.run(
    [sys.executable, '-c', code], cwd=tmp_path / 'site', capture_output=True, text=True, timeout=600
  )
  folder, *names = done.stdout.splitlines()
  assert folder == str(tmp_path / 'site' / 'kd_jax' / 'configs') and {
    'quickstart',
    'paper/digits',
  } <= set(names), done.stderr
