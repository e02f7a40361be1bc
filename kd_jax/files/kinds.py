"""The kinds of files that hold a network, by their suffixes."""

from __future__ import annotations

# Weights under PyTorch's names: those that torch.save wrote, and safetensors.
PYTORCH = ('.pth', '.pt', '.th', '.tar', '.bin', '.ckpt', '.safetensors')
# Weights that kd_jax knows but does not read; the reader of PyTorch files names the way out.
UNREAD = ('.msgpack',)
# Programs that an export writes: the format, and the suffixes of its files, the program's first.
EXPORTS = {'stablehlo': ('.stablehlo',), 'torch': ('.pt2', '.pth'), 'onnx': ('.onnx',)}
# Functions that jax.export wrote, which may be teachers.
JAX_EXPORTS = ('.jax', '.stablehlo')
