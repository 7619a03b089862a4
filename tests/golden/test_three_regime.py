"""The published codes of the three-regime model and of LAMP, which it builds on: masks and SAM.
The Hessian of such a masked network, by PyTorch in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from three_regime_files import inputs, kernel_name, mask_like, network, read, under, variables

from ntk_prune import linalg, masks, training
from ntk_prune.landscape import MaskedLoss
from ntk_prune.pruners import lamp, magnitude, prune
from ntk_prune.pruners.lamp import normalised_squares
from ntk_prune.types import Batch

PRUNERS = {
    "unif_conv": magnitude("uniform", exclude=("fc",)),
    "glob_conv": magnitude("global", exclude=("fc",)),
    "unif": magnitude("uniform"),
    "glob": magnitude("global"),
    "unifplus": magnitude("uniform_plus"),
    "erk": magnitude("erk_rounded"),
    "lamp": lamp(),
}


@pytest.fixture(scope="module")
def trained():
    with jax.enable_x64(True):
        file = read("masks")
        model, *shapes = network(8, 1 / 4)
        params, state = jax.tree.map(jnp.asarray, variables(under(file, "weights"), *shapes))
        yield file, model, params, state


@pytest.mark.parametrize("i", [0, 1, 2])
@pytest.mark.parametrize("name", PRUNERS)
def test_masks(trained, name, i):
    file, model, params, state = trained
    batches = Batch(np.zeros((1, 1, 32, 32, 3)), np.zeros((1, 1), int))
    dense, density = masks.ones_like(params), float(file["densities"][i])
    with jax.enable_x64(True):
        mask, _ = prune(
            jax.random.key(0), PRUNERS[name], model, params, state, dense, batches, density
        )
    jax.tree.map(
        np.testing.assert_array_equal, mask, mask_like(under(file, f"d{i}/{name}/mask"), params)
    )
    published = dict(zip(file["layer_names"], file[f"d{i}/{name}/kept"], strict=True))
    paths = jax.tree_util.tree_flatten_with_path(mask)[0]
    kernels = {kernel_name(path): m for path, m in paths if masks.is_kernel(masks.path_of(path))}
    assert {layer: int(m.sum()) for layer, m in kernels.items()} == published


def test_lamp_scores(trained):
    file = trained[0]
    for name, scores in under(file, "lamp_score").items():
        weights = file[f"weights/{name}"]
        ours = normalised_squares(weights, np.ones(weights.shape, bool))
        np.testing.assert_allclose(ours, scores, rtol=1e-12)


CASES = {
    "sam0.05": (0.05, False),
    "sam0.5": (0.5, False),
    "asam0.5": (0.5, True),
    "sgd": (0.0, False),
}


@pytest.mark.parametrize("case", CASES)
def test_three_steps_of_sam(case):
    """Parameters, running statistics, momentum and loss of the published steps."""
    with jax.enable_x64(True):
        file = read("sam")
        model, *shapes = network(int(file["depth"]), float(file["width_k"]))
        params, statistics = variables(under(file, "init"), *shapes)
        mask = jax.tree.map(jnp.asarray, mask_like(under(file, "mask"), params))
        lr, momentum, decay = (float(file[k]) for k in ("lr", "momentum", "weight_decay"))
        optimizer = training.sgd(lr, momentum, weight_decay=decay)
        rho, adaptive = CASES[case]
        step = training.make_train_step(
            model, optimizer, lambda key, t, i, x: x, sam_rho=rho, sam_adaptive=adaptive
        )
        step = jax.jit(step, static_argnums=2)
        state = training.create(*jax.tree.map(jnp.asarray, (params, statistics)), mask, optimizer)
        size = int(file["batch"])
        for s in range(3):
            rows = slice(s * size, (s + 1) * size)
            x, y = inputs(file, rows), jnp.asarray(file["labels"][rows])
            batch = training.Examples(x, y, jnp.arange(size), jax.random.key(0))
            state, metrics = step(state, batch, None)
            published = under(file, f"{case}/step{s + 1}")
            expected = variables(published, *shapes)
            assert_close((state.params, state.model_state), expected)
            trace = optax.tree_utils.tree_get(state.opt_state, "trace")
            moments = variables({**published, **under(published, "momentum")}, *shapes)[0]
            # There, pruned weights live on behind the mask and decay; here they are zero.
            assert_close(trace, masks.apply(moments, mask))
            assert float(metrics["loss"]) == pytest.approx(float(published["loss"]), rel=1e-12)


@pytest.mark.parametrize(("mode", "batch_norm"), [("eval", "running"), ("train", "batch")])
def test_hessian(mode, batch_norm):
    """Loss, gradient, top eigenpair and the block of the convolutions, over kept coordinates."""
    with jax.enable_x64(True):
        file = read("hessian")
        expected, net = under(file, mode), under(file, "net")
        model, *shapes = network(int(file["depth"]), float(file["width_k"]))
        params, state = jax.tree.map(jnp.asarray, variables(net, *shapes))
        mask = jax.tree.map(jnp.asarray, mask_like(under(file, "mask"), params))
        batches = Batch(inputs(file, slice(None))[None], jnp.asarray(file["labels"])[None])
        case = (model, params, state, mask, batches)
        loss = MaskedLoss(*case, batch_norm=batch_norm)

        def ours(vector):
            """A vector of the file in the order of this project's parameters."""
            sizes = [net[name].size for name in file["param_order"]]
            flat = np.zeros(sum(sizes))
            flat[file["kept_index"]] = vector
            parts = zip(file["param_order"], np.split(flat, np.cumsum(sizes)[:-1]), strict=True)
            tensors = {name: part.reshape(net[name].shape) for name, part in parts}
            return loss.coordinates.vector(variables({**net, **tensors}, *shapes)[0])

        value, gradient = loss.value_and_gradient()
        assert value == pytest.approx(float(expected["loss"]), rel=1e-12)
        assert_close(gradient, np.asarray(ours(expected["grad"])))
        top = np.asarray(ours(expected["top_eigenvector"]))
        assert_close(loss.hessian().matvec(top), expected["top"] * top)
        convolutions = jax.tree.map(lambda p: p.ndim == 4, params)
        block = MaskedLoss(*case, batch_norm=batch_norm, wrt=convolutions)
        assert block.size == expected["conv_only_eigenvalues"].size
        key = jax.random.key(0)
        largest = linalg.top_eigenvalues(key, block.hessian(), 1, num_steps=30).values[0]
        assert largest == pytest.approx(float(expected["conv_only_top"]), rel=1e-8)


def assert_close(ours, published):
    def leaf(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())

    jax.tree.map(leaf, ours, published)
