"""Published curves: what the files say, where they are laid, that they are never taken for runs."""

import dataclasses

import numpy as np
import pytest
from report_runs import write_run

from experiments import references, runs
from experiments.errors import UserError
from experiments.protocols.prune_and_train import accuracy
from experiments.report.__main__ import main
from ntk_prune.pruners import PRUNERS

NAMES = [line.split()[0] for line in references.describe().splitlines()]
DIGITISED = "px_fig2_cifar10_resnet20"
PRINTED = "ntksap_table12_cifar10_resnet20"


def reference(name):
    return references.load([name])[0]


def at(ref, method, sparsity):
    return ref.methods[method][ref.sparsity.index(sparsity)]


@pytest.fixture
def cifar10(tmp_path):
    for density in (0.25, 0.05):
        write_run(tmp_path / f"r{density}", density=density, data="cifar10", model="resnet")
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_every_density_belongs_to_its_printed_sparsity(name):
    """The labels of the figures are rounded, by up to 0.04; the densities are powers of 0.8."""
    ref = reference(name)
    powers = np.log(ref.density) / np.log(0.8)
    np.testing.assert_allclose(powers, np.round(powers), atol=1e-12)
    np.testing.assert_allclose(100 * (1 - np.array(ref.density)), ref.sparsity, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_says_how_it_was_obtained(name):
    ref = reference(name)
    assert ref.digitised == ref.where.startswith("Fig.") == ("digitised (±" in ref.label)
    assert ref.digitised != ("printed" in ref.label)
    assert ref.digitised == (ref.reading_error > 0)
    assert not (ref.digitised and ref.plus_minus)
    assert set(ref.coarser) | set(ref.approximate) | set(ref.plus_minus) <= set(ref.methods)
    for method, values in ref.methods.items():
        assert method.split(" (")[0] in PRUNERS
        assert len(values) == len(ref.sparsity)
        assert all(v is None or 0 < v < 100 for v in values)
        rough = np.array(values, float)[ref.is_approximate(method)]
        assert len(rough) == len(ref.approximate.get(method, ()))
        assert np.all(np.isfinite(rough))


@pytest.mark.parametrize(
    ("figure", "table"),
    [
        ("ntksap_fig1_cifar10_resnet20", PRINTED),
        ("ntksap_fig1_cifar100_vgg16", "ntksap_table13_cifar100_vgg16"),
        ("ntksap_fig1_tiny_imagenet_resnet18", "ntksap_table14_tiny_imagenet_resnet18"),
    ],
)
def test_readings_lie_within_their_error_where_the_paper_prints_the_number(figure, table):
    read, printed = reference(figure), reference(table)
    for sparsity, value in zip(printed.sparsity, printed.methods["ntksap"], strict=True):
        assert abs(at(read, "ntksap", sparsity) - value) <= read.reading_error


def test_recorded_numbers():
    table = reference("px_table1_imagenet_resnet50")
    assert (at(table, "px", 89.26), table.plus_minus["px"][0], table.runs) == (68.11, 0.29, 3)
    assert at(reference("ntksap_table1_imagenet_resnet50"), "snip", 95.6) == 40.69
    assert at(reference(DIGITISED), "px", 89.3) == 87.98
    voc = reference("px_fig4_voc2012_dino")
    assert (at(voc, "px", 89.3), voc.dense, voc.measure) == (49.3, 65.9, "test/miou")
    assert reference("px_fig3_tiny_imagenet_clip").dense == 66.9
    assert len(NAMES) == len(set(NAMES)) == 27


def test_a_folder_of_images_takes_what_has_its_network_and_measure():
    panel = ("folder", "resnet depth=20", "test/accuracy")
    assert references.place([reference(DIGITISED)], [panel]) == [[reference(DIGITISED)]]
    with pytest.raises(UserError, match=r"px_fig4_voc2012_dino .* fits none of"):
        references.place([reference("px_fig4_voc2012_dino")], [panel])


@pytest.mark.parametrize(("data", "model"), [("digits", "resnet"), ("cifar10", "vgg")])
def test_a_single_panel_of_other_data_or_another_network_is_refused(data, model):
    with pytest.raises(UserError, match=rf"\(cifar10, resnet, .* fits none of: {data}, {model}"):
        references.place([reference(DIGITISED)], [(data, model, "test/accuracy")])


def test_several_panels_take_what_fits():
    panels = [
        ("cifar100", "resnet depth=20", "test/accuracy"),
        ("cifar10 augment=crop_flip", "resnet depth=20", "test/accuracy"),
        ("cifar10", "vgg depth=16", "test/accuracy"),
    ]
    assert references.place([reference(DIGITISED)], panels) == [[], [reference(DIGITISED)], []]
    with pytest.raises(UserError, match="fits none of"):
        references.place([reference("px_fig2_cifar100_vgg16")], panels)


def test_pretrained_networks_go_to_panels_with_weights_of_that_source():
    deeplab = "deeplab depth=50 weights="
    panels = [("voc2012", f"{deeplab}{w}", "test/miou") for w in ("dino", "moco_v2", "torchvision")]
    panels.append(("voc2012", "deeplab depth=50", "test/miou"))
    laid = [references.load([f"px_fig4_voc2012_{w}"]) for w in ("dino", "moco_v2", "imagenet")]
    assert references.place([under[0] for under in laid], panels) == [*laid, []]


def test_lines_lie_where_the_numbers_say_under_the_runs(cifar10):
    ref = reference(DIGITISED)
    figure = accuracy.accuracy_vs_density(runs.find([cifar10]), [ref])
    (ax,) = figure.axes
    thin = [line for line in ax.lines if line.get_linewidth() == 0.9 and line.is_dashed()]
    assert len(thin) == len(ref.methods)
    for line, values in zip(thin, ref.methods.values(), strict=True):
        known = [(d, v) for d, v in zip(ref.density, values, strict=True) if v is not None]
        np.testing.assert_array_equal(np.transpose(line.get_data()), known)
    measured = [line for line in ax.lines if line.get_alpha() is None]
    assert max(line.get_zorder() for line in thin) < min(line.get_zorder() for line in measured)
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert "PX paper, Fig. 2, CIFAR-10, ResNet-20, digitised (±0.03)" in texts


def test_intervals_do_not_stretch_the_axis_beyond_per_cent(cifar10):
    ref = dataclasses.replace(
        reference("px_table1_imagenet_resnet50"),
        data=["cifar10"], model=["resnet"], weights=["none"], plus_minus={"px": [400, 1]},
    )  # fmt: skip
    low, high = accuracy.accuracy_vs_density(runs.find([cifar10]), [ref]).axes[0].get_ylim()
    assert (low, high) == pytest.approx((-2, 102))


def test_only_printed_intervals_are_drawn(cifar10):
    selected = runs.find([cifar10])
    bars = [
        len(accuracy.accuracy_vs_density(selected, [reference(name)]).axes[0].containers)
        for name in (DIGITISED, PRINTED)
    ]
    assert bars[1] == bars[0] + 1


def test_the_page_records_what_was_laid_under(cifar10):
    assert main([str(cifar10), "--reference", DIGITISED, PRINTED]) == 0
    html = (cifar10 / "report" / "index.html").read_text()
    assert html.count("PX paper, Fig. 2, CIFAR-10, ResNet-20, digitised (±0.03)") == 3
    assert "arXiv 2406.01820" in html
    assert ">87.86 ± 0.13</td>" in html
    assert ">~75.1</td>" in html


def test_list_prints_the_names(capsys):
    assert main(["--reference", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == NAMES


def test_an_unknown_name_is_one_line_with_the_names_and_status_2(cifar10, capsys):
    assert main([str(cifar10), "--reference", "px_fig2"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(name in error for name in NAMES)


def test_no_runs_are_one_line_and_status_2(capsys):
    assert main([]) == 2
    assert capsys.readouterr().err == "error: no run directories given; see --help\n"
