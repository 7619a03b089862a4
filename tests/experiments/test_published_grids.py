"""Published grids are whole and name their source."""

import pytest

from experiments.errors import UserError
from experiments.references.published_grids import load_grids


def test_the_grids_of_the_three_regime_model():
    published = load_grids("three_regime_fig2")
    assert published.label == ("Three-regime model, Fig. 2, CIFAR-10, PreResNet-20, digitised")
    assert "no intervals" in published.source
    for grid in published.grids.values():
        assert grid.values.shape == (len(published.temperatures), len(published.density))
    assert published.grids["test_error"].values[-1, 0] == 0.174
    assert published.grids["lmc"].values[0, -1] == -0.014
    assert published.grids["cka"].values[-1, 3] == 0.907


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="there are: three_regime_fig2"):
        load_grids("fig2")
