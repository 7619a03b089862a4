"""The command line: overrides, presets, and one line for every mistake."""

import dataclasses
import json
from pathlib import Path

import pytest

from experiments import cli, run
from experiments.config import DataConfig, PruneConfig, TrainConfig, loading
from experiments.config.options import make_options
from experiments.errors import UserError
from ntk_prune.pruners import PRUNERS

CONFIG = "configs/ntksap_resnet20.py"
CONFIGS = sorted(
    str(p) for p in Path("configs").glob("*.py") if p.stem not in ("__init__", "common")
)


def parse(*words):
    return cli.parse(["--config", CONFIG, *words])[0]


@pytest.mark.parametrize("source", CONFIGS)
def test_every_config_has_a_default_and_a_smoke_preset(source):
    assert loading.load(source).protocol == loading.load(f"{source}:smoke").protocol


@pytest.mark.parametrize(
    "words", [["--config.prune.density=0.05"], ["--config.prune.density", "0.05"]]
)
def test_override_with_and_without_equals(words):
    assert parse(*words).prune.density == 0.05


@pytest.mark.parametrize(
    ("flag", "text", "get", "value"),
    [
        ("prune.options.num_rounds", "7", lambda c: c.prune.options.num_rounds, 7),
        ("prune.options.draws_per_call", "None", lambda c: c.prune.options.draws_per_call, None),
        ("train.nesterov", "True", lambda c: c.train.nesterov, True),
        ("train.drops", "60ep,120ep", lambda c: c.train.drops, ("60ep", "120ep")),
        ("train.drops", "60ep 120ep", lambda c: c.train.drops, ("60ep", "120ep")),
        ("train.learning_rate", "1e-3", lambda c: c.train.learning_rate, 1e-3),
        ("data.data_dir", "a dir", lambda c: c.data.data_dir, "a dir"),
        ("model.options.dtype", "bfloat16", lambda c: c.model.options.dtype, "bfloat16"),
        ("seed", "3", lambda c: c.seed, 3),
    ],
)
def test_override_by_type(flag, text, get, value):
    assert get(parse(f"--config.{flag}={text}")) == value


def test_another_criterion_starts_from_its_own_options():
    config = parse("--config.prune.options.temperature=100", "--config.prune.name=grasp")
    assert config.prune.options == make_options(PRUNERS["grasp"], {"temperature": 100})


def test_config_file_with_preset():
    config, workdir, dry_run, *_ = cli.parse(["--config", f"{CONFIG}:smoke", "--workdir", "w"])
    assert (config.data.name, workdir, dry_run) == ("digits", Path("w"), False)


def test_dry_run_prints_the_config_and_the_cost_and_writes_nothing(tmp_path, capsys):
    words = ["--config", "configs/spectrum_resnet20.py:smoke", "--workdir", str(tmp_path / "run")]
    assert run.main([*words, "--dry_run"]) == 0
    text = capsys.readouterr().out
    assert '"protocol": "spectrum"' in text
    assert text.count("kernel at density") == 2
    assert not (tmp_path / "run").exists()
    assert run.main([*words, "--dry_run=yes"]) == 2


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["configs/ntksap_mlp.py:smoke", "--config.kernel_images=10"], 2),
        (["configs/ntksap_mlp.py:smoke", "--config.kernel_images=0"], 0),
        (["configs/kernel_prediction_mlp.py:smoke", "--config.widths=4,8"], 4),
        (["configs/three_regime_digits.py:smoke", "--config.measure.kernel_images=4"], 2),
        (["configs/random_pruning_theory.py:smoke"], 1),
    ],
)
def test_a_dry_run_says_what_the_kernels_of_every_workflow_cost(words, lines, capsys):
    assert run.main(["--config", *words, "--dry_run"]) == 0
    text = capsys.readouterr().out
    assert sum("kernel at density" in x or "kernels of" in x for x in text.splitlines()) == lines


def test_a_bare_name_is_a_file_in_configs():
    short, long = (
        cli.parse(["--config", c])
        for c in ("ntksap_resnet20:smoke", "configs/ntksap_resnet20.py:smoke")
    )
    assert short == long
    with pytest.raises(UserError, match=r"no config file configs/ntksap_resnet2.py; did you mean"):
        cli.parse(["--config", "ntksap_resnet2"])


def test_home_directories_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    words = ["--config", f"{CONFIG}:smoke", "--workdir"]
    assert cli.parse([*words, "~/run"]).workdir == Path("/somewhere/run")
    with pytest.raises(UserError, match=r"--workdir: ~no_such_user/run: Could not determine home"):
        cli.parse([*words, "~no_such_user/run"])


