"""A small masked network with batch norm, random data, and ways to train it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ntk_prune import masks, training
from ntk_prune.models import BatchNorm, model
from ntk_prune.models.linen import conv
from ntk_prune.types import Mask, Model, Params, State


class Net(nn.Module):
    dtype: str | None = None
    convolution: bool = False

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9, axis_name=None):
        mode = {"train": train, "momentum": momentum, "axis_name": axis_name}
        if self.convolution:
            x = nn.relu(conv(4, 3, name="conv", dtype=self.dtype)(x))
        x = nn.Dense(16, dtype=self.dtype)(x.reshape(len(x), -1))
        x = nn.relu(BatchNorm(dtype=self.dtype)(x, **mode))
        return nn.Dense(3, dtype=self.dtype)(x)


def noisy(key, step, index, x):
    """Inputs with noise that depends on the step and on the place in the global batch."""
    key = jax.random.fold_in(key, step)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    noise = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:]))(keys)
    return x.astype(jnp.float32) / 128 - 1 + 0.1 * noise


@functools.cache  # so that tests share what they compile
def distribute(model, optimizer, prepare, parallel, num_devices, steps_per_call):
    step = training.make_train_step(model, optimizer, prepare)
    return training.distribute(step, parallel, jax.devices()[:num_devices], steps_per_call)


@dataclasses.dataclass
class Problem:
    """20 images of 4x4, 3 classes, batches of 8: 2 steps an epoch, 4 images left out of each."""

    model: Model
    params: Params
    state: State
    mask: Mask
    x: np.ndarray
    y: np.ndarray
    optimizer = training.sgd(0.1, 0.9, nesterov=True, weight_decay=1e-2)
    rate = staticmethod(training.learning_rate(0.1, 100))
    prepare = staticmethod(noisy)

    def order(self, epoch):
        return np.random.default_rng(epoch).permutation(20)[:16].reshape(2, 8)

    def create(self):
        return training.create(self.params, self.state, self.mask, self.optimizer)

    def distribute(self, parallel="pmap", num_devices=4, steps_per_call=1):
        return distribute(
            self.model, self.optimizer, self.prepare, parallel, num_devices, steps_per_call
        )

    def fit(self, num_steps, state=None, **how):
        state = self.create() if state is None else state
        how = self.distribute(**how)
        return training.fit(state, how, self.feed(how), num_steps, self.rate)

    def feed(self, how):
        return training.in_memory(how, self.x, self.y, self.order, jax.random.key(7))

    def train(self, num_steps, state=None, **how):
        """The record of the last epoch."""
        return list(self.fit(num_steps, state, **how))[-1]


@functools.cache
def ingredients(dtype: str | None = None, convolution: bool = False):
    network = model(Net(dtype, convolution))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
    params, state = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))
    scores = jax.tree.map(lambda p: rng.random(p.shape), params)
    mask = masks.keep_top(scores, masks.ones_like(params), 0.5)
    return network, params, state, mask, x, rng.integers(0, 3, 20)
