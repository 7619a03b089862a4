"""Scales, panels and heat maps, whatever they show."""

import numpy as np
import pytest

from experiments.plotting import axes, panels, style
from experiments.plotting.curves import learning_curves
from experiments.plotting.heat_maps import heat_map, outline
from experiments.plotting.saving import save

MEAN = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])
HALF_WIDTH = np.array([[0.1, np.nan, 0.3], [0.4, 0.5, np.nan]])
N = np.array([[3, 1, 3], [2, 2, 0]])
ROWS, COLUMNS = ("10", "20"), ("5", "10", "20")


def panel():
    figure, grid = panels.grid(1, 1, width=4, height=3)
    return figure, grid[0, 0]


def drawn(**changes):
    figure, ax = panel()
    values = {"mean": MEAN, "half_width": HALF_WIDTH, "n": N} | changes
    image = heat_map(ax, **values, rows=ROWS, columns=COLUMNS)
    return figure, ax, image


def test_a_cell_says_its_mean_interval_and_count():
    _, ax, _ = drawn()
    said = {text.get_position(): text.get_text() for text in ax.texts}
    assert said[(0, 0)] == "1.0\n± 0.1\nn = 3"
    assert said[(1, 0)] == "2.0\nn = 1"
    assert len(said) == 5


def test_the_first_row_is_on_top_and_cells_without_runs_are_hatched():
    _, ax, image = drawn()
    low, high = ax.get_ylim()
    assert low > high
    np.testing.assert_array_equal(image.get_array().mask, N == 0)
    assert [patch.get_xy() for patch in ax.patches] == [(1.5, 0.5)]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(ROWS)


def test_text_is_legible_on_light_and_dark_cells():
    _, ax, _ = drawn(mean=np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]))
    colors = {text.get_text()[0]: text.get_color() for text in ax.texts}
    assert colors == {"0": "black", "1": "white"}


def test_heat_maps_repeat_to_the_byte(tmp_path):
    files = [save(drawn()[0], tmp_path / name)[0] for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"2 rows and 3 columns, but means \(2, 2\)"):
        drawn(mean=MEAN[:, :2])


def test_an_outline_separates_inside_from_outside():
    region = np.array([[True, True, False], [True, False, False]])
    _, ax = panel()
    outline(ax, region)
    for line in ax.lines:
        x, y = np.mean(line.get_xdata()), np.mean(line.get_ydata())
        if np.ptp(line.get_xdata()):
            assert region[int(y - 0.5), int(x)] != region[int(y + 0.5), int(x)]
        else:
            assert region[int(y), int(x - 0.5)] != region[int(y), int(x + 0.5)]
    assert len(ax.lines) == 3


def test_an_axis_of_densities_is_in_per_cent_and_sparser_to_the_right():
    _, ax = panel()
    axes.density_axis(ax, [0.5, 0.05, 0.501])
    left, right = ax.get_xlim()
    assert left > 0.5 > 0.05 > right
    format_tick = ax.xaxis.get_major_formatter()
    assert [format_tick(x) for x in ax.get_xticks()] == ["5", "50"]


def test_shares_within_a_decade_get_more_ticks():
    counts = []
    for shares in ([0.2, 0.5], [0.002, 0.5]):
        _, ax = panel()
        axes.log_share_axis(ax, [*shares, 0.0])
        ax.set_ylim(min(shares), max(shares))
        low, high = ax.get_ylim()
        ticks = ax.yaxis.get_major_locator()()
        counts.append(sum(low <= tick <= high for tick in ticks) / np.log10(high / low))
    assert counts[0] > 2 * counts[1]


def test_panels_that_nobody_needs_are_removed():
    figure, used = panels.wrapped(3, 2, width=2, height=2)
    assert len(used) == len(figure.axes) == 3


def test_curves_of_replicates_are_thin_and_their_mean_is_thick():
    figure = learning_curves(
        {"test/accuracy": [[(1, 0.1), (2, 0.3)], [(1, 0.3), (2, 0.5)]], "test/loss": [[], []]}
    )
    (ax,) = figure.axes
    *_, mean = sorted(ax.lines, key=lambda line: line.get_linewidth())
    np.testing.assert_allclose(mean.get_ydata(), [20, 40])
    assert (ax.get_ylabel(), ax.get_title(loc="left")) == ("test accuracy (%)", "n = 2")


def test_names_in_order_have_looks_of_their_own():
    looks = style.numbered(["a", "b", "a"])
    assert list(looks) == ["a", "b"]
    assert looks["a"]["color"] != looks["b"]["color"]
