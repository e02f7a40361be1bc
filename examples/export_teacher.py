"""A network of timm or Hugging Face as a teacher for kd_jax, .onnx or .pt2, normalisation inside.

python examples/export_teacher.py timm:vit_small_patch14_dinov2.lvd142m --side=32 --out=dino.onnx
python examples/export_teacher.py hf:microsoft/resnet-18 --side=32 --out=resnet18.pt2

It takes pictures of --side pixels in [0, 1], brings them to the size that the network was trained
at, and gives logits and the embedding. Needs torch, timm or transformers; .onnx onnx and onnxscript.
"""

import argparse

import torch
import torch.nn.functional as F


class Teacher(torch.nn.Module):
  """f32[B, 3, side, side] → (logits f32[B, K], embedding f32[B, D])."""

  def __init__(self, outputs: torch.nn.Module, size: tuple[int, int], mean, std):
    super().__init__()
    self.outputs, self.size = outputs, size
    self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1))
    self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1))

  def forward(self, image):
    if image.shape[-2:] != self.size:
      image = F.interpolate(image, self.size, mode='bilinear', align_corners=False)
    return self.outputs((image - self.mean) / self.std)


class OfTimm(torch.nn.Module):
  def __init__(self, model):
    super().__init__()
    self.model = model

  def forward(self, image):
    embedding = self.model.forward_head(self.model.forward_features(image), pre_logits=True)
    return self.model.get_classifier()(embedding), embedding


class OfHuggingFace(torch.nn.Module):
  def __init__(self, model):
    super().__init__()
    self.model = model

  def forward(self, image):
    given = self.model(pixel_values=image, output_hidden_states=True)
    last = given.hidden_states[-1]  # maps [B, C, h, w], or tokens [B, T, D], the class token first
    return given.logits, last.mean((2, 3)) if last.ndim == 4 else last[:, 0]


def timm_teacher(name: str, *, pretrained: bool = True) -> Teacher:
  import timm

  model = timm.create_model(name, pretrained=pretrained).eval()
  config = timm.data.resolve_model_data_config(model)
  return Teacher(OfTimm(model), tuple(config['input_size'][1:]), config['mean'], config['std'])


def hugging_face_teacher(name: str) -> Teacher:
  from transformers import AutoImageProcessor, AutoModelForImageClassification

  model = AutoModelForImageClassification.from_pretrained(name).eval()
  processor = AutoImageProcessor.from_pretrained(name)
  size = getattr(processor, 'crop_size', None) or processor.size
  side = size.get('height', size.get('shortest_edge'))
  return Teacher(OfHuggingFace(model), (side, side), processor.image_mean, processor.image_std)


def export(teacher: Teacher, path: str, side: int) -> None:
  program = torch.export.export(
    teacher.eval(),
    (torch.zeros(2, 3, side, side),),
    dynamic_shapes=({0: torch.export.Dim('batch')},),
  )
  if path.endswith('.pt2'):
    torch.export.save(program, path)
  else:
    names = ['logits', 'embedding']
    made = torch.onnx.export(program, dynamo=True, output_names=names, verbose=False)
    made.save(path, external_data=False)


if __name__ == '__main__':
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('network', help='timm:NAME or hf:NAME')
  parser.add_argument('--side', type=int, default=32, help='of the pictures')
  parser.add_argument('--out', required=True, help='.onnx or .pt2')
  given = parser.parse_args()
  source, _, name = given.network.partition(':')
  made = {'timm': timm_teacher, 'hf': hugging_face_teacher}[source](name)
  export(made, given.out, given.side)
  print(f'kd-jax run --config.teacher_checkpoint={given.out}')
