"""Finished runs against what their configs expect."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments import check
from experiments.config import to_dict
from experiments.config.loading import load, override
from experiments.references import load as load_references
from experiments.runs import checking, rows
from experiments.runs.reading import flatten

KNOWN = checking.expectations(Path("configs"))
MLP = "configs/ntksap_mlp.py"


def write(path, source, seed=0, done=None, **changes):
    """A run of a config as it is stored, with the final numbers ``done``."""
    config = to_dict(dataclasses.replace(override(load(source), changes), seed=seed))
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    if done is not None:
        (path / "DONE").write_text(json.dumps(done))
    return path


def accuracies(root, source, values, **changes):
    """Runs of several seeds that reach ``values``, in per cent."""
    for seed, value in enumerate(values):
        write(root / f"seed_{seed}", source, seed, {"test/accuracy": value / 100}, **changes)
    return root


def verdicts(root):
    return checking.verdicts(rows([root]), KNOWN)


def words(root):
    return {verdict.word for verdict in verdicts(root)}


@pytest.mark.parametrize(
    ("values", "word"),
    [
        # The interval of 85 +- 1: s = 1.581, times 2.776 / sqrt(5) = 1.963; expected 82.5 +- 3.0.
        ([83, 84, 85, 86, 87], "pass"),
        ([85.4, 86.4, 87.4, 88.4, 89.4], "pass"),  # 87.4 - 1.963 < 82.5 + 3.0
        ([85.5, 86.5, 87.5, 88.5, 89.5], "fail"),  # 87.5 - 1.963 > 82.5 + 3.0
        ([75.5, 76.5, 77.5, 78.5, 79.5], "fail"),
    ],
)
def test_a_run_passes_where_the_intervals_meet(tmp_path, capsys, values, word):
    changes = {"prune.options.estimator": "jvp"}
    accuracies(tmp_path, MLP, values, **changes)
    assert words(tmp_path) == {word}
    assert check.main([str(tmp_path)]) == int(word == "fail")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(f"seed_{i}: {word}: test/accuracy" in line for i, line in enumerate(lines))
    assert "(n = 5), expected 82.5 ± 3" in lines[0]


def test_seeds_that_are_missing_and_single_runs_are_no_verdict(tmp_path):
    accuracies(tmp_path / "three", MLP, [85, 85, 85], **{"prune.options.estimator": "jvp"})
    (why,) = {verdict.why for verdict in verdicts(tmp_path / "three")}
    assert why.startswith("seeds missing, 3 of 5; test/accuracy 85")
    accuracies(tmp_path / "one", MLP, [5], **{"prune.options.estimator": "jvp"})
    (verdict,) = verdicts(tmp_path / "one")
    assert (verdict.word, verdict.why[:6]) == ("not comparable", "n = 1,")


def test_the_same_run_again_is_no_other_seed(tmp_path):
    for i in range(5):
        write(tmp_path / str(i), MLP, 0, {"test/accuracy": 0.5 + i / 1000})
    assert words(tmp_path) == {"not comparable"}


def test_a_printed_number_is_of_the_original_data(tmp_path):
    accuracies(tmp_path / "tfds", "configs/ntksap_resnet20.py", [87.7, 87.9, 88.0])
    assert words(tmp_path / "tfds") == {"pass"}
    changes = {"data.name": "folder", "data.data_dir": "/cifar10_jpeg"}
    accuracies(tmp_path / "jpeg", "configs/ntksap_resnet20.py", [87.7, 87.9, 88.0], **changes)
    assert words(tmp_path / "jpeg") == {"not comparable"}
    assert all("data.name folder (expected cifar10)" in v.why for v in verdicts(tmp_path / "jpeg"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("prune.density", "0.05"), ("train.duration", "2ep"), ("prune.control", "shuffle")],
)
def test_another_setting_is_not_comparable_and_says_which(tmp_path, field, value):
    accuracies(tmp_path, "configs/ntksap_resnet20.py", [1, 2, 3], **{field: value})
    (why,) = {verdict.why for verdict in verdicts(tmp_path)}
    assert f"{field} {value} (expected " in why
    assert "the nearest is configs/" in why


def test_what_changes_no_number_may_differ(tmp_path):
    changes = {"data.data_dir": "/d", "train.num_devices": "4", "data.cache_dir": "/c"}
    accuracies(tmp_path, "configs/ntksap_resnet20.py", [87.7, 87.9, 88.0], **changes)
    assert words(tmp_path) == {"pass"}


def test_a_digitised_number_never_passes_or_fails(tmp_path, capsys):
    accuracies(tmp_path, "configs/snip_resnet20.py", [10, 11, 12])
    assert check.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(": digitised: test/accuracy 11 ± 2.5 (n = 3), expected 87.48" in x for x in lines)


def test_pretrained_weights_count_by_their_source(tmp_path):
    source = "configs/px_resnet50_cifar10.py"
    accuracies(tmp_path / "a", source, [93], **{"model.weights": "/elsewhere/w.pth"})
    assert words(tmp_path / "a") == {"digitised"}
    accuracies(tmp_path / "b", source, [93], **{"model.weights": "None"})
    assert words(tmp_path / "b") == {"not comparable"}


def test_replicates_within_a_run(tmp_path):
    source = "configs/train_lenet_digits.py"
    write(tmp_path / "a", source, done={"test/accuracy": [0.9889, 0.9917, 0.9917]})
    write(tmp_path / "b", source, seed=7, done={"test/accuracy": [0.9, 0.901, 0.9]})
    assert [v.word for v in verdicts(tmp_path / "a")] == ["pass"]
    assert [v.word for v in verdicts(tmp_path / "b")] == ["fail"]
    curves = ("tickets", "randomly_reinitialise", "randomly_prune")
    done = {c: {"test/accuracy": 0.985, "learnt/step": 500.0} for c in curves}
    write(tmp_path / "c", "configs/lottery_lenet_digits.py", done=done)
    said = {v.why.split(" ")[0]: v.word for v in verdicts(tmp_path / "c")}
    assert said["tickets.test/accuracy"] == "pass"  # 98.5 against 98.98 +- 0.40, twice
    assert said["tickets.learnt/step"] == "fail"


def test_unfinished_runs_other_protocols_and_missing_numbers(tmp_path):
    write(tmp_path / "a", MLP)
    write(tmp_path / "b", "configs/spectrum_resnet20.py", done={"x": 1})
    write(tmp_path / "c", "configs/train_lenet_digits.py", done={"step": 1})
    a, b, c = verdicts(tmp_path)
    assert (a.word, a.why) == ("not comparable", "unfinished")
    assert b.why == "no config expects a number of the protocol spectrum"
    assert c.why.endswith("has no number test/accuracy")


def test_no_configs_are_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    accuracies(tmp_path / "runs", MLP, [80])
    monkeypatch.chdir(tmp_path)
    assert check.main(["runs"]) == 2
    error = capsys.readouterr().err
    assert "expects a number" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("known", KNOWN, ids=lambda k: f"{k.source}-{k.expected.measure}")
def test_every_expected_number_is_sound(known):
    expected, config = known.expected, load(known.source)
    assert set(expected.where) <= set(flatten(to_dict(config)))
    assert expected.source
    assert expected.kind in ("printed", "digitised", "measured here")
    assert expected.plus_minus is not None or expected.kind == "measured here"
    assert not expected.within_run or expected.n


def test_published_numbers_are_those_of_the_references():
    """A digitised number is nowhere called printed, and the other way round."""
    tables = {
        "configs/ntksap_resnet20.py": "ntksap_table12_cifar10_resnet20",
        "configs/ntksap_vgg16.py": "ntksap_table13_cifar100_vgg16",
        "configs/snip_resnet20.py": "ntksap_fig1_cifar10_resnet20",
        "configs/grasp_resnet20.py": "ntksap_fig1_cifar10_resnet20",
        "configs/synflow_resnet20.py": "ntksap_fig1_cifar10_resnet20",
        "configs/random_resnet20.py": "ntksap_fig1_cifar10_resnet20",
        "configs/px_resnet20.py": "px_fig2_cifar10_resnet20",
        "configs/px_vgg16.py": "px_fig2_cifar100_vgg16",
        "configs/px_resnet18_tiny_imagenet.py": "px_fig2_tiny_imagenet_resnet18",
        "configs/px_resnet50_imagenet.py": "px_table1_imagenet_resnet50",
        "configs/px_resnet50_imagenet.py:sparse": "px_table1_imagenet_resnet50",
        **{
            f"configs/px_resnet50_{data}.py{preset}": f"px_fig3_{data}_{weights}"
            for data in ("cifar10", "cifar100", "tiny_imagenet")
            for preset, weights in (("", "imagenet"), (":moco", "moco_v2"), (":clip", "clip"))
        },
        **{
            f"configs/px_deeplab_voc2012.py{preset}": f"px_fig4_voc2012_{weights}"
            for preset, weights in (("", "imagenet"), (":moco", "moco_v2"), (":dino", "dino"))
        },
    }
    published = [k for k in KNOWN if k.expected.kind != "measured here"]
    assert {k.source for k in published} == set(tables)
    for known in published:
        (reference,) = load_references([tables[known.source]])
        method = known.settings["prune.name"]
        at = int(np.argmin(np.abs(np.array(reference.density) - known.settings["prune.density"])))
        assert known.expected.value == reference.methods[method][at]
        assert (known.expected.kind == "digitised") == reference.digitised
        if reference.digitised:
            error = reference.coarser.get(method, reference.reading_error)
            assert known.expected.plus_minus == error
        else:
            assert known.expected.plus_minus == reference.plus_minus[method][at]


def test_what_is_measured_here_is_what_a_protocol_calls_it():
    """Names of final numbers, as the protocols write them, so that a check can find them."""
    from experiments.protocols.estimators import agreement
    from experiments.protocols.kernel_prediction import name_of

    measures = {k.expected.measure for k in KNOWN}
    cells = [
        {"against": "jvp", "epsilon": 0.01, "draws": 5, "activation": a, "correlation": 0.5}
        for a in ("relu", "softplus")
    ]
    assert set(agreement(cells)) <= measures
    assert f"distance/{name_of({'width': 64, 'density': 1.0})}" in measures
    assert f"distance/{name_of({'width': 1024, 'density': 0.2})}" in measures
