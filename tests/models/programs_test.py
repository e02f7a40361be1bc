"""Programs of other runtimes: with a runtime that stands in for onnxruntime, and with the real ones
where they are, on what examples/export_teacher.py writes.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from kd_jax.models import programs
from kd_jax.types import ConfigError, FileError

EXAMPLE = Path(__file__).resolve().parents[2] / 'examples' / 'export_teacher.py'
IMAGES = np.random.default_rng(0).random((5, 4, 6, 3)).astype(np.float32)


def stand_in(batch, outputs, *, inputs=1, kind='tensor(float)', sides=(4, 6)):
  """A module like onnxruntime, whose one program computes each output from means of an image."""

  def of(name, shape, type_=None):
    return types.SimpleNamespace(name=name, shape=shape, type=type_)

  class Session:
    def __init__(self, path, options, providers):
      self.content = Path(path).read_text()
      if self.content != 'good':
        raise RuntimeError('no\nprotobuf')

    def get_inputs(self):
      return [of('image', [batch, 3, *sides], kind)] * inputs

    def get_outputs(self):
      return [of(name, [batch, width]) for name, width in outputs.items()]

    def get_modelmeta(self):
      return types.SimpleNamespace(custom_metadata_map={'classes': '["a"]'})

    def run(self, names, feed, how):
      assert how.log_severity_level == 4
      image = feed['image']
      assert image.flags.c_contiguous and (type(batch) is not int or len(image) == batch)
      means = image.mean((2, 3))
      return [means.sum(1, keepdims=True) * np.arange(1, w + 1) for w in outputs.values()]

  class Options(types.SimpleNamespace):
    def add_session_config_entry(self, name, value):
      assert (name, value) == ('session.use_env_allocators', '1')

  return types.SimpleNamespace(InferenceSession=Session, SessionOptions=Options, RunOptions=Options)


@pytest.fixture
def loaded(tmp_path, monkeypatch):
  def call(*given, content='good', **more):
    monkeypatch.setitem(sys.modules, 'onnxruntime', stand_in(*given, **more))
    monkeypatch.setattr(programs, '_bound_memory', lambda: None)
    (tmp_path / 'x.onnx').write_text(content)
    return programs.load(tmp_path / 'x.onnx')

  return call


@pytest.mark.parametrize('batch', ['b', None, 1, 2, 5, 8])
@pytest.mark.parametrize(
  'outputs', [{'logits': 3, 'embedding': 2}, {'embedding': 2, 'logits': 3}, {'a': 3, 'b': 2}]
)
def test_outputs_have_their_names_whatever_the_batch(loaded, batch, outputs):
  program = loaded(batch, outputs)
  assert program.image_shape == (4, 6, 3)
  found = program.run(IMAGES)
  sums = IMAGES.mean((1, 2)).sum(1, keepdims=True)
  np.testing.assert_allclose(found['logits'], sums * np.arange(1, 4), rtol=1e-5)
  np.testing.assert_allclose(found['embedding'], sums * np.arange(1, 3), rtol=1e-5)


def test_one_output_are_logits_and_no_embedding_is_no_fault(loaded):
  assert [*loaded('b', {'y': 3}).run(IMAGES)] == ['logits']


@pytest.mark.parametrize(
  ('given', 'more', 'said'),
  [
    (('b', {'y': 3}), {'inputs': 2}, 'is no function of images'),
    (('b', {'y': 3}), {'kind': 'tensor(uint8)'}, 'is no function of images'),
    (('b', {'y': 3}), {'sides': ('h', 'w')}, 'is no function of images'),
    (('b', {'y': 3}), {'sides': (10**5, 10**5)}, 'it takes images of 100000×100000×3 values'),
    ((10**8, {'y': 3}), {}, 'it takes 100,000,000 images of 4×6×3 values at a time'),
    ((0, {'y': 3}), {}, 'it takes 0 images'),
    (('b', {'y': 3}), {'sides': (-4, 6)}, 'it takes images of -4×6×3 values'),
    (('b', {'y': 3}), {'content': 'bad'}, r'cannot be read by onnxruntime \(no protobuf\)'),
  ],
)
def test_another_program_is_refused(loaded, given, more, said):
  with pytest.raises(FileError, match=said):
    loaded(*given, **more)


def test_an_embedding_alone_is_refused(loaded):
  with pytest.raises(FileError, match="none called 'logits'"):
    loaded('b', {'embedding': 3}).run(IMAGES)


@pytest.mark.parametrize(('suffix', 'package'), programs.SUFFIXES.items())
def test_a_missing_runtime_is_named(tmp_path, monkeypatch, suffix, package):
  monkeypatch.setitem(sys.modules, package, None)
  with pytest.raises(ConfigError, match=f'needs {package} to be run once, .*pip install {package}'):
    programs.load(tmp_path / f'x{suffix}')


# The example ---------------------------------------------------------------------------------------


def example():
  spec = importlib.util.spec_from_file_location('export_teacher', EXAMPLE)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def like_timm(torch):
  """A network with the methods of timm's that the example calls; its weights are random."""

  class Network(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.conv, self.fc = torch.nn.Conv2d(3, 7, 3), torch.nn.Linear(7, 10)

    def forward_features(self, x):
      return self.conv(x).relu()

    def forward_head(self, x, pre_logits=False):
      x = x.mean((2, 3))
      return x if pre_logits else self.fc(x)

    def get_classifier(self):
      return self.fc

  data = types.SimpleNamespace(
    resolve_model_data_config=lambda model: {
      'input_size': (3, 12, 12),
      'mean': (0.5, 0.4, 0.3),
      'std': (0.2, 0.3, 0.4),
    }
  )
  model = Network()
  return model, types.SimpleNamespace(create_model=lambda name, pretrained: model, data=data)


def like_hugging_face(torch):
  class Network(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.patch, self.head = torch.nn.Conv2d(3, 7, 4, 4), torch.nn.Linear(7, 10)

    def forward(self, pixel_values, output_hidden_states):
      tokens = self.patch(pixel_values).flatten(2).transpose(1, 2)
      return types.SimpleNamespace(logits=self.head(tokens[:, 0]), hidden_states=(tokens,))

  model = Network()
  processor = types.SimpleNamespace(
    size={'height': 12, 'width': 12}, image_mean=(0.5, 0.4, 0.3), image_std=(0.2, 0.3, 0.4)
  )
  one = types.SimpleNamespace
  return model, one(
    AutoImageProcessor=one(from_pretrained=lambda name: processor),
    AutoModelForImageClassification=one(from_pretrained=lambda name: model),
  )


@pytest.mark.filterwarnings('ignore')  # of torch's exporter
@pytest.mark.parametrize('suffix', programs.SUFFIXES)
@pytest.mark.parametrize('library', ['timm', 'transformers'])
def test_the_example_exports_what_the_network_computes(tmp_path, monkeypatch, library, suffix):
  torch = pytest.importorskip('torch')
  for package in ('onnx', 'onnxscript', 'onnxruntime') if suffix == '.onnx' else ():
    pytest.importorskip(package)
  torch.manual_seed(0)
  model, stands_in = (like_timm if library == 'timm' else like_hugging_face)(torch)
  monkeypatch.setitem(sys.modules, library, stands_in)
  made = example()
  teacher = made.timm_teacher('x') if library == 'timm' else made.hugging_face_teacher('x')
  path = tmp_path / f'teacher{suffix}'
  made.export(teacher, str(path), 8)
  program = programs.load(path)
  assert program.image_shape == (8, 8, 3) and program.batch is None
  image = np.random.default_rng(1).random((3, 8, 8, 3)).astype(np.float32)
  found = program.run(image)
  with torch.inference_mode():
    seen = torch.from_numpy(image.transpose(0, 3, 1, 2))
    seen = torch.nn.functional.interpolate(seen, (12, 12), mode='bilinear', align_corners=False)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    seen = (seen - mean) / std
    if library == 'timm':
      embedding = model.forward_head(model.forward_features(seen), pre_logits=True)
      logits = model.forward_head(model.forward_features(seen))
    else:
      given = model(seen, True)
      embedding, logits = given.hidden_states[-1][:, 0], given.logits
  np.testing.assert_allclose(found['logits'], logits.numpy(), atol=1e-5)
  np.testing.assert_allclose(found['embedding'], embedding.numpy(), atol=1e-5)
