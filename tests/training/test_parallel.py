"""One device, four devices, pmap and jit are the same experiment."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_problem import Problem, ingredients

from ntk_prune import masks, training
from ntk_prune.models import resnet
from ntk_prune.training import default_steps_per_call, learning_rate

WAYS = [("pmap", 1), ("pmap", 4), ("jit", 4)]


def assert_same(a, b, atol=2e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=atol), a, b)


@pytest.mark.parametrize(("parallel", "num_devices"), WAYS)
def test_five_steps_equal_jit_on_one_device(problem, parallel, num_devices):
    reference = problem.train(5, parallel="jit", num_devices=1)
    other = problem.train(5, parallel=parallel, num_devices=num_devices)
    assert_same(other.state, reference.state)
    assert other.loss == pytest.approx(reference.loss, rel=1e-5)
    assert other.accuracy == reference.accuracy


@pytest.mark.parametrize(("parallel", "num_devices"), WAYS)
def test_gradients_do_not_grow_with_the_devices(problem, parallel, num_devices):
    """With plain SGD of rate 1 the first update is minus the gradient of the mean loss."""
    problem.optimizer = training.sgd(1.0, 0.0)
    before = problem.create()
    reference = problem.train(1, parallel="jit", num_devices=1).state
    after = problem.train(1, parallel=parallel, num_devices=num_devices).state
    move = lambda s: jax.tree.map(lambda a, b: a - b, jax.device_get(s.params), before.params)  # noqa: E731
    assert_same(move(after), move(reference))
    assert max(np.abs(m).max() for m in jax.tree.leaves(move(reference))) > 1e-2


@pytest.mark.slow
def test_a_resnet_under_pmap_on_four_devices_equals_one(problem):
    problem.model = resnet(8, 4, num_classes=3)
    problem.x = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    x = jnp.zeros((1, 8, 8, 3))
    problem.params, problem.state = problem.model.init(jax.random.key(1), x)
    problem.mask = masks.ones_like(problem.params)
    one, four = (problem.train(5, num_devices=n) for n in (1, 4))
    assert_same(four.state, one.state, atol=1e-4)
    assert four.loss == pytest.approx(one.loss, rel=1e-4)


@pytest.mark.parametrize("parallel", ["pmap", "jit"])
def test_replicas_are_bitwise_equal(problem, parallel):
    state = problem.train(4, parallel=parallel).state
    for leaf in jax.tree.leaves(state):
        first, *others = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(others) == 3
        for other in others:
            np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("parallel", ["pmap", "jit"])
def test_several_steps_in_one_dispatch_equal_one_by_one(problem, parallel):
    problem.order = lambda epoch: np.random.default_rng(epoch).integers(0, 20, (5, 8))
    one = list(problem.fit(7, parallel=parallel))
    several = list(problem.fit(7, parallel=parallel, steps_per_call=3))
    assert_same(several[-1].state, one[-1].state)
    assert [e.step for e in several] == [e.step for e in one] == [5, 7]
    np.testing.assert_allclose([e.loss for e in several], [e.loss for e in one], rtol=1e-5)


@pytest.mark.parametrize("parallel", ["pmap", "jit"])
def test_the_state_passes_from_one_way_to_another(problem, parallel):
    other = {"pmap": "jit", "jit": "pmap"}[parallel]
    whole = problem.train(4, parallel=parallel)
    half = problem.train(2, parallel=parallel).state
    assert_same(problem.train(4, half, parallel=other).state, whole.state)


def test_every_device_holds_its_own_share_of_the_batch(problem):
    for parallel, shape in (("pmap", (1, 3, 2, 4, 4, 1)), ("jit", (3, 2, 4, 4, 1))):
        how = problem.distribute(parallel)
        x, y = how.replicate((problem.x, problem.y))
        rows = np.arange(24).reshape(3, 8) % 20
        batch = how.take(x, y, rows, jax.random.key(0))
        assert [s.data.shape for s in batch.x.addressable_shards] == [shape] * 4
        assert np.asarray(batch.index).max() == 7
        last = np.asarray(batch.x.addressable_shards[3].data).reshape(3, 2, 4, 4, 1)
        np.testing.assert_array_equal(last, problem.x[rows[:, 6:]])


@pytest.mark.parametrize("parallel", ["pmap", "jit"])
def test_a_batch_that_does_not_divide_is_refused(problem, parallel):
    problem.order = lambda _: np.arange(18).reshape(3, 6)
    with pytest.raises(ValueError, match="batch_size 6 does not divide among 4 devices; take 4"):
        problem.train(3, parallel=parallel)


def test_unknown_way_is_refused(problem):
    with pytest.raises(ValueError, match="choose one of pmap, jit"):
        problem.distribute("pmapp")


def test_steps_per_call_depend_on_the_backend(problem):
    assert default_steps_per_call("cpu") == 1
    assert default_steps_per_call("gpu") == 16
    assert problem.distribute(steps_per_call=None).steps_per_call == 1


def test_training_compiles_once(problem):
    good, traced = problem.prepare, []

    def prepare(*args):
        traced.append(None)
        return good(*args)

    problem.prepare = prepare
    how = problem.distribute("jit")
    for _ in range(2):
        list(training.fit(problem.create(), how, problem.feed(how), 6, learning_rate(0.1, 6)))
        assert len(traced) == 1


def test_batches_from_the_host_train_like_batches_on_the_devices(problem):
    """From any step on, several steps a dispatch, and in both layouts."""

    def read(start):
        for step in range(start, 100):
            rows = problem.order(step // 2)[step % 2]
            yield problem.x[rows], problem.y[rows]

    for parallel in ("pmap", "jit"):
        how = problem.distribute(parallel, steps_per_call=2)
        stream = training.streamed(how, read, 2, 8, jax.random.key(7))
        for start in (0, 3):
            state = problem.create()._replace(step=jnp.asarray(start, jnp.int32))
            streamed = list(training.fit(state, how, stream, 7, problem.rate))[-1]
            assert_same(streamed.state, problem.train(7, state, parallel=parallel).state)


@pytest.mark.parametrize(
    ("parallel", "convolution"), [("pmap", False), ("jit", False), ("jit", True)]
)
def test_replicates_in_one_program_train_as_one_by_one(parallel, convolution):
    """Each with its own weights, mask, data order and augmentation; on four devices."""
    problem = Problem(*ingredients(convolution=convolution))
    keys = jax.random.split(jax.random.key(3), 3)
    make = lambda key: problem.model.init(key, jnp.zeros((1, 4, 4, 1)))[0]  # noqa: E731
    states, alone = [], []
    orders = [lambda epoch, r=r: np.roll(problem.order(epoch + 10 * r), r) for r in range(3)]
    for key, order in zip(keys, orders, strict=True):
        params = make(key)
        mask = jax.tree.map(lambda p: jnp.abs(p) >= jnp.median(jnp.abs(p)), params)
        states.append(training.create(params, problem.state, mask, problem.optimizer))
        how = problem.distribute(parallel)
        feed = training.in_memory(how, problem.x, problem.y, order, key)
        alone.append(list(training.fit(states[-1], how, feed, 5, problem.rate)))
    step = training.make_train_step(problem.model, problem.optimizer, problem.prepare)
    how = training.distribute(step, parallel, steps_per_call=2, replicates=3)
    order = lambda epoch: np.stack([o(epoch) for o in orders], 1)  # noqa: E731
    feed = training.in_memory(how, problem.x, problem.y, order, keys)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    together = list(training.fit(stacked, how, feed, 5, problem.rate))
    for r in range(3):
        assert_same(jax.tree.map(lambda a, r=r: a[r], together[-1].state), alone[r][-1].state)
        losses = [epoch.loss[r] for epoch in together]
        np.testing.assert_allclose(losses, [epoch.loss for epoch in alone[r]], rtol=1e-5)


def test_on_a_cpu_no_convolution_has_a_mapped_kernel():
    problem = Problem(*ingredients(convolution=True))
    step = training.make_train_step(problem.model, problem.optimizer, problem.prepare)
    how = training.distribute(step, "jit", jax.devices()[:1], replicates=3)
    state = how.replicate(jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), problem.create()))
    rows, keys = np.zeros((1, 3, 8), int), jax.random.split(jax.random.key(0), 3)
    batches = how.take(*how.replicate((problem.x, problem.y)), rows, keys)
    program = how.step.lower(state, batches).as_text()
    groups = re.findall(r"feature_group_count = (\d+)", program)
    assert groups
    assert set(groups) == {"1"}
