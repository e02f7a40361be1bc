"""The worker that times PyTorch, on the CPU or another device: networks and losses of
kd_jax.pytorch, as they pass the live crosscheck.

  step      the teacher's forward under inference mode, the student's forward and backward, the
            optimiser. All input work is spared: images are floats in memory, normalised, in batches
            that follow each other; UDA's second view is one more of these, and nothing is
            augmented, gathered or counted
  forward   the teacher alone, likewise
  epoch     gathering, random crop and flip (of whole batches; the published code does them image by
            image), normalisation, the steps, and evaluation

It imports no jax.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.rows import Row
from benchmarks.workers import serve, timed

BATCHES = 8  # kept in memory: more would only cost it cache misses
EVALUATION_BATCH = 256
PADDING = 4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def prepare(
  row: Sequence[Any],
  threads: int,
  channels_last: bool,
  compiled: bool,
  *,
  device: str = 'cpu',
  dtype: str = 'float32',
  mode: str | None = None,
) -> tuple[dict[str, Any], Mapping[str, Callable[..., Any]]]:
  """Build the networks of a row and do it once; return its facts and its measurements.

  Where that is not possible, they are {'missing': why} and no measurement.

  Where `dtype` is 'bfloat16', forward passes run under torch.autocast; `mode` is torch.compile's.
  """
  try:
    import torch
    import torch.nn.functional as F
  except ImportError as fault:
    return {'missing': str(fault)}, {}
  if compiled and not shutil.which(compiler := os.environ.get('CXX', 'g++')):
    return {'missing': f'torch.compile needs a C++ compiler, and there is no {compiler}'}, {}

  from kd_jax.pytorch import rendering
  from kd_jax.verify import torch_recipes
  from kd_jax.verify.torch_lesson import Lesson

  row = Row(*row)
  torch.set_num_threads(threads)
  torch.manual_seed(0)
  layout = torch.channels_last if channels_last else torch.contiguous_format
  compile_ = partial(torch.compile, mode=mode) if compiled else lambda what: what
  narrow = partial(torch.autocast, device, torch.bfloat16, enabled=dtype == 'bfloat16')
  height, width, channels = row.image_shape
  task: dict[str, Any] = {
    'classes': row.classes,
    'image_shape': row.image_shape,
    'relu_placement': 'stage',
  }
  teacher = (
    rendering.build(row.teacher, **task).eval().to(device, memory_format=layout)
    if row.method != 'nokd'
    else None
  )
  (phase,) = torch_recipes.RECIPES[row.method, 'written']
  lesson = Lesson(phase, rendering.build(row.student, **task), [teacher] if teacher else [])
  lesson = lesson.to(device, memory_format=layout)
  optimiser = torch.optim.SGD(
    lesson.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
  )

  @compile_
  def teach(image: torch.Tensor) -> rendering.Outputs:
    """Return what losses read: compiled, all that is returned is also stored."""
    assert teacher is not None
    outputs = teacher(image)
    return outputs._replace(layers={}, features=outputs.features if row.method == 'oh' else ())

  loss = compile_(lesson)
  classify = compile_(lambda image: lesson.student(image).logits)
  # A compiled loss may keep what it is given for its backward, which tensors of the inference mode
  # refuse; the compiled teacher is the same program without gradients.
  without_gradients = torch.no_grad if compiled and row.method == 'oh' else torch.inference_mode
  done = 0

  def step(views: Mapping[str, torch.Tensor], label: torch.Tensor) -> torch.Tensor:
    optimiser.zero_grad()
    with narrow():
      with without_gradients():
        teaching = (
          [{view: teach(image) for view, image in views.items()}] if teacher is not None else []
        )
      value = loss(views, teaching, label)
    value.backward()
    optimiser.step()
    return value.detach()

  def steps(count: int) -> float:
    nonlocal done
    for number in range(done, done + count):
      views = {view: floats[(number + shift) % BATCHES] for shift, view in enumerate(phase.views)}
      value = step(views, labels[number % BATCHES])
    done += count
    return value.item()

  def forwards(count: int) -> float:
    with torch.inference_mode():
      for number in range(count):
        logits = teach(floats[number % BATCHES]).logits
    return logits.mean().item()

  def to_floats(images: torch.Tensor) -> torch.Tensor:
    """Turn u8[B, C, H, W] to normalised floats in the layout of the row."""
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (MEAN, STD))
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=layout)

  def augment(images: torch.Tensor) -> torch.Tensor:
    """Return random crops of the padded images and random flips, u8[B, C, H, W]."""
    count = len(images)
    y, x = torch.randint(2 * PADDING + 1, (2, count, 1))
    rows, columns = y + torch.arange(height), x + torch.arange(width)
    columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    padded = F.pad(images, (PADDING,) * 4).permute(0, 2, 3, 1)
    return padded[
      torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]
    ].permute(0, 3, 1, 2)

  def epochs(count: int) -> float:
    for _ in range(count):
      lesson.train()
      for chosen in torch.randperm(row.examples)[: row.examples // row.batch * row.batch].split(
        row.batch
      ):
        value = step({'weak': to_floats(augment(pixels[chosen]))}, classes[chosen])
      lesson.eval()
      right = 0
      with torch.inference_mode():
        for chosen in torch.arange(row.examples, row.examples + row.evaluated).split(
          EVALUATION_BATCH
        ):
          right += (classify(to_floats(pixels[chosen])).argmax(1) == classes[chosen]).sum().item()
      assert 0 <= right <= row.evaluated
    return value.item()

  if row.work == 'epoch':
    pixels = torch.randint(
      256, (row.examples + row.evaluated, channels, height, width), dtype=torch.uint8
    )
    classes = torch.randint(row.classes, (row.examples + row.evaluated,))
  else:
    floats = [
      torch.randn(row.batch, channels, height, width).to(device, memory_format=layout)
      for _ in range(BATCHES)
    ]
    labels = torch.randint(row.classes, (BATCHES, row.batch)).to(device)
  whole = {'step': steps, 'epoch': epochs, 'forward': forwards}[row.work]
  try:
    whole(1)
  except Exception as fault:
    if not compiled:
      raise
    why = f'{type(fault).__name__}, {str(fault).strip().splitlines()[0]}'
    return {'missing': f'torch.compile does not work here: {why}'}, {}
  breaks = sum(torch._dynamo.utils.counters['graph_break'].values()) if compiled else 0
  facts = {
    'torch': torch.__version__,
    'python': platform.python_version(),
    'cores': len(os.sched_getaffinity(0)),
    'torch_threads': torch.get_num_threads(),
    'graph_breaks': breaks,
    'shares': [],
  }
  return facts, {'whole': partial(timed, whole)}


if __name__ == '__main__':
  serve(prepare)
