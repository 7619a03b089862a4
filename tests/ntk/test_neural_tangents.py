"""neural-tangents on the host: its kernels against a plain Jacobian product, and its manners."""

import functools
import importlib.metadata
import json
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from ntk_prune.models import resnet
from ntk_prune.ntk import neural_tangents

nt = neural_tangents.load()
stax = nt.stax

IMPLEMENTATIONS = [
    nt.NtkImplementation.JACOBIAN_CONTRACTION,
    nt.NtkImplementation.NTK_VECTOR_PRODUCTS,
    nt.NtkImplementation.STRUCTURED_DERIVATIVES,
]


def stax_network(*layers):
    init, apply, _ = stax.serial(*layers)
    return lambda x: (init(jax.random.PRNGKey(0), x.shape)[1], apply)


def batch_norm_network(x):
    """A ResNet-8 of this project with running statistics, drawn so that they matter."""
    net = resnet(8, width=2, num_classes=3)
    params, state = jax.jit(net.init)(jax.random.key(0), x.astype(jnp.float32))
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda s: rng.uniform(0.5, 1.5, s.shape), state)
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    return params, lambda params, x: net.apply(params, state, x, train=False)[0]


def every_construct(_):
    """Everything the linear program has to flatten: jit, remat, scan, split, custom rules."""

    @jax.checkpoint
    @jax.jit
    def layer(h, w):
        return jax.nn.relu(h @ w), None

    def apply(params, x):
        h, _ = jax.lax.scan(layer, x.reshape(x.shape[0], -1)[:, :4], params["w"])
        left, right = jnp.split(h, 2, axis=1)
        features = jnp.concatenate([left * right, jax.nn.silu(right)], axis=1)
        return features @ params["v"] + params["b"][None, ::-1]

    keys = jax.random.split(jax.random.key(3), 3)
    shapes = {"w": (3, 4, 4), "v": (4, 3), "b": (3,)}
    params = {
        k: jax.random.normal(key, s) for key, (k, s) in zip(keys, shapes.items(), strict=True)
    }
    return params, apply


NETWORKS = {
    "mlp": stax_network(stax.Flatten(), stax.Dense(5), stax.Relu(), stax.Dense(3, b_std=0.1)),
    "cnn": stax_network(
        stax.Conv(4, (3, 3), (2, 2), padding="SAME", b_std=0.1),
        stax.Erf(),
        stax.AvgPool((2, 2), (2, 2)),
        stax.Conv(3, (1, 1)),
        stax.Relu(),
        stax.GlobalAvgPool(),
        stax.Dense(3),
    ),
    "batch_norm": batch_norm_network,
    "every_construct": every_construct,
}


@functools.cache
def case(name):
    """A network, its inputs and, by definition, its kernel ``[n1, n2, k, k]``, in float64."""
    x = jax.random.normal(jax.random.key(2), (3, 4, 4, 1), jnp.float64)
    params, f = NETWORKS[name](x)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    row = jax.jit(lambda ct: jax.vjp(lambda p: f(unravel(p), x), flat)[1](ct)[0])
    jacobian = np.stack([row(ct) for ct in np.eye(9).reshape(9, 3, 3)]).reshape(3, 3, -1)
    assert jacobian.dtype == np.float64
    return f, params, x, np.einsum("iap,jbp->ijab", jacobian, jacobian[:2])


@pytest.mark.filterwarnings("ignore:No Jacobian rule found for slice")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda i: i.name)
@pytest.mark.parametrize("name", NETWORKS)
def test_empirical_kernels_are_the_jacobian_product(name, implementation):
    with jax.enable_x64(True):
        f, params, x, full = case(name)
        options = {"vmap_axes": 0, "implementation": implementation}
        fns = [nt.empirical_ntk_fn(f, trace_axes=axes, **options) for axes in ((), (-1,))]
        kernels = jax.jit(lambda x1, x2, params: [fn(x1, x2, params) for fn in fns])(
            x, x[:2], params
        )
        mean = np.einsum("ijaa->ij", full) / 3  # of traced axes neural-tangents takes the mean
        for kernel, expected in zip(kernels, (full, mean), strict=True):
            atol = 1e-12 * np.abs(expected).max()
            np.testing.assert_allclose(kernel, expected, rtol=1e-10, atol=atol)


