"""The parts of kd_jax in a training loop of your own, on scikit-learn's handwritten digits; half a
minute on two CPU cores.

  python examples/own_loop.py

A cell begins with `# %%`, as Jupytext, VS Code and Spyder read it. docs/api.md lists what there is,
with shapes.
"""

# %% Sizes
import jax
import numpy as np
import optax
from sklearn.datasets import load_digits

from kd_jax import models
from kd_jax.data import pipeline
from kd_jax.losses import features, logits, reduce
from kd_jax.methods import base, nokd
from kd_jax.train import state, step
from kd_jax.types import Block, Frozen, InitInputs, Method, NetworkSpec, Source

EPOCHS, BATCH = 8, 64
TEACHER, STUDENT = 'thin_resnet14', 'thin_resnet8'

# %% Your data: pixels u8[N, H, W, C] and labels i32[N]; the last 360 digits are for testing.
digits = load_digits()
image = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
label = digits.target.astype(np.int32)
train, test = (
  jax.device_put(Source(image[part], label[part])) for part in (slice(0, 1437), slice(1437, None))
)


# %% Networks: models.MODELS has their names. A network normalises by itself, and returns all that a
# loss may want.
def network(name):
  return models.build(
    NetworkSpec(name, classes=10, image_shape=(8, 8, 1), mean=(0.305,), std=(0.376,))
  )


teacher, student = network(TEACHER), network(STUDENT)
outputs = models.output_shapes(student, batch=BATCH)
print(
  'A student returns logits',
  outputs.logits.shape,
  'and features',
  [feature.shape for feature in outputs.features],
)

# %% Augmentation: pure functions of keys and images, made into the views that a method asks for;
# most ask for 'weak' alone.
preprocess = pipeline.preprocess({'weak': pipeline.weak(crop_padding=1, flip=False)})


# %% A loop of your own around kd_jax.train.step: any optimiser of optax, any order of images, any
# schedule.
def fit(key, network, method, *, teachers=()):
  """The variables {'params', 'batch_stats'} of a trained network; `teachers` holds pairs of a
  network and its variables.
  """
  init_key, method_key, step_key, order_key = jax.random.split(key, 4)
  steps = len(train.label) // BATCH
  optimiser = optax.adamw(optax.cosine_decay_schedule(3e-3, EPOCHS * steps))
  own = method.init(
    InitInputs(
      key=method_key,
      student=models.info(network),
      teachers=tuple(models.info(net, variables=variables) for net, variables in teachers),
      labels=train.label,
    )
  )
  current = state.create(models.initialise(init_key, network), own, optimiser)
  frozen = Frozen(
    teachers=tuple(variables for _, variables in teachers),
    constants=own.constants,
    key=step_key,
    epoch_steps=np.int32(steps),
    phase_steps=np.int32(EPOCHS * steps),
  )
  compiled = jax.jit(
    step.train_step(network, [net for net, _ in teachers], method, optimiser, preprocess)
  )
  for epoch in range(EPOCHS):
    order = jax.random.permutation(jax.random.fold_in(order_key, epoch), len(train.label))
    for number in range(steps):
      index, position = (order[number * BATCH : (number + 1) * BATCH],), (np.arange(BATCH),)
      block = Block(sources=(train,), index=index, example=index, position=position)
      current, metrics = compiled(current, frozen, block)
  print(
    '  last batch:',
    {name: round(float(total / count), 3) for name, (total, count) in metrics.items()},
  )
  return state.student_variables(current)


def accuracy(network, variables):
  """The share of the test images that the network is right on."""
  evaluate = jax.jit(step.evaluation_step(network, pipeline.to_unit))
  count = len(test.label)
  right, counted = evaluate(variables, (test,), (np.arange(count),), np.ones(count, np.float32))[
    'accuracy'
  ]
  return float(right / counted)


# %% A teacher. (One that is trained already comes from kd_jax.files.networks.load_network or
# kd_jax.pytorch.names.import_file.)
print('The teacher')
teacher_variables = fit(jax.random.key(0), teacher, nokd())
teacher_accuracy = accuracy(teacher, teacher_variables)
print(
  f'  {models.count_parameters(teacher_variables["params"]):,} parameters, {teacher_accuracy:.1%} '
  f'of the test images'
)


# %% Losses, composed. Each gives one value an example; `reduce.mean` makes a term of them, on one
# device and on many.
def loss(variables, inputs):
  student, teacher = inputs.student['weak'], inputs.teachers[0]['weak']
  hard = logits.cross_entropy(student.logits, inputs.batch.label)  # f32[B]
  soft = logits.kl_divergence(student.logits, teacher.logits, temperature=4.0)  # f32[B]
  pairs = zip(base.after_relu(student.features), base.after_relu(teacher.features), strict=True)
  attention = sum(features.attention_transfer(s, t) for s, t in pairs)  # f32[B]
  weights = {'cross entropy': 0.1, 'distillation': 0.9 * 4.0**2, 'attention': 10.0}
  terms = zip(weights.items(), (hard, soft, attention), strict=True)
  return {
    name: weight * reduce.mean(values, axis=inputs.axis) for (name, weight), values in terms
  }, variables.state


# %% The student, by the same loop. A method is this loss and an `init` for what it trains beside
# the student: nothing here.
print('The student')
student_variables = fit(
  jax.random.key(1),
  student,
  Method(init=base.no_modules, loss=loss),
  teachers=[(teacher, teacher_variables)],
)
student_accuracy = accuracy(student, student_variables)
print(
  f'  {models.count_parameters(student_variables["params"]):,} parameters, {student_accuracy:.1%} '
  f'of the test images'
)


# %% A loss and a network work without the step, too: here is one gradient of a term by itself.
@jax.jit
def gradient(params, statistics, target):
  def term(params):
    own = student.module.apply(
      {'params': params, 'batch_stats': statistics}, pipeline.to_unit(test.image), train=False
    )
    return logits.kl_divergence(own.logits, target, temperature=4.0).mean()

  return jax.grad(term)(params)


target = 10 * jax.nn.one_hot(test.label, 10)  # f32[360, 10]: a teacher that is always right
size = optax.tree.norm(
  gradient(student_variables['params'], student_variables['batch_stats'], target)
)
print(f'The gradient of the divergence from one that is always right has the length {size:.3f}.')
