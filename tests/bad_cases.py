"""Bad input as data: a kind, a command as one types it, and words of what it says.

Its files are in bad_files.py and bad_networks.py. No tests here.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from tests import bad_later, bad_tables

LONG = 'x' * 5000
BYTES = os.fsdecode(b'\xff\xfe')


class Case(NamedTuple):
  """A command that is to be refused.

  Words before it, NAME=value, are of the environment: it is then a process of its own.
  """

  kind: str
  command: str
  said: str


OF_DIGITS = '--config=digits_kd --out=t.npz'
LAUNCH = {
  'flags': [
    ('--bogus=1', "Unknown command line flag 'bogus'"),
    ('--epochs=3', "Unknown command line flag 'epochs'. Did you mean --config.epochs=3?"),
    ('--epoch=3', "Unknown command line flag 'epoch'. Did you mean --config.epochs=3?"),
    ('--boundary_share=.5', 'Did you mean --config.ab.boundary_share=.5?'),
    ('epochs=3', 'Did you mean --config.epochs=3?'),
    ('digits', "unexpected argument 'digits': flags look like --config.epochs=6"),
    ('--config.epochs=3 digits', "unexpected argument 'digits'"),
    ('--config.epochs', 'Missing value for flag --config.epochs'),
    ('--dry_run', '--dry_run is for studies'),
    ('--dry_run=perhaps', 'dry_run'),
    ('--workers=2', '--workers is for studies'),
    ('--workers=0', 'workers'),
    ('--workers=two', 'workers'),
    ('--slurm_workers=2', '--slurm_workers is for studies'),
    ('--slurm_workers=-1', 'slurm_workers'),
    (
      '--config=paper/digits --slurm_workers=2 --slurm=gpu',
      '--slurm takes parameters of submitit such as',
    ),
    (
      '--num_processes=2',
      'several processes need all of --coordinator_address=HOST:PORT, --num_processes=N and '
      '--process_id',
    ),
    ('--coordinator_address=here --num_processes=2 --process_id=0', 'not "here", 2 and 0'),
    ('--coordinator_address=here:1 --num_processes=2 --process_id=2', 'not "here:1", 2 and 2'),
    (
      '--config=quickstart --config.method=rkd',
      'every row of this study sets method, so that rkd would change nothing',
    ),
    (
      '--config=paper/digits --process_id=1',
      'share out a single run; a study is shared by all who work in its --workdir',
    ),
  ],
  'URLs': [
    (
      '--workdir=s3://bucket/run',
      '--workdir=s3://bucket/run is a URL, and kd_jax reads and writes local files alone',
    ),
    ('--workdir gs://bucket/run', 'is a URL'),
    ('--workdir=file:///tmp/run', 'is a URL'),
    ('--config=paper/digits --workdir=s3://bucket/study', 'is a URL'),
    ('--config=https://example.org/mine.py', '--config=https://example.org/mine.py is a URL'),
    ('--config.dataset=s3://bucket/photos', 'dataset=s3://bucket/photos is a URL'),
    ('--config.data_dir=gs://tfds-data', 'data_dir=gs://tfds-data is a URL'),
    (
      '--config.unlabelled_dataset=s3://bucket/more',
      'unlabelled_dataset=s3://bucket/more is a URL',
    ),
    (
      '--config.teacher_checkpoint=resnet26.pth,hf://teacher.pth',
      'teacher_checkpoint=hf://teacher.pth is a URL',
    ),
  ],
  'keys': [
    ('--config.epoch=3', "unknown configuration key 'epoch'. Did you mean 'epochs'?"),
    ('--config.epoch 3', "unknown configuration key 'epoch'. Did you mean 'epochs'?"),
    (
      '--config.kd.temprature=3',
      "unknown configuration key 'kd.temprature'. Did you mean 'kd.temperature'?",
    ),
    ('--config.kd=3', "unknown configuration key 'kd'"),
    ('--config.kd.alpha.beta=3', "unknown configuration key 'kd.alpha.beta'"),
    ('--config.=3', "unknown configuration key ''"),
    ('--config.épochs=3', "unknown configuration key 'épochs'. Did you mean 'epochs'?"),
    (f'--config.{LONG}=3', "unknown configuration key 'xxx"),
    (f'--config.{BYTES}=3', r"unknown configuration key '\udcff\udcfe'"),
  ],
  'types': [
    ('--config.epochs=many', 'config.epochs=many: invalid literal'),
    ('--config.epochs=1.5', 'config.epochs=1.5: invalid literal'),
    ('--config.epochs=', 'config.epochs=: invalid literal'),
    ('--config.epochs=٣x', 'invalid literal'),
    (f'--config.epochs={"9" * 5000}', 'config.epochs=999'),
    ('--config.learning_rate=fast', "could not convert string to float: 'fast'"),
    ('--config.learning_rate=1,5', "could not convert string to float: '1,5'"),
    (
      '--config.baseline=maybe',
      "'maybe' is neither True nor False: write --config.baseline=True or --config.baseline=False",
    ),
    ('--config.flip=maybe', '--config.flip=True or --config.flip=False'),
    ('--config.log_every=often', 'log_every is a whole number, such as --config.log_every=50'),
    ('--config.mean=grey', "numbers, not ('grey',)"),
    ('--config.mean=(.5', "mean holds finite numbers, not ('(.5',)"),
  ],
  'names': [
    ('--config.student=resnet9', "unknown student 'resnet9'. Did you mean"),
    ('--config.student=', "unknown student ''"),
    (f'--config.student={LONG}', "unknown student 'xxx"),
    (f'--config.student={BYTES}', 'student holds bytes that are no UTF-8'),
    ("--config.student='\x1b[31mred\x07\u202eder'", r"unknown student '\x1b[31mred\x07\u202eder'"),
    ('--config.teacher=wrn16', "unknown teacher 'wrn16'"),
    ('--config.method=kdd', "unknown method 'kdd'. Did you mean 'kd'?"),
    ('--config.method=kd+0.5*ohh', "unknown method 'ohh'. Did you mean 'oh'?"),
    ('--config.method=', "unknown method ''"),
    ('--config.method=kd+kd', 'names kd twice'),
    ('--config.method=kd+x*oh', "'x' is no weight"),
    ('--config.method=kd+0*oh', 'is not greater than 0'),
    ('--config.method=kd+nan*oh', 'is not greater than 0'),
    ('--config.method=kd+1e400*oh', 'is not greater than 0'),
    ('--config.dataset=digitz', "unknown data set 'digitz'"),
    ('--config.dataset=', "unknown data set ''"),
    (f'--config.dataset={LONG}', "unknown data set 'xxx"),
    ("--config.dataset='two words'", "unknown data set 'two words'"),
    ('--config.optimiser=adam', "unknown optimiser 'adam'. Did you mean 'adamw'"),
    ('--config.optimiser=nosuch:rule', 'the optimiser nosuch:rule cannot be had'),
    ('--config.schedule=cosinus', "unknown schedule 'cosinus'. Did you mean 'cosine'"),
    ('--config.decay=kernel', "unknown decay 'kernel'. Did you mean 'kernels'"),
    ('--config.method=nosuch:loss', 'the method nosuch:loss cannot be had'),
    ('--config.recipe=mine', "unknown recipe 'mine'. Valid: written, published, official"),
    ('--config.relu_placement=blocks', "unknown relu_placement 'blocks'. Did you mean 'block'?"),
    ('--config.parallel=threads', "unknown parallel 'threads'. Valid: jit, pmap"),
    ('--config.selection=train', "unknown selection 'train'. Valid: validation, test"),
    ('--config.compute_dtype=float16', "unknown compute_dtype 'float16'"),
    ('--config.teacher_dtype=float16', 'Valid: float32, bfloat16, or nothing'),
    ('--config.data_placement=disk', "unknown data_placement 'disk'"),
    ('--config.method=takd --config.takd.assistants=nosuch', "there is no network 'nosuch'"),
    ('--config.method=takd --config.takd.assistants=,', 'takd.assistants names no network'),
    ('--config.kd.reduction=sum', 'kd.reduction is one of'),
    (
      '--config.method=uda --config.uda.policy=flip',
      "'flip' in the augmentation 'flip' is none of",
    ),
    (
      '--config.method=uda --config.uda.policy=randaugment:2:99',
      'randaugment.level is a whole number from 0 to 9',
    ),
    ('--config.method=uda --config.uda.policy=randaugment:²:5', 'is none of'),
    (
      '--config.method=uda --config.uda.policy=randaugment:999999999:5',
      'from 1 to 100, not 999999999',
    ),
    (f'--config.method=uda --config.uda.policy=cutout:{"9" * 5000}', 'is none of'),
    ('--config.method=sfd --config.sfd.layers=some', "sfd.layers is 'all', 'stages'"),
    ('--config.method=sfd --config.sfd.layers=first:²', "sfd.layers is 'all', 'stages'"),
    ('--config.method=rkd --config.rkd.embedding=mine', 'rkd.embedding'),
    (
      '--config.method=oh --config.oh.teacher_statistics=mine',
      'oh.teacher_statistics is one of running, batch',
    ),
  ],
  'ranges': [
    ('--config.warmup=1', 'warmup lies in [0, 1)'),
    ('--config.ema=1.5', 'ema lies in [0, 1)'),
    ('--config.clip=-1', 'clip is at least 0'),
    ('--config.accumulate=0', 'accumulate is at least 1'),
    ('--config.label_smoothing=1', 'label_smoothing lies in [0, 1)'),
    ('--config.mixup=-1', 'mixup is α of a Beta distribution'),
    ('--config.cutmix=inf', 'cutmix is a finite number'),
    ('--config.epochs=-1', 'at least 1, not -1'),
    ('--config.epochs=0', 'at least 1, not 0'),
    ('--config.epochs=99999999999', 'epochs is at most 2147483647'),
    ('--config.epochs=2147483647', 'are more steps than 32 bits can count; lower epochs'),
    ('--config.log_every=0', 'at least 1, not 0'),
    ('--config.seed=-1', 'at least 0, not -1'),
    ('--config.seed=4294967296', 'seed is less than 2**32'),
    ('--config.learning_rate=0', 'learning_rate is greater than 0, not 0.0'),
    ('--config.learning_rate=nan', 'learning_rate is a finite number, not nan'),
    ('--config.learning_rate=inf', 'learning_rate is a finite number, not inf'),
    ('--config.learning_rate=1e300', 'learning_rate is a finite number, not 1e+300'),
    ('--config.momentum=1', 'momentum lies in [0, 1), not 1.0'),
    ('--config.weight_decay=nan', 'weight_decay is a finite number, not nan'),
    ('--config.learning_rate_drops=(.5,1.5)', 'fractions between 0 and 1'),
    ('--config.crop_padding=-1', 'at least 0, not -1'),
    ('--config.crop_padding=17', 'crop_padding is 17 pixels, and the images have 16×16'),
    ('--config.image_size=1000000000 --config.dataset=photos', 'image_size is at most 4096'),
    ('--config.kd.alpha=1.5', 'between 0 and 1, not 1.5'),
    ('--config.kd.alpha=nan', 'kd.alpha is a finite number, not nan'),
    ('--config.kd.temperature=0', 'temperature is'),
    ('--config.kd.temperature=nan', 'temperature is'),
    ('--config.method=oh --config.oh.weight=nan', 'oh.weight is a finite number, not nan'),
    ('--config.method=oh --config.oh.weight=-1', 'oh.weight is a finite weight, at least 0'),
    ('--config.kd.weight=-1', 'kd.weight is a finite weight, at least 0, not -1.0'),
    ('--config.method=kd+rkd --config.rkd.hint=-0.5', 'rkd.hint is a finite weight, at least 0'),
    (
      '--config.method=fitnet --config.fitnet.last_weight=-1',
      'fitnet.last_weight is a finite weight, at least 0',
    ),
    ('--config.method=rkd --config.rkd.distance=inf', 'rkd.distance is a finite number, not inf'),
    (
      '--config.method=ab --config.ab.boundary_share=nan',
      'ab.boundary_share is a finite number, not nan',
    ),
    ('--config.method=ab --config.ab.boundary_share=1', 'each phase needs at least one'),
    ('--config.method=ab --config.ab.boundary_epochs=99', 'each phase needs at least one'),
    (
      '--config.method=dual --config.dual.side_by_side_share=inf',
      'dual.side_by_side_share is a finite number, not inf',
    ),
    ('--config.method=dual --config.dual.lead=2', 'dual.lead is a difference of accuracies'),
    (
      '--config.method=mkd --config.mkd.teachers=0',
      'mkd.teachers is at least 1 and at most 16, not 0',
    ),
    (
      '--config.method=mkd --config.mkd.teachers=1000000000',
      'mkd.teachers is at least 1 and at most 16, not 1000000000',
    ),
    ('--config.mean=(nan,) --config.std=(1,)', 'mean holds finite numbers'),
    ('--config.mean=(.5,) --config.std=(0,)', 'standard deviations are greater than 0'),
    (f'--config.mean=({"9" * 400},) --config.std=(1,)', 'mean holds finite numbers'),
    (
      '--config.teacher_checkpoint=good.pth --config.teacher_mean=(.5,) --config.teacher_std=(-1,)',
      'teacher_std holds -1;',
    ),
  ],
  'together': [
    ('--config.accumulate=1000 --config.epochs=1', 'so that its weights would never change'),
    ('--config.augment=cutout:999', 'is larger than the images'),
    ('--config.warmup=.5', 'lies in the warm-up'),
    ('--config.optimiser_options=momentum=5', 'which is a key of its own'),
    ('--config.optimiser=adamw --config.optimiser_options=beta1=.9,beta1=.8', 'beta1 twice'),
    (
      '--config.optimiser=adamw --config.optimiser_options=beta1=1.5',
      'beta1 of adamw lies in [0, 1)',
    ),
    ('--config.optimiser=adamw --config.optimiser_options=beta1=abc', "a float, not 'abc'"),
    (f'--config.optimiser=adamw --config.optimiser_options=epsilon=1{"0" * 400}', 'epsilon'),
    ('--config.optimiser=optax:chain --config.weight_decay=0', 'optax:chain'),
    ('--config.optimiser=optax:lbfgs --config.weight_decay=0', 'fails at a step'),
    ('--config.optimiser=optax:lionn', "has no 'lionn'. Did you mean 'lion'?"),
    ('--config.optimiser=adamw --config.momentum=.8', 'momentum is of optimiser=sgd'),
    ('--config.schedule=cosine --config.learning_rate_drops=.5', 'is of schedule=steps'),
    ('--config.schedule=one_cycle --config.warmup=.1', 'set warmup=0'),
    ('--config.optimiser_options=beta2=.9', "'beta2' is no option of sgd"),
    ('--config.schedule_options=final', 'schedule_options is name=value'),
    ('--config.optimiser=optax:sgd', 'set weight_decay=0'),
    ('--config.alternating_flip=True --config.flip=False', 'set flip=True'),
    ('--config.augment=cutout', "'cutout' in the augmentation"),
    ('--config.method_options=alpha=1', 'keys, such as config.kd.alpha'),
    ('--config.method=nokd --config.kd.alpha=.3', "kd.alpha is set, but the method is 'nokd'"),
    ('--config.validation_examples=0', 'selection=validation needs validation_examples'),
    ('--config.mean=(.5,)', 'mean has 1 values and std 0'),
    ('--config.teacher_relu_placement=stage', 'there is no teacher_checkpoint that it could be of'),
    (
      '--config.teacher_checkpoint=good.pth --config.teacher_std=(.5,)',
      'teacher_mean has 0 values and teacher_std 1',
    ),
    (
      '--config.teacher_checkpoint=good.pth --config.teacher_mean=(0,0) --config.teacher_std=(1,1)',
      'teacher_mean has values for 2 teachers, and teacher_checkpoint names 1',
    ),
    (
      '--config.mean=(.5,.5) --config.std=(.5,.5)',
      'have 2 values, and images of digits have 1 channels',
    ),
    ('--config.image_size=32', "image_size is for folders of images, and 'digits' is none"),
    ('--config.method=ab --config.epochs=1', 'each phase needs at least one'),
    (
      '--config.method=stl --config.batch_size=1 --config.unlabelled_dataset=digits',
      'take 2 or more',
    ),
    ('--config.method=kd+takd', 'cannot be part of'),
    ('--config.method=uda+stl', 'cannot be part of'),
    (
      '--config.method=oh+kd --config.recipe=official --config.kd.alpha=2',
      'between 0 and 1, not 2',
    ),
  ],
  'pairs': [
    (
      '--config.student=resnet8 --config.dataset=greys --config.image_size=8 '
      '--config.validation_examples=2 --config.batch_size=2',
      'resnet8 needs images of at least 13×13 pixels, these have 8×8',
    ),
    (
      '--config.student=wrn10_1 --config.method=oh --config.recipe=published',
      "relu_placement 'pool', of the configuration or a recipe, does not apply",
    ),
    ('--config.student=own:bare --config.method=oh', 'asks a network for its features'),
    ('--config.student=own:bare --config.method=ab', "knows it by the name 'head'"),
    (
      '--config.method=oh --config.student=thin_resnet8 --config.teacher=own:small',
      'features of one size are needed',
    ),
    (
      '--config.method=oh --config.teacher=own:without_norms --config.student=own:small',
      'names none: name them',
    ),
    (
      '--config.teacher_checkpoint=function.jax --config.method=oh',
      'asks a network for its features',
    ),
    (
      '--config.teacher_checkpoint=function.jax --config.teacher_dtype=bfloat16',
      'is as it was made: take another recipe, or leave teacher_dtype empty',
    ),
    (
      '--config.teacher_checkpoint=function.jax --config.method=oh --config.recipe=published',
      "changes the teacher's relu_placement",
    ),
    (
      '--config.teacher_checkpoint=function.jax --config.teacher_mean=(0,) '
      '--config.teacher_std=(1,)',
      'teacher_mean is for a .pth',
    ),
    ('--config.teacher_checkpoint=network', 'is a thin_resnet8, and this run needs thin_resnet14'),
    (
      '--config.teacher_checkpoint=network --config.teacher=thin_resnet8 --config.dataset=digits32 '
      '--config.method=ft',
      'ft trains beside its teacher and saves it anew',
    ),
    (
      '--config.teacher_checkpoint=network --config.teacher=thin_resnet8 '
      '--config.teacher_image_size=16',
      'teacher_image_size is for a file of weights alone',
    ),
    (
      '--config.teacher_checkpoint=network --config.teacher=thin_resnet8,thin_resnet14',
      "teacher names 2 networks (thin_resnet8, thin_resnet14), and 'kd' learns from 1",
    ),
    ('--config.teacher=resnet26,resnet_26', "unknown teacher 'resnet_26'. Did you mean"),
    (
      '--config.method=mkd --config.teacher=resnet8,resnet20',
      "teacher names 2 networks (resnet8, resnet20), and 'mkd' learns from 3 here",
    ),
    (
      '--config.teacher_checkpoint=network --config.teacher_image_size=(-1,)',
      'teacher_image_size holds numbers of pixels, from 0 to 4096',
    ),
    ('--config.teacher_image_size=224', 'there is no teacher_checkpoint that it could be of'),
    (
      '--config.method=mkd --config.teacher_checkpoint=network,network '
      '--config.teacher=thin_resnet8 --config.teacher_weights=raw,raw,ema',
      'teacher_weights has values for 3 teachers, and teacher_checkpoint names 2',
    ),
    (
      '--config.teacher_checkpoint=network --config.teacher=thin_resnet8 --config.dataset=greys '
      '--config.image_size=16 --config.validation_examples=2',
      'for classes: 10, and this run needs 2',
    ),
    (
      '--config.teacher_checkpoint=good.pth,good.pth',
      "names 2 networks, and the method 'kd' learns from 1",
    ),
    (
      '--config.method=stl --config.unlabelled_dataset=./photos',
      'have 3 channels, and those to train on have 1',
    ),
  ],
  'sizes': [
    (
      '--config.batch_size=2000',
      'a batch of 2000 needs at least as many images, and there are 1150',
    ),
    ('--config.batch_size=0', 'at least 1, not 0'),
    ('--config.batch_size=-64', 'at least 1, not -64'),
    ('--config.validation_examples=1437', 'cannot hold out 1437 examples'),
    ('--config.validation_examples=-1', 'at least 0, not -1'),
    ('--config.train_examples=5', 'cannot choose 5 examples of 10 classes'),
    ('--config.train_examples=1000000', 'cannot choose 1000000 examples'),
    ('--config.eval_examples=3', 'cannot choose 3 examples of 10 classes'),
    (
      '--config.dataset=greys --config.validation_examples=2 --config.batch_size=64',
      'a batch of 64 needs at least as many images',
    ),
    ('--config.dataset=greys --config.validation_examples=500', 'cannot hold out 500 examples'),
  ],
  'configuration files': [
    (
      '--config=nosuch.py',
      "No such file or directory: 'nosuch.py'). --config takes a file, or one of the names "
      'cifar100/resnet110_resnet32, ',
    ),
    ('--config nosuch.py', "No such file or directory: 'nosuch.py'"),
    (
      '--config=configs/cifar10_kdd.py',
      "No such file or directory: 'configs/cifar10_kdd.py'). Did you mean 'cifar10_kd'?",
    ),
    (
      '--config=cifar10_kdd',
      "unknown configuration 'cifar10_kdd'. Did you mean 'cifar10_kd'? --config takes a file, or "
      'one of',
    ),
    ('--config digits', "unknown configuration 'digits'. Did you mean 'digits_kd'?"),
    (
      '--config=configs/quickstart',
      "unknown configuration 'configs/quickstart'. Did you mean 'quickstart'?",
    ),
    ('--config=empty', "unknown configuration 'empty'. --config takes a file"),
    ('--config=', 'the configuration file cannot be read'),
    (f'--config={LONG}', "unknown configuration 'xxx"),
    ('--config=syntax.py', 'SyntaxError: invalid syntax (syntax.py, line 1)'),
    ('--config=nothing.py', "no attribute 'get_config'"),
    ('--config=empty.py', "no attribute 'get_config'"),
    ('--config=number.py', 'no file whose get_config() returns a configuration'),
    ('--config=none.py', 'no file whose get_config() returns a configuration'),
    (
      '--config=argument.py',
      'the configuration file fails: TypeError: get_config() missing 1 required positional '
      "argument: 'which'",
    ),
    ('--config=misspelt.py', "unknown configuration key 'epoch'. Did you mean 'epochs'?"),
    ('--config=sets.py', "unknown configuration key 'epoch'. Did you mean 'epochs'?"),
    (
      '--config=sets_text.py',
      "the configuration file fails: TypeError: Could not override field 'epochs'",
    ),
    ('--config=imports.py', "cannot be read (No module named 'nosuch')"),
    ('--config=divides.py', 'the configuration file fails: ZeroDivisionError: division by zero'),
    ('--config=endless.py', 'the configuration file fails: RecursionError'),
    ('--config=binary.py', 'the configuration file fails: SyntaxError'),
    ('--config=latin.py', 'the configuration file fails: SyntaxError'),
    ('--config=utf16.py', 'the configuration file fails: SyntaxError'),
    ('--config=folder.py', 'the configuration file cannot be read'),
    ('--config=locked.py', 'the configuration file cannot be read ([Errno 13] Permission denied'),
    (
      '--config=loop.py',
      'the configuration file cannot be read ([Errno 40] Too many levels of symbolic links',
    ),
    ('--config=loose_section.py', 'kd is a section of options'),
    ('--config=loose_type.py', "epochs is a int, such as 200, not '3'"),
    ('--config=loose_none.py', "dataset is a str, such as 'cifar10', not None"),
    ('--config=loose_number.py', "unknown configuration key '1'"),
    ('--config=loose_option.py', "kd.alpha is a float, such as 0.5, not 'half'"),
    ('--config=loose_option_key.py', "unknown option of kd 'alhpa'. Did you mean 'alpha'?"),
    ('--config=loose_study.py', "unknown configuration key 'study'"),
    ('--config=huge.py', 'learning_rate is a finite number, not a number of thousands of digits'),
  ],
  'studies': [
    ('--config=no_rows.py', 'has no rows'),
    ('--config=row_twice.py', "the study has two rows called 'A'"),
    ('--config=row_of_none.py', "the study compares 'B', which is none of its rows: A"),
    ('--config=row_key.py', "row 'A': unknown configuration key 'epoch'. Did you mean 'epochs'?"),
    ('--config=row_type.py', "row 'A': epochs"),
    ('--config=row_range.py', "row 'A': alpha is a weight between 0 and 1, not 2.0"),
    ('--config=row_seeds.py', "row 'A' has 0 seeds"),
    ('--config=row_batch.py', "row 'A': a batch of 9999 needs at least as many images"),
    ('--config=sweep_of_two.py', "row 'A' sweeps kd.alpha, epochs over no values"),
    ('--config=sweep_of_none.py', "row 'A' sweeps kd.alpha over no values"),
    ('--config=sweep_late.py', "row 'A': alpha is a weight between 0 and 1, not 7.0"),
    ('--config=paper/digits --config.scale=0', 'scale multiplies the epochs'),
    ('--config=paper/digits --config.scale=nan', 'scale multiplies the epochs'),
    ('--config=paper/digits --config.scale=1e300', 'scale multiplies the epochs'),
    ('--config=paper/digits --config.seeds=-1', 'seeds is a number of runs'),
    ('--config=paper/digits --rows=RKDD', "the study has no row 'RKDD'. Did you mean 'RKD'?"),
    ('--config=digits_kd --rows=KD', '--rows is for studies'),
    ('--config=digits_kd --sweep=kd.alpha=a', "kd.alpha is such as 0.5, not 'a'"),
    ('--config=paper/digits --sweep=kd.alpha=1', 'name them by --rows'),
    ('--config=paper/digits --config.together=0', 'together is the number of students'),
    ('--config=paper/digits --config.epoch=3', "unknown configuration key 'epoch'"),
    ('--config=paper/digits --workdir=a_file', 'cannot be written'),
  ],
  'own networks': [
    ('--config.student=nosuch:net', 'the network nosuch:net cannot be had: it was not found in'),
    ('--config.student=my-own:net', 'is no name of an own network'),
    ('--config.student=:', 'is no name of an own network'),
    ('--config.teacher=imports_none:small', "its import of 'nosuch_library' was not found"),
    ('--config.student=number:net', "has no 'net'; its functions are get_config"),
    ('--config.student=number:get_config', 'cannot be called with a NetworkSpec alone'),
    (
      '--config.student=raises_at_import:small',
      'cannot be imported: ZeroDivisionError: division by zero',
    ),
    (
      '--config.student=raises:small',
      "fails: AttributeError: 'NetworkSpec' object has no attribute 'nosuch'",
    ),
    ('--config.student=no_network:small', 'returns a Bare and not a Network'),
    ('--config.student=no_axis:small', "has no field 'axis_name'"),
    ('--config.student=no_stages:small', 'returns no tuple of features'),
    (
      '--config.student=wrong_logits:small',
      'returns logits of shape [B, 3]: for 10 classes they are [B, 10]',
    ),
    ('--config.student=no_outputs:small', 'returns a tuple from __call__'),
  ],
  'data sets': [
    ('--config.dataset=cifar10 --config.data_dir=nosuch', 'nosuch does not exist'),
    ('--config.dataset=cifar10 --config.data_dir=a_file', 'a_file does not exist'),
    (
      '--config.dataset=cifar10 --config.data_dir=empty --config.download=False',
      "'cifar10' is not prepared in",
    ),
    (
      '--config.dataset=mnist --config.data_dir=empty',
      'kd_jax itself prepares only cifar10, cifar100 and stl10',
    ),
    ("--config.dataset='~nobody_of_that_name/photos'", '~nobody_of_that_name'),
    ("--config.dataset=cifar10 --config.data_dir='~nobody_of_that_name'", '~nobody_of_that_name'),
  ],
  'folders of images': [
    ('--config.dataset=./nosuch', 'the folder of images nosuch does not exist'),
    ('--config.dataset=./a_file', 'the folder of images a_file is a file'),
    ('--config.dataset=empty', 'empty has no sub-folders'),
    ('--config.dataset=one_class', "one_class has one class, 'cat'"),
    ('--config.dataset=class_of_one', "the class 'dog' in class_of_one has one image"),
    ('--config.dataset=class_of_none', 'the class class_of_none/bird has no images'),
    ('--config.dataset=with_heic', 'with_heic/cat/3.HEIC is no image that kd_jax reads'),
    ('--config.dataset=no_suffix', 'no_suffix/cat/3 is no image that kd_jax reads'),
    ('--config.dataset=loose', 'loose/5.png lies in no class'),
    ('--config.dataset=nested', 'nested/cat/tabby is a folder inside the class cat'),
    ('--config.dataset=text_png', 'text_png/cat/1.png is no image'),
    ('--config.dataset=zero_png', 'zero_png/cat/1.png is no image'),
    ('--config.dataset=cut_off_png', 'cut_off_png/cat/1.png is no image that can be read'),
    ('--config.dataset=cut_off_gif', 'cut_off_gif/cat/3.gif is no image that can be read'),
    ('--config.dataset=cut_off_tiff', 'cut_off_tiff/cat/3.tif is no image that can be read'),
    ('--config.dataset=damaged_tiff', 'damaged_tiff/cat/3.tif is no image'),
    ('--config.dataset=deep_tiff', 'deep_tiff/cat/3.tif has more than 8 bits a channel'),
    ('--config.dataset=cut_off_jpeg', 'cut_off_jpeg/cat/3.jpg is no image that can be read'),
    ('--config.dataset=damaged_png', 'damaged_png/cat/1.png is no image that can be read'),
    ('--config.dataset=deep_png', 'deep_png/cat/1.png has more than 8 bits a channel'),
    (
      '--config.dataset=bomb_png',
      'bomb_png/cat/1.png is no image (Image size (3600000000 pixels) exceeds limit',
    ),
    ('--config.dataset=pipe_png', 'pipe_png/cat/3.png'),
    ('--config.dataset=loop_png', 'loop_png/cat/3.png'),
    ('--config.dataset=lost_png', 'lost_png/cat/3.png cannot be read (No such file or directory)'),
    ('--config.dataset=loop_class', 'loop_class/bird'),
    (
      '--config.dataset=class_in_itself',
      'class_in_itself/cat/again is a folder inside the class cat',
    ),
    (
      '--config.dataset=locked_png',
      'locked_png/cat/3.png is no image ([Errno 13] Permission denied',
    ),
    ('--config.dataset=locked_class', 'locked_class/bird cannot be read (Permission denied)'),
    ('--config.dataset=locked_photos', 'locked_photos cannot be read (Permission denied)'),
    ('--config.dataset=./locked_photos/train', 'locked_photos/train'),
    ('--config.dataset=no_utf8_class', 'is not UTF-8: give it another'),
    ('--config.dataset=class_twice', "two folders whose names read 'Ü'"),
    ('--config.dataset=no_train', "no sub-folder 'train'"),
    ('--config.dataset=two_trains', 'has two sub-folders of train images, TRAIN and train'),
    ('--config.dataset=two_validations', 'has two sub-folders of validation images, val and valid'),
    ('--config.dataset=test_lacks', 'test_lacks'),
    ('--config.dataset=test_has_more', "has the class 'bird' under test and not under train"),
    ('--config.dataset=annotated_more', 'val_annotations.txt names 9.png, which is not in'),
    ('--config.dataset=annotated_less', 'images/2.png has no line in val_annotations.txt'),
    ('--config.dataset=annotated_twice', "gives 1.png two classes, 'dog' and 'cat'"),
    ('--config.dataset=annotated_csv', 'line 1 of annotated_csv/val/val_annotations.txt is not'),
    ('--config.dataset=annotated_utf16', 'val_annotations.txt is no text in UTF-8'),
    ('--config.dataset=annotated_other', "has the class 'bird' under validation and not under"),
    ('--config.dataset=photos --config.test_split=val', "test_split is 'val', and photos has no"),
    (
      '--config.dataset=annotated --config.test_split=valid',
      "test_split is 'valid', and annotated has no folder of that name with labels beside train",
    ),
    (
      '--config.dataset=photos --config.stored_size=16',
      'stored_size is 16 pixels, and networks take images of 32: set it to 32 or more',
    ),
    (
      '--config.dataset=photos --config.image_size=24 --config.stored_size=16',
      'stored_size is 16 pixels, and networks take images of 24',
    ),
    ('--config.dataset=photos --config.stored_size=5000', 'stored_size is at most 4096'),
    ('--config.dataset=photos --config.stored_size=-1', 'stored_size is at least 0'),
    ('--config.dataset=digits --config.stored_size=32', 'stored_size is for folders of images'),
    ('--config.dataset=digits --config.test_split=val', 'test_split is for folders of images'),
    (
      '--config.dataset=photos --config.validation_examples=3000',
      "the class 'cat' has 2 images, 1 of them to give; ask for 2 or fewer",
    ),
    (
      '--config.dataset=black --config.validation_examples=2 --config.batch_size=2',
      'so that its standard deviation is 0',
    ),
    ('--config.method=stl --config.unlabelled_dataset=./empty', 'no images lie in empty'),
    (
      '--config.method=stl --config.unlabelled_dataset=./text_png',
      'text_png/cat/1.png is no image',
    ),
    (f'--config.dataset=./{LONG}', 'does not exist or may not be read'),
    (f'--config.dataset=./{BYTES}', 'dataset holds bytes that are no UTF-8'),
  ],
  'checkpoints': [
    ('--config.teacher_checkpoint=nosuch.pth', 'teacher_checkpoint nosuch.pth does not exist'),
    ("--config.teacher_checkpoint='~nobody_of_that_name/a.pth'", '~nobody_of_that_name'),
    (f'--config.teacher_checkpoint={LONG}', 'xxx'),
    (
      '--config.teacher_checkpoint=empty.pth',
      'cannot be read as a PyTorch checkpoint: it is empty',
    ),
    ('--config.teacher_checkpoint=text.pth', 'cannot be read as a PyTorch checkpoint'),
    ('--config.teacher_checkpoint=cut_off.pth', 'its zip container is damaged or cut off'),
    ('--config.teacher_checkpoint=pickle.pth', 'it is a pickle, but none of torch.save'),
    ('--config.teacher_checkpoint=list.pth', 'it holds no dictionary'),
    (
      '--config.teacher_checkpoint=runs_code.pth',
      "it wants 'os.system', and running what a file names is not safe",
    ),
    (
      '--config.teacher_checkpoint=old_runs_code.pth',
      "it wants 'os.system', and running what a file names is not safe",
    ),
    (
      '--config.teacher_checkpoint=module.pth',
      "it holds an object of '__main__.MyNet', not its weights alone, and running what a file",
    ),
    ('--config.teacher_checkpoint=script.pth', "it holds an object of '__torch__.Net'"),
    ('--config.teacher_checkpoint=arrays.pth', 'it is a zip file without one data.pkl'),
    ('--config.teacher_checkpoint=safetensors.pth', 'there is no state dict of one network'),
    (
      '--config.teacher_checkpoint=good.pth --config.teacher_weights=ema',
      'holds no moving averages (EMA)',
    ),
    (
      '--config.teacher_checkpoint=network --config.teacher=thin_resnet8 --config.teacher_guess=fit',
      'teacher_guess is for a .pth',
    ),
    ('--config.teacher_checkpoint=nosuch.onnx', 'nosuch.onnx does not exist'),
    ('--config.teacher_checkpoint=deflated.pth', 'its zip container is compressed'),
    (
      '--config.teacher_checkpoint=claims_much.pth',
      'the size of a storage is not what its pickle says',
    ),
    ('--config.teacher_checkpoint=nothing.pth', 'there is no state dict'),
    ('--config.teacher_checkpoint=of_nobody.pth', 'the weights have no classifier'),
    (
      '--config.teacher=thin_resnet8 --config.teacher_checkpoint=no_head.pth',
      'the weights have no classifier',
    ),
    ('--config.teacher_checkpoint=good.pth', 'good.pth'),
    (
      '--config.teacher=thin_resnet8 --config.teacher_checkpoint=lacks.pth',
      'missing layer1.0.conv1.weight',
    ),
    (
      '--config.teacher=thin_resnet8 --config.teacher_checkpoint=more.pth',
      'unexpected layer9.0.conv1.weight',
    ),
    (
      '--config.teacher=thin_resnet8 --config.teacher_checkpoint=shape.pth',
      'of another shape linear.weight [10, 7] for [10, 64]',
    ),
    (
      '--config.teacher=thin_resnet8 --config.teacher_checkpoint=integers.pth',
      'linear.weight is of type int8',
    ),
    (
      '--config.teacher=thin_resnet8 --config.teacher_checkpoint=nan.pth',
      'linear.bias holds values that are infinite or NaN',
    ),
    (
      '--config.teacher=thin_resnet8 --config.teacher_checkpoint=three_classes.pth',
      'linear.bias [3] for [10]',
    ),
    ('--config.teacher=own:small --config.teacher_checkpoint=good.pth', 'own:small'),
    ('--config.teacher_checkpoint=note.pth', "its entry 'kd_jax_network' describes no network"),
    (
      '--config.teacher_checkpoint=huge_note.pth',
      "its entry 'kd_jax_network' describes no network",
    ),
    (
      '--config.teacher=resnet18 --config.teacher_checkpoint=mobilenet.pth',
      'do not fit resnet18: they are of mobilenet_v3_small_timm; ask for that network',
    ),
    ('--config.teacher_checkpoint=folder.pth', 'holds no finished network'),
    ('--config.teacher_checkpoint=locked.pth', "'locked.pth' cannot be read: Permission denied"),
    ('--config.teacher_checkpoint=loop.pth', 'loop.pth'),
    ('--config.teacher_checkpoint=pipe.pth', 'there is no file of that name'),
    ('--config.teacher_checkpoint=empty', 'holds no finished network'),
    ('--config.teacher_checkpoint=started', 'is not finished'),
    ('--config.teacher_checkpoint=two_networks', 'holds 2 networks; name one'),
    ('--config.teacher_checkpoint=no_json', 'is damaged'),
    ('--config.teacher_checkpoint=no_spec', 'is damaged'),
    ('--config.teacher_checkpoint=text.jax', 'text.jax cannot be read as a function of jax.export'),
    (
      '--config.teacher_checkpoint=empty.jax',
      'empty.jax cannot be read as a function of jax.export',
    ),
    (
      '--config.teacher_checkpoint=cut_off.jax',
      'cut_off.jax cannot be read as a function of jax.export',
    ),
    ('--config.teacher_checkpoint=locked.jax', 'locked.jax cannot be read'),
    (
      '--config.teacher_checkpoint=two_arguments.jax',
      'two_arguments.jax maps float32[3], float32[3]',
    ),
    (
      '--config.teacher_checkpoint=other_images.jax',
      'takes images of 3 channels, and these have 1',
    ),
    ('--config.teacher_checkpoint=other_classes.jax', 'logits [b, 10]'),
    ('--config.teacher_checkpoint=four_at_a_time.jax', 'is for 4 images at a time'),
    (
      '--config.teacher_checkpoint=for_tpu.jax',
      'was exported for tpu, and this machine computes on cpu',
    ),
  ],
  'workdirs': [
    ('--workdir=a_file', 'cannot be written (File exists)'),
    ('--workdir=a_file/below', 'cannot be written (Not a directory)'),
    ('--workdir=other', 'holds a run with another configuration'),
    ('--workdir=garbled', 'is not valid JSON'),
    ('--workdir=config_list', 'config.json'),
    ('--workdir=config_text', 'config.json'),
    ('--workdir=config_nan', 'is not valid JSON (it holds NaN)'),
    ('--workdir=config_latin', 'it is not UTF-8 text'),
    ('--workdir=data_list', 'data.json'),
    ('--workdir=data_lacks', 'data.json'),
    ('--workdir=data_text', 'is not valid JSON'),
    ('--workdir=results_object', 'results.json is damaged (all of it is {})'),
    ('--workdir=results_text', 'is not valid JSON'),
    ('--workdir=no_entry', 'no_entry'),
    ('--workdir=no_entry/below', 'no_entry'),
    ('--workdir=no_write', 'cannot be written (Permission denied)'),
    ('--workdir=no_write/below', 'cannot be written (Permission denied)'),
    ('--workdir=loop', 'loop'),
    (f'--workdir={LONG}', 'File name too long'),
    (f'--workdir={BYTES}', '--workdir holds bytes that are no UTF-8'),
    ('--workdir=started --config.epochs=3', 'epochs: 10 → 3'),
  ],
}
OTHERS = {
  'reports': [
    ('', 'the following arguments are required: DIR'),
    ('run study', 'unrecognized arguments: study'),
    ('run --data=x', 'unrecognized arguments: --data=x'),
    ('nosuch', 'holds neither a study nor a run'),
    ('nothing', 'holds neither a study nor a run'),
    ('s3://bucket/run', 's3://bucket/run is a URL, and kd_jax reads and writes local files alone'),
    ('study --out=gs://bucket/report', '--out=gs://bucket/report is a URL'),
    ('a_file', 'holds neither a study nor a run'),
    ('no_entry', 'no_entry'),
    (LONG, 'xxx'),
    ('unfinished', 'is not finished: results.json has no student yet'),
    ('study --data_dir=empty', '--data_dir is for the page of a run'),
    ('study --out=a_file', 'cannot be written'),
    ('study --out=no_write', 'cannot be written (Permission denied)'),
    ('run_config_text', 'is not valid JSON'),
    ('run_config_list', 'it is no JSON object'),
    ('run_config_key', "unknown configuration key 'epoch'"),
    ('run_config_type', "epochs is a int, such as 200, not 'many'"),
    ('run_results_text', 'is not valid JSON'),
    ('run_results_object', 'is damaged'),
    ('run_results_utf16', 'it is not UTF-8 text'),
    ('run_results_bom', 'is not valid JSON'),
    ('run_results_deep', 'is not valid JSON'),
    ('run_results_role', 'is damaged'),
    ('run_results_text_for_number', 'is damaged'),
    ('run_results_two', 'is damaged'),
    ('run_results_teachers', 'is damaged'),
    ('run_results_method', 'is damaged'),
    ('run_results_seconds', 'is damaged'),
    ('run_versions_lost', 'is not valid JSON'),
    ('run_versions_list', 'it is no JSON object'),
    ('run_history_cells', 'is damaged: line 2 has 3 cells and the header 2'),
    ('run_history_quote', 'is damaged at line 2'),
    ('run_history_epoch', 'a line has no epoch'),
    ('run_history_text', 'is damaged'),
    ('run_history_terms', 'is damaged'),
    ('run_history_binary', 'it is not UTF-8 text'),
    ('study_text', 'is not valid JSON'),
    ('study_list', 'study.json is damaged (all of it is [])'),
    ('study_lacks', 'study.json is damaged (question is missing)'),
    ('study_rows', 'study.json'),
    ('study_row', 'study.json'),
    ('study_row_sweep', 'study.json'),
    ('study_row_paper', 'study.json'),
    ('study_row_group', 'study.json'),
    ('study_run', 'study.json'),
    ('study_run_config', 'study.json'),
    ('study_run_history', 'nowhere.csv'),
    ('study_run_outside', 'study.json'),
    ('study_scale', 'study.json'),
    ('study_comparisons', 'study.json'),
    ('study_results_object', 'results.json is damaged (all of it is {})'),
    ('study_results_seed', 'results.json'),
    ('study_results_accuracy', 'results.json'),
    ('study_results_seconds', 'results.json'),
    ('study_sweeps_text', 'is not valid JSON'),
  ],
  'exports': [
    ('', 'the following arguments are required: RUN'),
    ('nosuch', 'nosuch does not exist or may not be read; give a workdir'),
    ("'~nobody_of_that_name/run'", '~nobody_of_that_name'),
    ('a_file', 'a_file is no network'),
    ('s3://bucket/run', 's3://bucket/run is a URL'),
    ('network --out=s3://bucket/export', '--out=s3://bucket/export is a URL'),
    ('started', 'is not finished'),
    ('study', 'holds a study, which has many networks'),
    ('text.pth', 'cannot be read as a PyTorch checkpoint'),
    ('runs_code.pth', "it wants 'os.system'"),
    ('no_json', 'is damaged'),
    ('network --mean=.5 --std=.5', 'mean is for a PyTorch checkpoint that does not state it'),
    ('good.pth --mean=.5', 'mean and std go together'),
    ('good.pth --weights=ema', 'holds no moving average (EMA)'),
    ('network --format=tflite', "invalid choice: 'tflite'"),
    ('network --out=a_file', 'a_file cannot be written (File exists)'),
    ('network --out=no_write/x', 'cannot be written (Permission denied)'),
    ('network --classes=a,b', '2 names of classes are given, and the network has 10 classes'),
    ('network_results', 'results.json'),
    ('network_config', 'config.json'),
    ('network_versions', 'versions.json'),
  ],
  'networks': [
    ('short.safetensors', 'its header of safetensors is damaged or cut off'),
    ('no_json.safetensors', 'its header of safetensors is damaged, or does not fit'),
    ('long.safetensors', 'its header of safetensors is damaged or cut off'),
    ('beyond.safetensors', 'its header of safetensors is damaged, or does not fit'),
    ('quantised.safetensors', "is of type F8_E4M3, which is no weight's; save the network before"),
    ('of_kd_jax.safetensors', 'it is a network that kd_jax saved; give its folder'),
    ('no_weights.safetensors', 'there is no state dict of one network'),
    ('config_text_beside/model.safetensors', 'config.json, beside the weights, cannot be read'),
    ('config_list_beside/model.safetensors', 'it is no JSON object; download it again'),
    ('config_of_0_classes/model.safetensors', 'states its classes as 0, which no network has'),
    ('config_of_7_classes/model.safetensors', 'the config.json beside it states 7; bring the two'),
    ('config_without_spread/model.safetensors', 'states mean (0.5,) and std (0.0,)'),
    ('config_of_no_size/model.safetensors', 'states the size of its images as [1, -16, 16]'),
    ('images_text_beside/model.safetensors', 'preprocessor_config.json, beside the weights'),
    ('second_convnext.pth', 'a ConvNeXt of blocks (2, 2, 6, 2), filters True, version 2'),
    ('convnext_body.pth', 'the weights have no classifier where convnext_atto has one'),
    ('short_convnext.pth', 'a ConvNeXt of blocks (2, 2, 6), filters True'),
    ('wide_mobilenet.pth', 'a MobileNetV3 of code timm, size other'),
    ('no_stem.pth', 'missing conv_stem.weight'),
    ('flat_stem.pth', 'of another shape conv_stem.weight [] for [16, 3, 3, 3]'),
    ('arguments.pth', "an object of 'argparse.Namespace' where its weights should be"),
  ],
  'predictions': [
    ('', 'the following arguments are required'),
    ('nosuch image.png', 'nosuch does not exist or may not be read; give a workdir'),
    ('network s3://bucket/image.png', 's3://bucket/image.png is a URL'),
    ('network nosuch.png', 'nosuch.png does not exist or may not be read'),
    ('network empty', 'empty holds no image'),
    ('network text.png', 'text.png is no image that can be read (of no kind that Pillow knows)'),
    ('network cut_off.png', 'cut_off.png is no image that can be read'),
    ('network deep.png', 'deep.png has more than 8 bits a channel'),
    ('network bomb.png', 'bomb.png is no image that can be read (Image size (3600000000 pixels)'),
    ('network locked.png', 'locked.png is no image that can be read (Permission denied)'),
    ('network loop.png', 'loop.png'),
    ('network no_entry', 'no_entry'),
    ('network image.png --mean=.5,.5,.5', 'mean and std go together'),
    ('network image.png --mean=a --std=b', 'argument --mean: numbers with commas'),
    ('network image.png --mean=.5 --std=-1', 'std holds -1'),
    (
      'network image.png --mean=.5 --std=.5',
      'mean is for a PyTorch checkpoint that does not state it',
    ),
    ('network image.png --weights=ema', 'weights is for a PyTorch checkpoint'),
    ('good.pth image.png --weights=ema', 'holds no moving average (EMA)'),
    ('network image.png --top=0', '--top: at least 1, not 0'),
    ('network image.png --top=many', "invalid whole_number value: 'many'"),
    ('network image.png --format=xml', "invalid choice: 'xml'"),
    ('text.stablehlo image.png', 'text.stablehlo cannot be read as stablehlo'),
    ('pair.stablehlo image.png', 'pair.stablehlo'),
    ('four.stablehlo image.png', 'four.stablehlo'),
    ('card.stablehlo image.png', 'is not valid JSON'),
    ('list.stablehlo image.png', 'list.stablehlo.json'),
    ('other.stablehlo image.png', 'is not the file that other.stablehlo.json beside it describes'),
  ],
  'crosschecks': [
    ('', 'the following arguments are required: --reference'),
    ('--reference=nosuch --pretrained=empty', 'nosuch holds no .npz file'),
    (
      '--reference=s3://bucket/numbers --pretrained=empty',
      '--reference=s3://bucket/numbers is a URL',
    ),
    ('--reference=empty --pretrained=empty', 'empty holds no .npz file'),
    ('--reference=unknown_numbers --pretrained=empty', 'numbers.npz is of no known kind'),
    ('--reference=text_numbers --pretrained=empty', 'losses.npz'),
    ('--reference=pickled_numbers --pretrained=empty', 'losses.npz'),
    ('--reference=lacking_numbers --pretrained=empty', "the losses' file lacks student_logits"),
    ('--reference=lacking_network --pretrained=empty', 'there is no file of that name'),
    ('--reference=lacking_network', 'name the folder of that by --pretrained'),
  ],
  'tables': [
    ('', 'the following arguments are required: --out'),
    ('--out=t.npz', '--config is a study, and a table is for single runs'),
    (f'{OF_DIGITS}', 'a table is of one teacher: name its file with --teacher'),
    (f'{OF_DIGITS} --teacher=network,good.pth', 'a table is of one teacher'),
    (f'{OF_DIGITS} --teacher=nosuch.pth', 'nosuch.pth does not exist'),
    (f'{OF_DIGITS} --teacher=empty', 'holds no finished network'),
    (f'{OF_DIGITS} --teacher=text.pth', 'cannot be read as a PyTorch checkpoint'),
    (f'{OF_DIGITS} --teacher=other_images.jax', 'takes images of 3 channels, and these have 1'),
    (f'{OF_DIGITS} --teacher=s3://bucket/t.pth', '--teacher=s3://bucket/t.pth is a URL'),
    (f'{OF_DIGITS} --tacher=network', "Unknown command line flag 'tacher'. Did you mean 'teacher'"),
    (f'{OF_DIGITS} --teacher=network --config.epoch=3', "unknown configuration key 'epoch'"),
    ('--config=digits_kd --out=t.txt --teacher=network', 'call it t.npz'),
    (
      '--config=digits_kd --out=no_write/t.npz --teacher=network',
      'no_write/t.npz cannot be written',
    ),
    ('--config=digits_kd --out=nosuch/t.npz --teacher=network', 'nosuch/t.npz cannot be written'),
  ],
  'other commands': [
    ('reprot run', "unexpected argument 'reprot'"),
    ('reprot', "Did you mean 'report'?"),
    ('run digits_kd', 'Did you mean --config=digits_kd?'),
    ('run --config.epoch=3', "unknown configuration key 'epoch'. Did you mean 'epochs'?"),
    ('--versoin', "Unknown command line flag 'versoin'"),
    ('--config', 'argument --config: expected one argument'),
    ('completion', 'the following arguments are required: shell'),
    ('completion tcsh', "invalid choice: 'tcsh'"),
  ],
}
COMMANDS = {
  'reports': 'kd-jax report',
  'exports': 'kd-jax export',
  'networks': 'kd-jax export',
  'predictions': 'kd-jax predict',
  'crosschecks': 'kd-jax crosscheck',
  'tables': 'kd-jax table',
  'other commands': 'kd-jax',
}
SURROUNDINGS = [
  Case('surroundings', 'JAX_PLATFORMS=nosuch launch.py', 'JAX_PLATFORMS'),
  *(
    Case('surroundings', f'JAX_PLATFORMS=rocm {command}', 'JAX finds no devices (')
    for command in ('launch.py', 'kd-jax export network', 'kd-jax predict network image.png')
  ),
  Case(
    'surroundings', 'launch.py --config.dataset=photos --config.cache_dir=a_file', 'set cache_dir'
  ),
]


def launched(arguments: str) -> str:
  """The command; the cases that name no configuration are of a single run."""
  return (
    f'launch.py {arguments}'
    if re.search(r'(^| )--?config[= ]', f'{arguments} ')
    else f'launch.py --config=digits_kd {arguments}'
  )


CASES = [
  *(Case('teachers', launched(arguments), said) for arguments, said in bad_tables.LAUNCH),
  *(
    Case(kind, f'{bad_tables.COMMANDS[kind]} {arguments}'.strip(), said)
    for kind, cases in bad_tables.OTHERS.items()
    for arguments, said in cases
  ),
  *(
    Case(kind, launched(arguments), said)
    for kind, cases in LAUNCH.items()
    for arguments, said in cases
  ),
  *(
    Case(kind, f'{COMMANDS[kind]} {arguments}'.strip(), said)
    for kind, cases in OTHERS.items()
    for arguments, said in cases
  ),
  *(
    Case(kind, launched(arguments), said)
    for kind, cases in bad_later.LAUNCH.items()
    for arguments, said in cases
  ),
  *(
    Case(kind, f'{(COMMANDS | bad_tables.COMMANDS)[kind]} {arguments}'.strip(), said)
    for kind, cases in bad_later.OTHERS.items()
    for arguments, said in cases
  ),
  *SURROUNDINGS,
]
