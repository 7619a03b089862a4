"""Random masks as dense as a ticket, and other weights under its mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune import lottery, masks
from ntk_prune.models import mlp

KEY = jax.random.key(0)
X = jnp.zeros((1, 20))
MODEL = mlp((30, 10), 4)
PARAMS, _ = MODEL.init(KEY, X)
MASK = masks.keep_top(
    {
        name: {
            "kernel": jnp.abs(layer["kernel"]) * 2.0 ** int(name[-1]),
            "bias": jnp.zeros_like(layer["bias"]),
        }
        for name, layer in PARAMS.items()
    },
    masks.ones_like(PARAMS),
    0.3,
)


def counts(mask):
    return masks.layer_counts(mask)


def test_the_ticket_is_uneven():
    assert len({round(k / n, 2) for k, n in counts(MASK).values()}) == 3


def test_layer_keeps_the_counts_of_every_layer():
    assert counts(lottery.randomly_prune(KEY, MASK, "layer")) == counts(MASK)


def test_global_keeps_the_count_and_levels_the_densities():
    global_counts = counts(lottery.randomly_prune(KEY, MASK, "global"))
    assert sum(k for k, _ in global_counts.values()) == sum(k for k, _ in counts(MASK).values())
    k, n = global_counts["fc0/kernel"]
    assert abs(k / n - 0.3) < 4 * (0.3 * 0.7 / n) ** 0.5


def test_even_gives_every_layer_the_same_density():
    density = masks.density(MASK)
    for k, n in counts(lottery.randomly_prune(KEY, MASK, "even")).values():
        assert k == round(density * n)


@pytest.mark.parametrize("kept", ["layer", "global", "even"])
def test_other_keys_give_other_positions_and_biases_stay(kept):
    first, second = (lottery.randomly_prune(jax.random.key(k), MASK, kept) for k in (1, 2))
    for mask in (first, second):
        assert mask["fc0"]["bias"].all()
        assert (np.asarray(mask["fc0"]["kernel"]) != np.asarray(MASK["fc0"]["kernel"])).any()
    assert (np.asarray(first["fc1"]["kernel"]) != np.asarray(second["fc1"]["kernel"])).any()


def test_an_unknown_scope_is_refused():
    with pytest.raises(ValueError, match="layer, global, even"):
        lottery.randomly_prune(KEY, MASK, "layerwise")  # pyright: ignore


def test_other_weights_lie_under_the_same_mask():
    params, _ = lottery.randomly_reinitialise(jax.random.key(1), MODEL, X, MASK)
    for (_, w), (_, old), (_, m) in zip(
        *(masks.leaves(t) for t in (params, PARAMS, MASK)), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(w) != 0, np.asarray(m))
        assert not (np.asarray(w) == np.asarray(old))[np.asarray(m)].any()
