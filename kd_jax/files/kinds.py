"""The kinds of files that hold a network, by their suffixes."""

from __future__ import annotations

# Weights that torch.save wrote.
PYTORCH = ('.pth', '.pt', '.th', '.tar', '.bin', '.ckpt')
# Weights that kd_jax knows but does not read; the reader of PyTorch files names the way out.
UNREAD = ('.safetensors', '.msgpack')
# Programs that an export writes: the format, and the suffixes of its files, the program's first.
EXPORTS = {'stablehlo': ('.stablehlo',), 'torch': ('.pt2', '.pth'), 'onnx': ('.onnx',)}
# Functions that jax.export wrote, which may be teachers.
JAX_EXPORTS = ('.jax', '.stablehlo')