def test_analytic_kernel_of_a_linear_network_is_the_gram_matrix():
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(4, 6))
        _, _, kernel_fn = stax.serial(stax.Dense(8, W_std=1.0), stax.Dense(1, W_std=1.0))
        kernel = kernel_fn(x, None, ("nngp", "ntk"))
        np.testing.assert_allclose(kernel.nngp, x @ x.T / 6, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(kernel.ntk, 2 * x @ x.T / 6, rtol=1e-12, atol=1e-14)


def test_predict_is_gradient_flow():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        root, y, f0 = rng.normal(size=(4, 4)), rng.normal(size=(4, 1)), rng.normal(size=(4, 1))
        kernel = root @ root.T + np.eye(4)
        flow = jax.jit(lambda k: nt.predict.gradient_descent_mse(k, y)(2.5, f0, f0, k)[0])
        ft = flow(kernel)
        expected = y + scipy.linalg.expm(-kernel * 2.5 / y.size) @ (f0 - y)
        np.testing.assert_allclose(ft, expected, rtol=1e-8)
        rate = nt.predict.max_learning_rate(kernel, y_train_size=4, eps=0)
        np.testing.assert_allclose(rate, 2 * 4 / np.linalg.eigvalsh(kernel)[-1], rtol=1e-10)


def test_auto_chooses_an_implementation():
    x = jnp.ones((2, 3))
    init, f, _ = stax.serial(stax.Dense(4), stax.Dense(2))
    params = init(jax.random.PRNGKey(0), x.shape)[1]
    auto, one = (
        nt.empirical_ntk_fn(f, vmap_axes=0, implementation=i)(x, None, params)
        for i in (nt.NtkImplementation.AUTO, nt.NtkImplementation.JACOBIAN_CONTRACTION)
    )
    np.testing.assert_allclose(auto, one, rtol=1e-5)


MANNERS = """
import json, sys
import jax, jax.core, jax.numpy, scipy.linalg
import jax.interpreters.ad, jax.interpreters
import types
def attributes():  # but for submodules, which an ordinary import adds
    modules = {n: m for n, m in sys.modules.items() if n.partition(".")[0] in ("jax", "scipy")}
    return {n: {k: id(v) for k, v in vars(m).items() if not isinstance(v, types.ModuleType)}
            for n, m in modules.items()}
import ntk_prune.ntk.neural_tangents as host
lazy = "neural_tangents" not in sys.modules
before, meta_path, config = attributes(), list(sys.meta_path), dict(jax.config.values)
nt = host.load()
after = attributes()
import neural_tangents
print(json.dumps({
    "lazy": lazy,
    "same_module": neural_tangents is nt is host.load(),
    "changed": [n for n in before if after[n] != before[n]],
    "views": [n for n, m in sys.modules.items() if isinstance(m, host.View) or n == "jax.util"],
    "meta_path": sys.meta_path == meta_path,
    "config": dict(jax.config.values) == config,
    "tensorflow": [n for n in ("tensorflow", "tf2jax") if n in sys.modules],
}))
"""


def test_jax_is_left_as_found_and_tensorflow_stays_out():
    result = subprocess.run([sys.executable, "-c", MANNERS], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {
        "lazy": True,
        "same_module": True,
        "changed": [],
        "views": [],
        "meta_path": True,
        "config": True,
        "tensorflow": [],
    }


def forget(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "neural_tangents"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("name", ["neural_tangents", "neural_tangents._src.utils"])
def test_refuses_what_was_imported_before(monkeypatch, name):
    forget(monkeypatch)
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    with pytest.raises(ImportError, match="imported before its host: call"):
        neural_tangents.load.__wrapped__()


def test_refuses_another_version(monkeypatch):
    forget(monkeypatch)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.6.6")
    with pytest.raises(ImportError, match=r"0\.6\.6 is not .* neural-tangents==0\.6\.5"):
        neural_tangents.load.__wrapped__()


def test_says_what_is_missing(monkeypatch):
    forget(monkeypatch)

    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ImportError, match=r"pip install 'ntk_prune\[analytic\]'"):
        neural_tangents.load.__wrapped__()


def test_a_failed_import_leaves_nothing_behind(monkeypatch):
    forget(monkeypatch)
    monkeypatch.setattr(neural_tangents, "views", dict)
    meta_path = list(sys.meta_path)
    with pytest.raises(ImportError):
        neural_tangents.load.__wrapped__()
    assert not [n for n in sys.modules if n.partition(".")[0] == "neural_tangents"]
    assert sys.meta_path == meta_path
