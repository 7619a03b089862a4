"""Kernels of functions from anywhere: trees of parameters, inputs and outputs; what changed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from ntk_prune import masks
from ntk_prune.ntk import empirical_ntk, estimate_cost, jacobian, ntk_operator
from ntk_prune.ntk.backends import cost
from ntk_prune.ntk.backends.select import BACKENDS
from ntk_prune.ntk.identity import keyed

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (3, 4))


@pytest.fixture(autouse=True)
def _exact():
    with jax.default_matmul_precision("highest"):
        yield


def dense_kernel(f, params, x, flags=None):
    """``[n, n, C, C]`` from the Jacobian of the flattened outputs, leaf by leaf."""
    leaves, structure = jax.tree.flatten(params)
    flags = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves] if flags is None else flags

    def flat(chosen):
        fresh = iter(chosen)
        tree = structure.unflatten([next(fresh) if flag else leaf
                                    for leaf, flag in zip(leaves, flags, strict=True)])  # fmt: skip
        outputs = jax.tree.leaves(f(tree, x))
        return jnp.concatenate([o.reshape(len(o), -1) for o in outputs], axis=1)

    chosen = [leaf for leaf, flag in zip(leaves, flags, strict=True) if flag]
    parts = jax.jacrev(flat)(chosen)
    j = jnp.concatenate([p.reshape(*p.shape[:2], -1) for p in parts], axis=-1)
    return np.einsum("icp,jdp->ijcd", j, j)


def check(f, params, x, shape=None, **options):
    """Every backend gives the dense kernel."""
    exact = dense_kernel(f, params, x)
    for backend in BACKENDS:
        kernel = empirical_ntk(f, params, x, backend=backend, **options)
        if shape is not None:
            assert kernel.shape == (3, 3, *shape, *shape)
        np.testing.assert_allclose(kernel.reshape(exact.shape), exact, rtol=2e-5, atol=2e-5)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 5, rngs=rngs)
        self.second = nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.relu(self.first(x)))


def nnx_network():
    graph, state = nnx.split(Net(nnx.Rngs(0)))
    return (lambda state, x: nnx.merge(graph, state)(x)), state


def test_nnx_states_have_kernels_and_prunable_leaves():
    f, state = nnx_network()
    check(f, state, X)
    assert sorted(masks.layer_counts(masks.ones_like(state)).values()) == [(10, 10), (20, 20)]
    prunable = empirical_ntk(f, state, X, wrt="prunable", outputs="trace")
    flags = jax.tree.leaves(masks.prunable(state))
    exact = dense_kernel(f, state, X, flags)
    np.testing.assert_allclose(prunable, np.einsum("ijcc->ij", exact), rtol=1e-5)


def test_masked_nnx_states():
    f, state = nnx_network()
    mask = masks.keep_top(jax.tree.map(jnp.abs, state), masks.ones_like(state), 0.5)
    assert masks.density(mask) == 0.5
    for backend in BACKENDS:
        kernel = empirical_ntk(f, state, X, mask=mask, backend=backend)
        j = jacobian(f, state, X, mask=mask)
        np.testing.assert_allclose(kernel, np.einsum("icp,jdp->ijcd", j, j), rtol=1e-5, atol=1e-6)


def test_lists_single_arrays_and_names_of_other_libraries():
    w = jax.random.normal(KEY, (4, 2))
    check(lambda p, x: jnp.tanh(x @ p), w, X)
    check(lambda p, x: jnp.tanh(x @ p[0]) + p[1], [w, jnp.ones((1, 2))], X)
    haiku = {"mlp/~/linear_0": {"w": w, "b": jnp.ones((1, 2))}}
    call = lambda p, x: x @ p["mlp/~/linear_0"]["w"] + p["mlp/~/linear_0"]["b"]  # noqa: E731
    check(call, haiku, X)
    by_predicate = empirical_ntk(call, haiku, X, wrt=lambda path: path[-1] == "w")
    np.testing.assert_allclose(
        by_predicate, dense_kernel(call, haiku, X, [False, True]), rtol=1e-5, atol=1e-6
    )
    is_w = lambda path: path[-1] == "w"  # noqa: E731
    mask = masks.keep_top(haiku, masks.ones_like(haiku), 0.5, is_prunable=is_w)
    assert masks.density(mask, is_w) == 0.5
    with pytest.raises(ValueError, match="wrt chooses no parameter"):
        empirical_ntk(call, haiku, X, wrt="prunable")
    with pytest.raises(ValueError, match="no leaf is prunable"):
        masks.density(masks.ones_like(haiku))


@pytest.mark.parametrize("value", [jnp.arange(4), jax.random.key(3)])
def test_integers_and_keys_are_no_parameters(value):
    params = {"order": value, "w": jax.random.normal(KEY, (4, 2))}

    def f(p, x):
        kept = p["order"] if p["order"].dtype == jnp.int32 else jnp.arange(4)
        return jnp.tanh(x[:, kept] @ p["w"])

    check(f, params, X)
    mask = {"order": jnp.ones(value.shape, bool), "w": jnp.ones((4, 2), bool).at[0].set(False)}
    kernel = empirical_ntk(f, params, X, mask=mask, outputs="trace")
    pruned = {**params, "w": params["w"].at[0].set(0.0)}
    exact = dense_kernel(f, pruned, X.at[:, 0].set(0.0))  # the first input meets zeros alone
    np.testing.assert_allclose(kernel, np.einsum("ijcc->ij", exact), rtol=1e-5, atol=1e-6)
    operator = ntk_operator(f, params, X)
    assert operator.num_parameters == 8


@pytest.mark.parametrize(
    ("outputs", "shape"),
    [
        (lambda y: y[:, 0], ()),
        (lambda y: y.reshape(len(y), 3, 2), (3, 2)),
        (lambda y: {"a": y[:, :1], "b": (y[:, 1], y[:, 2:].reshape(-1, 2, 2))}, (6,)),
    ],
)
def test_outputs_of_any_shape(outputs, shape):
    w = {"kernel": jax.random.normal(KEY, (4, 6))}
    f = lambda p, x: outputs(jnp.tanh(x @ p["kernel"]))  # noqa: E731
    check(f, w, X, shape)
    exact = dense_kernel(f, w, X)
    trace = empirical_ntk(f, w, X, outputs="trace")
    np.testing.assert_allclose(trace, np.einsum("ijcc->ij", exact), rtol=1e-5)
    dense = ntk_operator(f, w, X).dense()
    np.testing.assert_allclose(
        dense, exact.transpose(0, 2, 1, 3).reshape(dense.shape), rtol=1e-5, atol=1e-5
    )


def test_inputs_of_several_arrays():
    tokens = jnp.array([[0, 2, 1], [1, 1, 0], [2, 0, 2]])
    x = {"tokens": tokens, "scale": (X[:, 0], X)}
    params = {"table": jax.random.normal(KEY, (3, 4)), "kernel": jax.random.normal(KEY, (4, 2))}

    def f(p, x):
        embedded = p["table"][x["tokens"]].mean(1) * x["scale"][0][:, None] + x["scale"][1]
        return jnp.tanh(embedded @ p["kernel"])

    check(f, params, x)
    check(f, params, x, chunk=2)
    rows = jax.tree.map(lambda leaf: leaf[:2], x)
    np.testing.assert_allclose(
        empirical_ntk(f, params, rows, x), empirical_ntk(f, params, x)[:2], rtol=1e-5, atol=1e-6
    )
    matrix = ntk_operator(f, params, x, chunk=2).dense()
    exact = dense_kernel(f, params, x)
    np.testing.assert_allclose(
        matrix, exact.transpose(0, 2, 1, 3).reshape(6, 6), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("x1", "x2", "error"),
    [
        (X[0, 0], None, "one n, got shapes"),
        ({"a": X, "b": X[:2]}, None, "with one n"),
        ([[1.0, 2.0]], None, "with one n"),
        (X[:0], None, "no inputs"),
        (X, X.astype(jnp.bfloat16), "differ in shape or type: float32"),
        (X, {"a": X}, "differ in structure"),
    ],
)
def test_inputs_that_cannot_be(x1, x2, error):
    with pytest.raises(ValueError, match=error) as caught:
        empirical_ntk(lambda p, x: x @ p, jnp.ones((4, 2)), x1, x2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("output", [lambda y: y.sum(0), lambda y: y.argmax(1), lambda _: ()])
def test_outputs_that_cannot_be(output):
    with pytest.raises(ValueError, match=r"f must return|f returns no array"):
        empirical_ntk(lambda p, x: output(x @ p), jnp.ones((4, 2)), X)


def test_a_closure_that_changed_is_not_answered_from_before():
    scale = 1.0

    def f(p, x):
        return scale * x @ p

    w = jnp.ones((4, 2))
    first = empirical_ntk(f, w, X)
    operator = ntk_operator(f, w, X).dense()
    scale = 3.0
    for backend in BACKENDS:
        np.testing.assert_allclose(empirical_ntk(f, w, X, backend=backend), 9 * first, rtol=1e-5)
    np.testing.assert_allclose(ntk_operator(f, w, X).dense(), 9 * operator, rtol=1e-5)
    np.testing.assert_allclose(jacobian(f, w, X)[0, 0, 0], 3 * X[0, 0], rtol=1e-6)


def test_arrays_and_settings_that_changed_are_seen():
    scale, settings = np.ones((1, 1)), {"power": 1}
    f = lambda p, x: scale * x @ p ** settings["power"]  # noqa: E731
    w = 2 * jnp.ones((4, 2))
    first = empirical_ntk(f, w, X)
    scale = 2 * scale
    np.testing.assert_allclose(empirical_ntk(f, w, X), 4 * first, rtol=1e-5)
    settings["power"] = 2
    np.testing.assert_allclose(empirical_ntk(f, w, X), 64 * first, rtol=1e-5)


class Unhashable:
    __hash__ = None

    def __call__(self, p, x):
        return jnp.tanh(x @ p)


def test_unhashable_functions():
    w = jax.random.normal(KEY, (4, 2))
    f = Unhashable()
    np.testing.assert_array_equal(
        empirical_ntk(f, w, X), empirical_ntk(lambda p, x: jnp.tanh(x @ p), w, X)
    )


def test_what_is_the_same_is_not_compiled_again():
    net = linen.Dense(2)
    assert keyed(net.apply) == keyed(linen.Dense(2).apply)
    assert keyed(net.apply) != keyed(linen.Dense(3).apply)
    offset = jnp.ones(2)

    def make():
        def helper(x):
            return x + offset

        return lambda p, x: helper(x) @ p

    assert keyed(make()) == keyed(make())
    assert hash(keyed(make())) == hash(keyed(make()))
    assert keyed(jax.jit(make())) == keyed(jax.jit(make()))

    def factorial(n):
        return 1 if n == 0 else n * factorial(n - 1)

    assert keyed(factorial) == keyed(factorial)


def test_the_type_of_a_kernel_does_not_depend_on_the_backend():
    params = {"table": jax.random.normal(KEY, (5, 3), jnp.float32)}
    tokens = jnp.array([[0, 1], [2, 4], [3, 3]])
    f = lambda p, x: jnp.tanh(p["table"][x]).sum(1)  # noqa: E731
    assert {empirical_ntk(f, params, tokens, backend=b).dtype for b in BACKENDS} == {
        np.dtype(np.float32)
    }
    with jax.enable_x64(True):
        wide = {"w": jax.random.normal(KEY, (4, 2), jnp.float64)}
        g = lambda p, x: jnp.tanh(x @ p["w"])  # noqa: E731
        assert {empirical_ntk(g, wide, X, backend=b).dtype for b in BACKENDS} == {
            np.dtype(np.float64)
        }


def test_vectors_of_another_length_are_refused():
    operator = ntk_operator(lambda p, x: x @ p, jnp.ones((4, 2)), X)
    for product, size in ((operator.matvec, 6), (operator.vjp, 6), (operator.jvp, 8)):
        product(jnp.ones(size))
        with pytest.raises(
            ValueError, match=rf"must have shape \({size},\).*, got \({size + 1},\)"
        ):
            product(jnp.ones(size + 1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_layer_without_weights_left(backend):
    params = {"a": {"kernel": jax.random.normal(KEY, (4, 3))}, "b": {"kernel": jnp.ones((3, 2))}}
    f = lambda p, x: jnp.tanh(x @ p["a"]["kernel"]) @ p["b"]["kernel"] + x[:, :2]  # noqa: E731
    mask = masks.ones_like(params)
    mask["b"]["kernel"] = jnp.zeros((3, 2), bool)
    for outputs in ("full", "trace", "sum", "class:1"):
        kernel = empirical_ntk(f, params, X, mask=mask, outputs=outputs, backend=backend)
        np.testing.assert_array_equal(kernel, 0)  # the path to a is cut, and nothing is left of b
    mask = masks.ones_like(params)
    mask["a"]["kernel"] = jnp.zeros((4, 3), bool)
    mask["b"]["kernel"] = mask["b"]["kernel"].at[0].set(False)
    nothing = jax.tree.map(jnp.zeros_like, mask)
    for tree in (mask, nothing):
        for outputs in ("full", "trace"):
            kernel = empirical_ntk(f, params, X, mask=tree, outputs=outputs, backend=backend)
            np.testing.assert_allclose(kernel, 0, atol=1e-6)


@jax.custom_vjp
def halved_backwards(x):
    return jnp.tanh(x)


halved_backwards.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g * (1 - jnp.tanh(x) ** 2) / 2,))


def test_functions_with_rules_for_reverse_mode_alone():
    w = jax.random.normal(KEY, (4, 2))
    f = lambda p, x: halved_backwards(x @ p)  # noqa: E731
    exact = dense_kernel(lambda p, x: jnp.tanh(x @ p), w, X) / 4
    for backend in ("auto", "layerwise", "jacobian"):
        kernel = empirical_ntk(f, w, X, backend=backend)
        np.testing.assert_allclose(kernel, exact, rtol=1e-5, atol=1e-6)
    with pytest.raises(NotImplementedError, match="take layerwise or jacobian"):
        empirical_ntk(f, w, X, backend="vector_products")


def test_memory_of_a_control_group(tmp_path):
    assert cost._control_group_memory(str(tmp_path)) == np.inf
    (tmp_path / "memory.max").write_text("max\n")
    assert cost._control_group_memory(str(tmp_path)) == np.inf
    for name, text in (("max", "1000"), ("current", "700"), ("stat", "file 5\ninactive_file 50")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert cost._control_group_memory(str(tmp_path)) == 350


def test_estimates_count_the_numbers_and_not_the_bytes_of_the_inputs():
    w = jnp.ones((4, 2))
    shapes = [jax.ShapeDtypeStruct((3, 4), dtype) for dtype in (np.uint8, np.float32)]
    f = lambda p, x: x.astype(jnp.float32) @ p  # noqa: E731
    assert len({estimate_cost(f, w, shape).bytes for shape in shapes}) == 1
