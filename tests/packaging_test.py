"""What is released: a wheel that installs, and an archive of the sources that builds the same one."""

from __future__ import annotations

import configparser
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging import metadata

import kd_jax

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
  'BUILD_NOTES.md',
  'CHANGELOG.md',
  'CITATION.cff',
  'CONTRIBUTING.md',
  'LICENSE',
  'README.md',
)
BUILDING = ('MANIFEST.in', 'launch.py', 'pyproject.toml', 'setup.cfg')
FOLDERS = ('configs', 'docs', 'examples', 'kd_jax')


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


def run(*command: str, folder: Path) -> str:
  done = subprocess.run(
    [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=600
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


def build_wheel(folder: Path, out: Path) -> Path:
  """Build as pip does, without network."""
  offline = ('--no-deps', '--no-build-isolation', '--no-index')
  run('-m', 'pip', 'wheel', *offline, '-w', str(out), '.', folder=folder)
  (built,) = out.glob('*.whl')
  return built


def held(wheel: Path) -> dict[str, bytes]:
  with zipfile.ZipFile(wheel) as archive:
    return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope='module')
def tree(tmp_path_factory) -> Path:
  """A copy of the checkout, as a fresh clone is: setuptools takes up what an old egg-info lists."""
  if importlib.util.find_spec('setuptools') is None:
    pytest.skip("setuptools is not installed, which builds the wheel: pip install -e '.[test]'")
  folder = tmp_path_factory.mktemp('tree')
  for name in (*PAGES, *BUILDING):
    shutil.copy(ROOT / name, folder / name)
  for name in (*FOLDERS, 'tests'):
    shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
  return folder


@pytest.fixture(scope='module')
def wheel(tree, tmp_path_factory) -> Path:
  return build_wheel(tree, tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='module')
def sources(tree, tmp_path_factory) -> Path:
  """The archive of the sources, unpacked."""
  out = tmp_path_factory.mktemp('sources')
  run('-c', f'import setuptools.build_meta as b; b.build_sdist({str(out)!r})', folder=tree)
  name = f'kd_jax-{kd_jax.__version__}'
  with tarfile.open(out / f'{name}.tar.gz') as archive:
    archive.extractall(out, filter='data')
  return out / name


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
  names = {name for name in held(wheel) if '.dist-info/' not in name}
  configs = {f'kd_jax/configs/{name}' for name in files(ROOT / 'configs')}
  assert 'kd_jax/configs/paper/digits.py' in configs
  assert names == {f'kd_jax/{name}' for name in files(ROOT / 'kd_jax')} | configs
  assert {'kd_jax/py.typed', 'kd_jax/report/templates/run.html'} <= names


@pytest.mark.system
def test_its_metadata_are_valid(wheel):
  """As an index takes them."""
  (text,) = (data for name, data in held(wheel).items() if name.endswith('.dist-info/METADATA'))
  read = metadata.Metadata.from_email(text, validate=True)
  assert (read.name, str(read.version)) == ('kd_jax', kd_jax.__version__)
  assert read.description == (ROOT / 'README.md').read_text(encoding='utf-8')
  assert read.description_content_type == 'text/markdown' and read.license_files == ['LICENSE']
  with pytest.raises(ExceptionGroup):
    metadata.Metadata.from_email(text.replace(b'Version: 0', b'Version: x', 1), validate=True)


@pytest.mark.system
def test_the_archive_of_the_sources_holds_what_builds_and_what_is_read(sources):
  tracked = {f'{folder}/{name}' for folder in FOLDERS for name in files(ROOT / folder)}
  written = {'PKG-INFO', *(f'kd_jax.egg-info/{n}' for n in files(sources / 'kd_jax.egg-info'))}
  assert files(sources) == {*PAGES, *BUILDING} | tracked | written
  assert sum((sources / name).stat().st_size for name in files(sources)) < 6e6


@pytest.mark.system
def test_the_archive_builds_the_same_wheel(wheel, sources, tmp_path):
  again = build_wheel(sources, tmp_path)
  assert again.name == wheel.name and held(again) == held(wheel)


@pytest.mark.system
def test_the_wheel_installs_with_its_command_and_configurations(wheel, tmp_path):
  """Away from the checkout; the dependencies are this environment's."""
  site = tmp_path / 'site'
  offline = ('--no-deps', '--no-index', '--no-compile')
  run('-m', 'pip', 'install', *offline, '--target', str(site), str(wheel), folder=tmp_path)
  environment = os.environ | {'PYTHONPATH': str(site)}
  command = [sys.executable, str(site / 'bin' / 'kd-jax'), '--version']
  done = subprocess.run(
    command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
  )
  assert done.stdout == f'kd-jax {kd_jax.__version__}\n', done.stderr
  code = (
    'from kd_jax.commands.config_file import CONFIGS, names; print(CONFIGS, *names(), sep="\\n")'
  )
  folder, *names = run('-c', code, folder=site).splitlines()
  assert folder == str(site / 'kd_jax' / 'configs')
  assert {'quickstart', 'paper/digits'} <= set(names)
