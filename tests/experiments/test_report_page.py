"""The command, the page and the figures."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from report_runs import write_run, write_sweep

from experiments import runs
from experiments.config.sections import Experiment
from experiments.plotting import panels
from experiments.plotting.saving import save
from experiments.plotting.style import line_styles
from experiments.presentation import (
    NamedFigure,
    Presentation,
    Section,
    Table,
    per_cent,
    with_interval,
)
from experiments.protocols import PROTOCOLS
from experiments.protocols.protocol import Protocol
from experiments.protocols.prune_and_train import accuracy, figures, tables
from experiments.report.__main__ import main
from ntk_prune.pruners import PRUNERS

HOSTILE = '<script>alert(1)</script> $x_{$ & "q"'
FIGURES = {
    "accuracy_vs_density": accuracy.accuracy_vs_density,
    "learning_curves": figures.learning_curves,
    "layer_density": figures.layer_density,
    "spectrum": figures.spectrum,
}


class Links(HTMLParser):
    """All tags, and the targets of src and href."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: set[str] = set()
        self.targets: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href") and value]


@pytest.fixture(scope="module")
def one_method(tmp_path_factory):
    root = tmp_path_factory.mktemp("one")
    return runs.find([write_run(root / str(i), seed=i, spectrum=True).parent for i in range(2)])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = write_sweep(tmp_path_factory.mktemp("sweep"))
    write_run(root / "running", seed=9, done=False, accuracy=0.1)
    return root


@pytest.fixture(scope="module")
def page(sweep):
    assert main([str(sweep)]) == 0
    return (sweep / "report" / "index.html").read_text()


def test_other_protocols_show_their_own_figures_and_numbers(tmp_path):
    other = tmp_path / "spectrum"
    other.mkdir()
    (other / "config.json").write_text('{"protocol": "spectrum", "seed": 3}')
    (other / "DONE").write_text('{"snip": {"trace": 12.5, "condition_number": null}}')
    (other / "spectrum.png").write_bytes(b"picture")
    assert main([str(tmp_path)]) == 0
    html = (tmp_path / "report" / "index.html").read_text()
    for part in ("<p>1 run.</p>", "spectrum, seed 3", "trace 12.5"):
        assert part in html
    assert "cGljdHVyZQ==" in html


def test_a_new_workflow_needs_its_record_alone(tmp_path, monkeypatch):
    def figures(runs, published):
        table = Table(["cell", "n"], [["10 %", str(len(runs))]], (1,), "Grid", "1 dead", "A note.")
        figure, _ = panels.grid(1, 1, width=2, height=2)
        named = NamedFigure("grid_errors", "Errors of the grid.", figure)
        return Presentation([Section("Grids", [table], "What it is.")], [named], counts="1 grid")

    workflow = Protocol(Experiment, lambda config, store: None, figures=figures)
    monkeypatch.setitem(PROTOCOLS, "grid", workflow)
    (tmp_path / "config.json").write_text('{"protocol": "grid"}')
    assert main([str(tmp_path)]) == 0
    html = (tmp_path / "report" / "index.html").read_text()
    for part in (
        "<p>1 grid.</p>", '<a href="#grids">Grids</a>', '<h2 id="grids">', "What it is.",
        '<span class="collapsed">1 dead</span>', "A note.", "Errors of the grid.",
    ):  # fmt: skip
        assert part in html
    assert "Other experiments" not in html
    assert (tmp_path / "report" / "grid_errors.pdf").exists()


def test_the_page_holds_every_table(page):
    assert "22 runs, 21 finished, 1 unfinished (in no mean)" in page
    assert "81.00 ± 2.48" in page  # 4.302653 * 0.01 / sqrt(3), in per cent
    assert "49 / 196" in page
    assert "0, collapsed" in page
    assert "Some CPU, 2 cores" in page
    assert "prune.density" in page


def test_the_page_needs_nothing_but_itself(page, sweep):
    links = Links(page)
    assert not links.tags & {"script", "link", "iframe"}
    assert "url(" not in page
    beside = {path.name for path in (sweep / "report").iterdir()}
    for target in links.targets:
        assert target.startswith(("data:image/png;base64,", "#")) or target in beside


