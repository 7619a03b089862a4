"""Exact kernels: identities first, then brute force, then reference files."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from kernel_cases import NETWORKS, brute_force, network, random_mask

from ntk_prune import masks
from ntk_prune.ntk import diagnostics, empirical_ntk, estimate_cost, jacobian, ntk_operator
from ntk_prune.ntk.backends.neural_tangents import reduce_outputs
from tools import parity

BACKENDS = ("layerwise", "jacobian", "vector_products")
OUTPUTS = ("full", "trace", "sum", "class:1")
GOLDEN = Path(__file__).parents[1] / "golden"


def close(a, b, rtol=1e-5):
    np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("pruned", [False, True])
def test_equals_brute_force(name, pruned):
    with jax.enable_x64(True):
        model, params, state, x = network(name, n=3, dtype=jnp.float64)
        mask = random_mask(params) if pruned else None
        expected = brute_force(model, params, state, x, mask)
        close(empirical_ntk(model, params, x, state=state, mask=mask, chunk=2), expected, 1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("pruned", [False, True])
def test_backends_and_conventions_agree(backend, outputs, pruned):
    model, params, state, x = network("residual")
    mask = random_mask(params) if pruned else None
    expected = reduce_outputs(brute_force(model, params, state, x, mask), outputs)
    options = {"state": state, "mask": mask, "outputs": outputs, "backend": backend, "chunk": 2}
    close(empirical_ntk(model, params, x, **options), expected)
    close(empirical_ntk(model, params, x[:3], x[1:], **options), expected[:3, 1:])


def test_neural_tangents_agrees():
    model, params, state, x = network("mlp")
    mask = random_mask(params)
    for x2 in (None, x[:2]):
        options = {"state": state, "mask": mask, "wrt": "prunable"}
        for outputs in OUTPUTS if x2 is not None else OUTPUTS[:1]:
            other = {"backend": "neural_tangents", "outputs": outputs, "chunk": 2}
            expected = empirical_ntk(model, params, x, x2, **other, **options)
            close(empirical_ntk(model, params, x, x2, outputs=outputs, **options), expected)


@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_symmetric_and_positive(name):
    model, params, state, x = network(name, n=4)
    kernel = empirical_ntk(model, params, x, state=state, accumulate="float64", chunk=3)
    assert kernel.dtype == np.float64
    matrix = diagnostics.as_matrix(kernel)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert diagnostics.eigenvalues(kernel)[-1] >= -1e-9 * np.trace(matrix)


def test_trace_is_the_squared_norm_of_the_jacobian():
    model, params, state, x = network("residual")
    mask = random_mask(params)
    j = jacobian(model, params, x, state=state, mask=mask)
    kernel = empirical_ntk(model, params, x, state=state, mask=mask, outputs="trace")
    np.testing.assert_allclose(np.trace(kernel), np.sum(np.square(j)), rtol=1e-5)
    assert j.shape[-1] == sum(int(m.sum()) for m in jax.tree.leaves(mask))


def test_all_ones_mask_is_the_dense_kernel():
    model, params, state, x = network("residual")
    ones = masks.ones_like(params)
    dense = empirical_ntk(model, params, x, state=state)
    np.testing.assert_array_equal(empirical_ntk(model, params, x, state=state, mask=ones), dense)


def test_masked_is_the_kernel_of_the_reduced_parameter_vector():
    model, params, state, x = network("mlp")
    mask = random_mask(params)
    leaves, structure = jax.tree.flatten(params)
    kept = [np.flatnonzero(m) for m in jax.tree.leaves(mask)]

    def rebuild(survivors, x):
        parts = zip(leaves, kept, survivors, strict=True)
        full = [jnp.zeros(p.size).at[k].set(s).reshape(p.shape) for p, k, s in parts]
        return model.apply(structure.unflatten(full), state, x, train=False)[0]

    survivors = [p.ravel()[k] for p, k in zip(leaves, kept, strict=True)]
    close(
        empirical_ntk(model, params, x, state=state, mask=mask),
        empirical_ntk(rebuild, survivors, x),
    )


def test_additive_over_layers():
    model, params, state, x = network("residual")
    everything = empirical_ntk(model, params, x, state=state)
    kernels = empirical_ntk(model, params, x, state=state, wrt="prunable")
    close(kernels, brute_force(model, params, state, x, leaf=lambda name: name.endswith("kernel")))
    rest = brute_force(model, params, state, x, leaf=lambda name: not name.endswith("kernel"))
    close(kernels + rest, everything)


def test_invariant_under_permutation_of_hidden_units():
    model, params, state, x = network("mlp")
    order = np.random.default_rng(0).permutation(12)
    permuted = jax.tree.map(lambda p: p, params)
    permuted["fc0"] = {k: v[..., order] for k, v in params["fc0"].items()}
    permuted["fc1"] = {**params["fc1"], "kernel": params["fc1"]["kernel"][order]}
    dense = empirical_ntk(model, params, x, state=state)
    close(empirical_ntk(model, permuted, x, state=state), dense)


def test_scales_with_the_square_of_the_output():
    model, params, state, x = network("mlp")

    def tripled(p, x):
        return 3.0 * model.apply(p, state, x, train=False)[0]

    close(empirical_ntk(tripled, params, x), 9.0 * empirical_ntk(model, params, x, state=state))


def test_linear_network_is_the_gram_matrix_of_its_inputs():
    x = jax.random.normal(jax.random.key(0), (6, 5))
    weights = {"kernel": jax.random.normal(jax.random.key(1), (5, 3))}
    kernel = empirical_ntk(lambda p, x: x @ p["kernel"], weights, x)
    close(kernel, np.einsum("ij,kl->ijkl", x @ x.T, np.eye(3)))


@pytest.mark.parametrize("backend", ["layerwise", "vector_products"])
def test_devices_give_the_same_numbers(backend):
    model, params, state, x = network("residual", n=9)
    devices = jax.devices()
    assert len(devices) == 4
    options = {"state": state, "mask": random_mask(params), "backend": backend, "chunk": 2}
    one = empirical_ntk(model, params, x, devices=devices[:1], **options)
    np.testing.assert_array_equal(empirical_ntk(model, params, x, devices=devices, **options), one)
    cross = empirical_ntk(model, params, x[:4], x, devices=devices[:1], **options)
    many = empirical_ntk(model, params, x[:4], x, devices=devices, **options)
    np.testing.assert_array_equal(many, cross)


def test_float32_against_float64():
    with jax.enable_x64(True):
        model, params, state, x = network("residual", dtype=jnp.float64)
        wide = empirical_ntk(model, params, x, state=state)
    narrow = jax.tree.map(lambda a: np.asarray(a, np.float32), (params, state, x))
    close(empirical_ntk(model, narrow[0], narrow[2], state=narrow[1]), wide, 2e-5)


def test_memory_limit_changes_the_tiling_but_not_the_kernel():
    model, params, state, x = network("residual", n=8)
    free = estimate_cost(model, params, x, state=state, backend="layerwise", chunk=1)
    options = {"state": state, "backend": "layerwise", "chunk": 1}
    tight = int(free.bytes_kernel + free.bytes_working + 0.5 * free.bytes_features)
    limited = estimate_cost(model, params, x, memory_limit=tight, **options)
    assert limited.bytes <= tight
    assert limited.resident < 8
    assert limited.flops_backward > free.flops_backward
    close(
        empirical_ntk(model, params, x, memory_limit=tight, **options),
        empirical_ntk(model, params, x, **options),
    )


def test_cost_of_the_product_falls_with_density():
    model, params, state, x = network("residual")
    options = {"state": state, "wrt": "prunable", "backend": "jacobian"}
    dense = estimate_cost(model, params, x, **options)
    mask = masks.keep_top(params, masks.ones_like(params), 0.05)
    sparse = estimate_cost(model, params, x, mask=mask, **options)
    assert sparse.coordinates == round(0.05 * dense.coordinates)
    np.testing.assert_allclose(sparse.flops_product / dense.flops_product, 0.05, atol=2e-3)
    assert sparse.bytes_features < 0.1 * dense.bytes_features


def test_auto_takes_the_fewest_operations():
    model, params, state, x = network("residual")
    costs = [estimate_cost(model, params, x, state=state, backend=b).flops for b in BACKENDS]
    assert estimate_cost(model, params, x, state=state).flops == min(costs)


def test_auto_takes_the_cheapest_of_those_that_fit():
    model, params, state, x = network("residual")

    def cost(backend, limit):
        try:
            return estimate_cost(model, params, x, state=state, backend=backend, memory_limit=limit)
        except MemoryError:
            return None

    candidates = ((limit, [cost(b, limit) for b in BACKENDS]) for limit in range(4000, 10**6, 500))
    limit, costs = next((limit, costs) for limit, costs in candidates if costs.count(None) == 1)
    cheapest = min((c for c in costs if c), key=lambda c: c.flops)
    assert cost("auto", limit) == cheapest


REFERENCES = sorted(GOLDEN.glob("resnet20_w4_*.npz"))


@pytest.mark.skipif(not REFERENCES, reason="no reference files")
@pytest.mark.parametrize("path", REFERENCES, ids=lambda p: p.stem)
def test_reference_kernels(path):
    with jax.enable_x64(True):
        r = parity.load(str(path))
        x = r.images("x")[:4]
        options = {"state": r.state, "mask": r.mask, "chunk": 2}
        prunable = empirical_ntk(r.model, r.params, x, wrt="prunable", **options)
        close(prunable, r.arrays["ntk_prunable"][:4, :4], 1e-10)
        everything = empirical_ntk(r.model, r.params, x, accumulate="float64", **options)
        close(everything, r.arrays["ntk_all"][:4, :4], 1e-10)


def test_batch_statistics_are_refused():
    model, params, state, x = network("residual")

    def batch_mode(p, x):
        return model.apply(p, state, x, train=True)[0]

    with pytest.raises(ValueError, match="batch norm in batch-statistics mode"):
        empirical_ntk(batch_mode, params, x)


def dropout(p, x):
    return (x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape)) @ p["kernel"]


def centred(p, x):
    return (x - x.mean(0, keepdims=True)) @ p["kernel"]


def tokens_centred(p, x):
    embedded = p["kernel"][x].mean(1)
    return embedded - embedded.mean(0, keepdims=True)


@pytest.mark.parametrize("f", [dropout, centred, tokens_centred])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_whatever_couples_the_examples_of_a_batch_is_refused(f, n):
    x = np.arange(8 * n).reshape(n, 8) % 5
    params = {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)}
    x = x if f is tokens_centred else x.astype(np.float32)
    for kernel_of in (empirical_ntk, ntk_operator):
        with pytest.raises(ValueError, match="changes with the other examples of its batch"):
            kernel_of(f, params, x)


def test_running_statistics_are_not_differentiated():
    net = nn.Sequential([nn.Dense(4), nn.BatchNorm(use_running_average=True), nn.relu])
    x = jax.random.normal(jax.random.key(0), (3, 5))
    variables = net.init(jax.random.key(1), x)
    for kernel_of in (empirical_ntk, ntk_operator):
        with pytest.raises(
            ValueError, match=r"collections params, batch_stats: take the kernel in"
        ):
            kernel_of(net.apply, variables, x)
    rest = {"batch_stats": variables["batch_stats"]}
    kernel = empirical_ntk(lambda p, x: net.apply({**rest, "params": p}, x), variables["params"], x)
    assert kernel.shape == (3, 3, 4, 4)
    # A linen module without other collections takes its variables as they are.
    dense = nn.Dense(2)
    assert empirical_ntk(dense.apply, dense.init(jax.random.key(1), x), x).shape == (3, 3, 2, 2)


def test_non_finite_jacobians_name_their_rows():
    model, params, state, x = network("mlp", n=6)
    x = x.at[jnp.array([1, 4])].set(jnp.nan)
    with pytest.raises(FloatingPointError, match="rows 1, 4 of x1"):
        empirical_ntk(model, params, x, state=state, chunk=2)
    with pytest.raises(FloatingPointError, match="at rows 0 of x2"):
        empirical_ntk(model, params, x[2:4], x[4:], state=state)


def test_a_kernel_that_does_not_fit_says_how_many_bytes():
    model, params, state, x = network("mlp")
    x = jax.ShapeDtypeStruct((40_000, 6), x.dtype)
    with pytest.raises(MemoryError, match=r"needs 95\.4 GiB .* of 1\.0 GiB allowed"):
        estimate_cost(model, params, x, state=state, memory_limit=2**30)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"outputs": "class:9"}, "outputs must be full, trace, sum or class:k with k < 4"),
        ({"outputs": "mean"}, "outputs must be"),
        ({"backend": "magic"}, "backend must be one of auto"),
        ({"wrt": "some"}, "wrt must be one of"),
        ({"state": None}, "needs its `state`"),
        ({"mask": {"kernel": jnp.ones(2, bool)}}, "tree structure"),
        (
            {"x2": jnp.zeros((2, 7))},
            r"differ in shape or type: float32 \(6,\) and float32 \(7,",
        ),
        ({"x2": jnp.zeros((0, 6))}, "no inputs"),
        ({"backend": "vector_products", "accumulate": "float64"}, "drop `accumulate`"),
    ],
)
def test_bad_arguments_give_one_clear_line(change, error):
    model, params, state, x = network("mlp")
    with pytest.raises(ValueError, match=error) as caught:
        empirical_ntk(model, params, x, **{"state": state, **change})
    assert "\n" not in str(caught.value)


def test_no_progress_bar_away_from_a_terminal(capsys):
    model, params, state, x = network("mlp")
    empirical_ntk(model, params, x, state=state)
    assert capsys.readouterr().err == ""
    empirical_ntk(model, params, x, state=state, progress=True)
    assert "kernel: " in capsys.readouterr().err
