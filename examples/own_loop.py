"""Networks and losses of kd_jax in a loop of your own; half a minute on two CPU cores."""

import jax
import optax

from kd_jax import losses, models
from kd_jax.data import pipeline, sources
from kd_jax.types import NetworkSpec

EPOCHS, BATCH, TEMPERATURE = 8, 64, 4.0
digits = sources.load('digits')  # or any arrays: images u8[N, H, W, C], labels i32[N]
image, label = jax.device_put(digits.train)
spec = NetworkSpec('thin_resnet14', classes=10, image_shape=(16, 16, 1), mean=(0.3,), std=(0.32,))


def fit(key, name, teacher=None):  # returns a network and its variables, as a teacher is given
  network = models.build(spec._replace(name=name))
  steps = len(label) // BATCH
  optimiser = optax.adamw(optax.cosine_decay_schedule(3e-3, EPOCHS * steps))

  def loss(params, stats, x, y):  # a network normalises by itself, and returns every feature
    variables = {'params': params, 'batch_stats': stats}
    own, new = network.module.apply(variables, x, train=True, mutable=['batch_stats'])
    values = losses.cross_entropy(own.logits, y)  # f32[B], one an example
    if teacher:
      target = teacher[0].module.apply(teacher[1], x, train=False).logits
      soft = losses.kl_divergence(own.logits, target, temperature=TEMPERATURE)
      values = 0.1 * values + 0.9 * TEMPERATURE**2 * soft
    return values.mean(), new['batch_stats']

  @jax.jit
  def step(params, stats, state, x, y):
    gradient, stats = jax.grad(loss, has_aux=True)(params, stats, pipeline.to_unit(x), y)
    update, state = optimiser.update(gradient, state, params)
    return optax.apply_updates(params, update), stats, state

  params, stats = (models.initialise(key, network)[part] for part in ('params', 'batch_stats'))
  state = optimiser.init(params)
  for epoch in range(EPOCHS):
    order = jax.random.permutation(jax.random.fold_in(key, epoch), len(label))
    for index in order[: steps * BATCH].reshape(steps, BATCH):
      params, stats, state = step(params, stats, state, image[index], label[index])
  return network, {'params': params, 'batch_stats': stats}


teacher = fit(jax.random.key(0), 'thin_resnet14')
student = fit(jax.random.key(1), 'thin_resnet8', teacher)
for network, variables in (teacher, student):
  logits = network.module.apply(variables, pipeline.to_unit(digits.test.image), train=False).logits
  print(f'{(logits.argmax(-1) == digits.test.label).mean():.1%} of the test images are right')