def test_every_figure_lies_beside_the_page(page, sweep):
    for name in FIGURES:
        assert (sweep / "report" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (sweep / "report" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert f'id="{name}"' in page


@pytest.mark.parametrize("name", FIGURES)
def test_figures_repeat_to_the_byte(one_method, tmp_path, name):
    draw, kinds = FIGURES[name], ("png", "pdf")
    first = save(draw(one_method), tmp_path / "v.1", kinds)
    second = save(draw(one_method), tmp_path / "v.2", kinds)
    assert [file.name for file in first] == ["v.1.png", "v.1.pdf"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_runs_without_anything_to_draw(name, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="nothing to draw"):
        FIGURES[name](runs.find([tmp_path]))


def test_one_seed_has_no_interval(tmp_path):
    write_run(tmp_path / "run", accuracy=0.8)
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    html = (tmp_path / "out" / "index.html").read_text()
    assert re.search(r">80\.00</td>", html)
    assert "80.00 ±" not in html


def test_hostile_names_are_text(tmp_path):
    path = write_run(tmp_path / "<b>run", method=HOSTILE, data=HOSTILE)
    config = json.loads((path / "config.json").read_text())
    config["model"]["name"] = HOSTILE
    (path / "config.json").write_text(json.dumps(config))
    assert main([str(tmp_path)]) == 0
    html = (tmp_path / "report" / "index.html").read_text()
    assert "<script" not in html
    assert "<b>run" not in html
    assert "&lt;script&gt;" in html


def test_only_unfinished_runs(tmp_path):
    write_run(tmp_path / "run", done=False)
    assert main([str(tmp_path)]) == 0
    html = (tmp_path / "report" / "index.html").read_text()
    assert "No finished run has been tested yet." in html
    assert "Unfinished runs, so far." in html


def test_two_networks_get_a_figure_each(tmp_path):
    write_run(tmp_path / "a", data="digits")
    write_run(tmp_path / "b", data="mnist")
    assert main([str(tmp_path)]) == 0
    names = {path.stem for path in (tmp_path / "report").glob("learning_curves*.png")}
    assert names == {
        "learning_curves_digits_lenet5_width_1",
        "learning_curves_mnist_lenet5_width_1",
    }


def test_segmentation_is_judged_by_its_mean_iou(tmp_path):
    write_run(tmp_path / "a", data="voc2012", protocol="segmentation", accuracy=0.5)
    assert main([str(tmp_path)]) == 0
    html = (tmp_path / "report" / "index.html").read_text()
    assert "Mean test mIoU after the last epoch" in html
    assert html.count(">test mIoU (%)</th>") == 2
    assert "test accuracy (%)</th>" not in html
    assert re.search(r">50\.00</td>", html)


def test_mixed_runs_have_a_panel_and_a_column_for_each_measure(tmp_path):
    for density in (0.25, 0.05):
        write_run(tmp_path / f"s{density}", density=density, data="voc2012", accuracy=0.5,
                  protocol="segmentation")  # fmt: skip
        write_run(tmp_path / f"c{density}", density=density, data="cifar10", accuracy=0.9)
        write_run(tmp_path / f"t{density}", density=density, data="cifar10", accuracy=0.7,
                  protocol="transfer")  # fmt: skip
    selected = runs.find([tmp_path])
    axes = accuracy.accuracy_vs_density(selected).axes
    assert [ax.get_ylabel() for ax in axes] == ["test accuracy (%)", "test mIoU (%)"]
    assert [ax.dataLim.y1 for ax in axes] == [pytest.approx(90), pytest.approx(50)]
    curves = figures.learning_curves(
        [run for run in selected if tables.measure_of(run) == "test/miou"]
    ).axes
    assert {ax.get_ylabel() for ax in curves} == {
        "train loss", "test accuracy (%)", "test mIoU (%)",
    }  # fmt: skip
    assert main([str(tmp_path)]) == 0
    html = (tmp_path / "report" / "index.html").read_text()
    assert "6 runs, 6 finished" in html
    for head in ("test accuracy (%)", "test mIoU (%)"):
        assert html.count(f">{head}</th>") == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: d / "nowhere", "nowhere is not a directory"),
        (lambda d: d, "no runs in"),
        (lambda d: write_run(d / "r") / "config.json", "config.json is not a directory"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(tmp_path, capsys, make, message):
    assert main([str(make(tmp_path))]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_broken_json_is_one_line_and_status_2(tmp_path, capsys):
    path = write_run(tmp_path / "run")
    (path / "config.json").write_text('{"seed": 0,\n "model": }')
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{path / 'config.json'}, line 2" in error
    assert error.count("\n") == 1


def test_output_that_cannot_be_written_is_one_line_and_status_2(tmp_path, capsys):
    path = write_run(tmp_path / "run")
    assert main([str(path), "--out", str(path / "DONE" / "report")]) == 2
    assert capsys.readouterr().err.startswith("error: cannot write the report")


def test_numbers():
    assert [per_cent(x) for x in (0.107374, 0.00052, 0.0, None)] == ["10.74", "0.052", "0.00", "–"]  # noqa: RUF001
    assert with_interval(0.5, None) == "50.00"


def test_every_criterion_has_a_colour_and_a_marker_of_its_own():
    looks = line_styles((name, "none", name) for name in PRUNERS).values()
    for part in ("color", "marker"):
        assert len({look[part] for look in looks}) == len(PRUNERS)


def test_a_method_looks_the_same_whatever_stands_beside_it():
    alone = line_styles([("snip", "none", "snip")])
    among = line_styles([(m, "none", m) for m in ("ntksap", "snip", "mine")])
    assert alone["snip"] == among["snip"]
    assert len({look["color"] for look in among.values()}) == 3


def test_matplotlib_is_imported_only_to_draw():
    module = "experiments.protocols.prune_and_train.figures"
    code = f"import sys, {module}; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