def test_default_workdir_depends_on_the_config_but_seeds_are_siblings():
    paths = [
        cli.parse(["--config", CONFIG, *words]).workdir
        for words in ([], ["--config.seed=1"], ["--config.prune.density=0.5"])
    ]
    assert paths[0].parent == paths[1].parent != paths[2].parent
    assert [p.name for p in paths] == ["seed_0", "seed_1", "seed_0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config.prune.desity=0.1"], "no --config.prune.desity; did you mean 'prune.density'"),
        (["--config.prune.options.epsilom=1"], "did you mean 'prune.options.epsilon'"),
        (["--config.density=0.1"], "did you mean 'prune.density'"),
        (["--wrkdir=x"], "no --wrkdir; did you mean 'workdir'"),
        (["--config.prune.density=five"], "'five' is not a number"),
        (["--config.prune.density=5"], "prune.density: expected a number in \\(0, 1\\], got 5"),
        (["--config.prune.options.epsilon=-1"], "epsilon must be positive"),
        (["--config.train.parallel=pnap"], "'pnap' is not one of 'pmap', 'jit'"),
        (["--config.prune.name=ntksapp"], "there is no 'ntksapp'; did you mean 'ntksap'"),
        (["--config.model.name=resnt"], "did you mean 'resnet'"),
        (["--config.model.options.depth=21"], "6n\\+2"),
        (["--config.train.duration=160"], "expected epochs as '160ep'"),
        (["--config.prune.num_examples=30"], "a positive multiple of prune.batch_size"),
        (["--config.train.num_devices=0"], "train.num_devices: expected at least 1"),
        (["--config.seed=1", "--config.seed=2"], "given twice"),
        (["stray"], "no config file configs/ntksap_resnet20.py stray"),
    ],
)
def test_mistakes_in_overrides(words, message):
    with pytest.raises(UserError, match=message):
        parse(*words)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--config is missing"),
        (["--config", "configs/ntksap_resnet.py"], "did you mean 'configs/ntksap_resnet20.py'"),
        (["--config", f"{CONFIG}:smok"], "no preset 'smok'; did you mean 'smoke'"),
        (["configs/x.py"], "unexpected argument"),
    ],
)
def test_mistakes_in_the_config_file(argv, message):
    with pytest.raises(UserError, match=message):
        cli.parse(argv)


def test_a_mistake_is_one_line_status_2_and_nothing_written(tmp_path, capsys):
    workdir = tmp_path / "run"
    too_many = ["--config.data.name=digits", "--config.prune.num_examples=5000"]
    for extra in (
        ["--config.prune.desity=1"],
        [f"--config.data.data_dir={tmp_path}/none"],
        too_many,
    ):
        status = run.main(["--config", CONFIG, "--workdir", str(workdir), *extra])
        error = capsys.readouterr().err
        assert (status, error.count("\n"), workdir.exists()) == (2, 1, False), error


def test_help_lists_every_field_with_its_meaning(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.parse(["--config", CONFIG, "--help"])
    assert exit_.value.code in (0, None)
    text = capsys.readouterr().out
    for name in loading.field_names(loading.load(CONFIG)):
        assert f"--config.{name} " in text, name
    for part in (
        "Kept fraction of the prunable weights",
        "(default: 128)",
        "FLOAT",
        "T, how often",
    ):
        assert part in text, part


@pytest.mark.parametrize("section", [PruneConfig(), TrainConfig(), DataConfig()])
def test_sections_are_frozen(section):
    with pytest.raises(dataclasses.FrozenInstanceError):
        section.anything = 1


def test_options_of_another_factory_are_refused():
    with pytest.raises(ValueError, match="options of 'grasp', not of 'snip'"):
        PruneConfig("snip", make_options(PRUNERS["grasp"], {}))
    with pytest.raises(ValueError, match="snip has no option 'temperature'"):
        make_options(PRUNERS["snip"], {"temperature": 1.0})


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["configs/ntksap_resnet20.py"], "error: data: cifar10 is not prepared"),
        (["configs/snip_resnet20.py:smoke", "--config.prune.density=1e-9"], "keeps none of the"),
        (["configs/snip_resnet20.py:smoke", "--config.train.num_devices=4096"], "train"),
        (["configs/imc_lenet_digits.py:smoke", "--config.densities=1e-9"], "keeps none of the"),
        (["configs/lottery_lenet_digits.py:smoke", "--config.levels=90"], "level"),
    ],
)
def test_a_dry_run_fails_as_the_run_does(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    where = ["--workdir", str(tmp_path / "run")]
    assert run.main(["--config", *words, *where, "--dry_run"]) == 2
    dry = capsys.readouterr().err
    assert line in dry
    assert dry.count("\n") == 1
    assert run.main(["--config", *words, *where]) == 2
    assert capsys.readouterr().err == dry
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_another_config_in_a_directory_is_refused(tmp_path, capsys):
    words = ["--config", "configs/random_pruning_theory.py:smoke", "--workdir", str(tmp_path)]
    config = cli.parse(words).config
    (tmp_path / "config.json").write_text(json.dumps({**loading.to_dict(config), "seed": 7}))
    assert run.main([*words, "--dry_run"]) == 2
    assert "holds another config (seed: 7 there, 0 now)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "words", "silent"),
    [("0", [], False), ("1", [], True), ("1", ["--hosts=one"], False),
     ("1", ["--hosts=node:1,1,2"], False)],
)  # fmt: skip
def test_the_first_task_of_a_step_says_what_is_wrong(task, words, silent, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", task)
    assert run.main(["--config", "no_such_config", *words]) == 2
    assert (capsys.readouterr().err == "") == silent
