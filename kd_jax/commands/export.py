"""`kd-jax export`: a trained network alone, for other programs to run."""

from __future__ import annotations

from kd_jax.commands.command_line import Parser, add_unstated, prog, unstated

_TEXT = """Writes the student of a run alone, with its normalisation inside, and a model card.

RUN is a workdir (its student), a folder under its networks/, the folder of a
study's phase, or a PyTorch .pth file. FOLDER (default: RUN/export, or ./export
where RUN is a file) gets, named after the network,

  stablehlo   student.stablehlo, for JAX without kd_jax on CPU, CUDA and TPU
  torch       student.pt2, for PyTorch without kd_jax, and student.pth, the
              weights alone
  onnx        student.onnx, for ONNX Runtime and its like

each for any batch size, with a card beside it in Markdown (.md) and JSON (.json).
The file is loaded again in its own runtime and compared with the Flax network
before it is kept. With --int8, onnx has NAME.int8.onnx, too: weights of 8 bits,
for which the card has the accuracy on the run's test images."""


def parser() -> Parser:
  """Return the arguments of the command."""
  made = Parser(prog('export'), _TEXT)
  made.add_argument('run', metavar='RUN', help='what to export')
  formats = ('stablehlo', 'torch', 'onnx')
  made.add_argument('--format', default=formats[0], choices=formats, help='default: stablehlo')
  made.add_argument('--out', default='', metavar='FOLDER', help='where the files are put')
  names = 'names of the classes, where the network was saved without'
  made.add_argument('--classes', default='', metavar='A,B,…', help=names)
  made.add_argument('--int8', action='store_true', help='of onnx: also write it with 8 bits')
  data = 'of --int8: where the data set lies, if it is no longer where the run found it'
  made.add_argument('--data_dir', default='', metavar='FOLDER', help=data)
  add_unstated(made)
  return made


def main(arguments: list[str]) -> int:
  """Export a network; return the exit code."""
  given = parser().parse_args(arguments)
  from kd_jax.deploy import export

  program = export.export(
    given.run,
    given.format,
    out=given.out,
    classes=tuple(name.strip() for name in given.classes.split(',')) if given.classes else (),
    unstated=unstated(given),
    weights=given.weights,
    int8=given.int8,
    data_dir=given.data_dir,
  )
  print(
    f'{program} is ready; {program.name}.md beside it is its card.\n'
    f'Try it: kd-jax predict {program} IMAGES…'
  )
  return 0
