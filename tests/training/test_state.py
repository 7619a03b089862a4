import jax
import numpy as np
import pytest

from ntk_prune import masks, training


def test_create_masks_the_parameters_and_starts_at_step_zero(problem):
    state = problem.create()
    assert int(state.step) == 0
    expected = masks.apply(problem.params, problem.mask)
    jax.tree.map(np.testing.assert_array_equal, state.params, expected)
    assert masks.density(jax.tree.map(lambda p: p != 0, state.params)) == 0.5


def test_a_mask_that_does_not_fit_is_refused(problem):
    wrong = {**problem.mask, "Dense_0": {"kernel": np.ones((2, 2), bool)}}
    with pytest.raises(ValueError, match="mask"):
        training.create(problem.params, problem.state, wrong, problem.optimizer)
