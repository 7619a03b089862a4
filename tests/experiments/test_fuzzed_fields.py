"""Every field of every config takes what it can, or is refused in one line that names it.

A value is typed on the command line of a dry run, which sets everything up and writes nothing.
"""

import dataclasses
import functools
from pathlib import Path

import pytest

from experiments import run
from experiments.config import loading
from experiments.config.options import options_class
from experiments.protocols.lottery.branches import BRANCHES
from ntk_prune.lottery import STRATEGIES
from ntk_prune.models import MODELS
from ntk_prune.pruners import PRUNERS

FULL_WIDTH = "\uff11\uff12"
"""12 in digits that Python's ``int`` and ``float`` take."""
VALUES = (
    "inf", "nan", "1e400", "-1", "0", "", "100000000000", "4000000000", FULL_WIDTH, "~nouser", "x",
    "None", "True", "1e-300", "0.5", "1",
)  # fmt: skip
"""What is typed for every field: no finite numbers, none, too many, other scripts, other types."""
CONFIGS = sorted(p.stem for p in Path("configs").glob("[!_]*.py") if p.stem != "common")
ONE_OF_EACH = (
    "kernel_prediction_mlp", "imc_lenet_digits", "three_regime_digits", "lottery_branch",
    "ntksap_estimators", "random_pruning_theory", "spectrum_resnet20",
)  # fmt: skip
FACTORIES = {
    "model": ("train_lenet_digits", MODELS, ("data.image_size=32",)),
    "prune": ("magnitude_resnet20", PRUNERS, ()),
    "strategy": ("lottery_lenet_digits", STRATEGIES, ()),
    "branch": ("lottery_branch", BRANCHES, ()),
}
OPTIONS = [(s, name) for s, (_, registry, _) in FACTORIES.items() for name in registry]


def try_value(config, field, value, beside, folder, capsys):
    """A dry run whose ``field`` is ``value`` ends well, or in one line that names the field."""
    changes = [f"--config.{change}" for change in (*beside, f"{field}={value}")]
    words = ["--config", f"configs/{config}.py:smoke", "--workdir", str(folder / "run")]
    try:
        status = run.main([*words, *changes, "--dry_run"])
    except BaseException as error:
        pytest.fail(f"{field}={value!r} escaped: {error!r}")
    error = capsys.readouterr().err
    assert not list(folder.iterdir())
    if status == 0:
        return
    assert status == 2, error
    assert error.count("\n") == 1, error
    assert names(field, error), f"{field}={value!r}: {error}"


def names(field, error):
    """Whether a line has the dotted name, or that of the section and of the field in it."""
    first, last = field.split(".")[0], field.rsplit(".", 1)[-1]
    return field in error or (first in error and last in error.replace("output stride", last))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("config", CONFIGS)
def test_every_field(config, tmp_path, capsys):
    for field in loading.field_names(loading.load(f"configs/{config}.py:smoke")):
        for value in VALUES:
            try_value(config, field, value, (), tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("section", "name"), OPTIONS)
def test_every_option_of_every_factory(section, name, tmp_path, capsys):
    config, registry, beside = FACTORIES[section]
    for option in dataclasses.fields(options_class(registry[name])):
        for value in (*VALUES, "2", "3", "7", "1000000"):
            field, chosen = f"{section}.options.{option.name}", f"{section}.name={name}"
            try_value(config, field, value, (chosen, *beside), tmp_path, capsys)


@pytest.mark.parametrize("config", ONE_OF_EACH)
def test_what_is_no_number_is_never_taken_for_one(config, tmp_path, capsys):
    loaded = loading.load(f"configs/{config}.py:smoke")
    for field in loading.field_names(loaded):
        if isinstance(functools.reduce(getattr, field.split("."), loaded), bool | int | float):
            for value in ("1e400", FULL_WIDTH):
                try_value(config, field, value, (), tmp_path, capsys)


def test_every_field_of_one_config(tmp_path, capsys):
    for field in loading.field_names(loading.load("configs/train_lenet_digits.py:smoke")):
        for value in ("inf", "-1", "0", "", "100000000000", FULL_WIDTH):
            try_value("train_lenet_digits", field, value, (), tmp_path, capsys)
