"""One device, four devices, pmap and jit are the same experiment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
        batch = how.take(x, y, rows)
        assert [s.data.shape for s in batch.x.addressable_shards] == [shape] * 4
        assert np.asarray(batch.index).max() == 7
        last = np.asarray(batch.x.addressable_shards[3].data).reshape(3, 2, 4, 4, 1)
        np.testing.assert_array_equal(last, problem.x[rows[:, 6:]])


@pytest.mark.parametrize("parallel", ["pmap", "jit"])
def test_a_batch_that_does_not_divide_is_refused(problem, parallel):
    problem.order = lambda _: np.arange(18).reshape(3, 6)
    with pytest.raises(ValueError, match="batch size 6 does not divide among 4 devices; take 4"):
        problem.train(3, parallel=parallel)


def test_unknown_way_is_refused(problem):
    with pytest.raises(ValueError, match="choose one of pmap, jit"):
        problem.distribute("pmapp")


def test_steps_per_call_depend_on_the_backend(problem):
    assert default_steps_per_call("cpu") == 1
    assert default_steps_per_call("gpu") == 16
    assert problem.distribute(steps_per_call=None).steps_per_call == 1


def test_training_compiles_once(problem):
    how = problem.distribute("jit")
    args = (problem.x, problem.y, problem.order, 6, learning_rate(0.1, 6))
    for _ in range(2):
        list(training.fit(problem.create(), how, *args))
    assert how.step._cache_size() == 1
