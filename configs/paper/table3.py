"""The paper's Table 3: every method on ResNet26 → ResNet8, CIFAR-10, as the paper writes it and as
its code computes it.

  python launch.py --config=configs/paper/table3.py --workdir=runs/table3
  python -m kd_jax.report runs/table3

The published ResNet26 is looked for in the folder that KD_JAX_PRETRAINED names (default:
pretrained/). STL and unsupervised KD take STL-10's unlabelled images, which are fetched once (2.6
GB) and kept in the size of CIFAR's (0.3 GB). Expected: not run at this budget yet;
results/README.md has what a smaller one says. Time: 81 runs of 200 epochs and more are work for a
GPU (`--dry_run` says what they take here).
"""

from kd_jax.config import PAPER, taught_by
from kd_jax.studies.definition import Row, study

WRITTEN, PUBLISHED, OFFICIAL, REASONS = (
  'As the paper writes them',
  'As its code computes them',
  "As the methods' authors do",
  'What it gives as reasons',
)


def get_config():
  def row(method: str, recipe: str = 'written', *, paper: float | None = None, **more) -> Row:
    group = {'written': WRITTEN, 'published': PUBLISHED, 'official': OFFICIAL}[recipe]
    return Row(
      f'{method.upper().replace("_", "-")}, {recipe}',
      {'method': method, 'recipe': recipe, **more},
      group,
      paper=paper,
    )

  written = [
    row(name)
    for name in (
      'nokd',
      'kd',
      'ab',
      'oh',
      'rkd',
      'pkd',
      'sfd',
      'takd',
      'mkd',
      'uda',
      'uda_nokd',
      'stl',
    )
  ]
  written.append(row('dual', teacher_checkpoint=''))  # which it trains beside its student
  written.append(row('unsupervised', paper=83.0))
  published = [
    row('oh', 'published', paper=87.09),
    row('sfd', 'published', paper=87.47),
    *(row(name, 'published') for name in ('ab', 'pkd', 'uda', 'uda_nokd', 'stl')),
  ]
  official = [row(name, 'official') for name in ('kd', 'oh', 'rkd')]
  reasons = [
    Row('OH, written, with KD', {'method': 'kd+oh'}, REASONS),
    Row('SFD, written, with KD', {'method': 'kd+sfd'}, REASONS),
    Row(
      'KD, mean over classes',
      {'method': 'kd', 'kd.reduction': 'elements'},
      REASONS,
      note='the wrong reduction of the KL',
    ),
  ]
  return study(
    'Table 3: the methods',
    question='Which method is better than training without a teacher, and which than plain KD?',
    protocol='CIFAR-10, 45,000 training images; the epoch is chosen on 5,000 validation images, held out once; tested on 10,000. '
    'Teacher: the published ResNet26, which has seen all 50,000, but that DUAL trains its own. No '
    'weight is swept. The paper chose its epochs on the test '
    'images and ran one seed. TAKD, UDA, STL and DUAL take more compute than the rest.',
    rows=[*written, *published, *official, *reasons],
    comparisons=[(r.name, 'NOKD, written') for r in written[1:] + published + official]
    + [(r.name, 'KD, written') for r in written[2:] + published + official + reasons],
    together=4,
    **PAPER | taught_by('resnet26'),
  )
