"""States that a power cut can leave, made by hand: gone on with to the same bytes, or refused.

Of a run that stopped after its third checkpoint, and of one that is finished, each file in turn is
empty, cut in half, missing, or as it was at the second checkpoint.
"""

import shutil

import pytest
from kills import content

from experiments import run
from ntk_prune.checkpoint import Checkpoints

RUNS = {
    "ntksap_resnet20": ("model.name=mlp", "model.options.widths=12", "train.duration=4ep",
                        "kernel_images=4", "train.batch_size=256"),
    "lottery_lenet_digits": ("levels=1", "replicates=1", "train.duration=4ep"),
}  # fmt: skip
DAMAGE = ("empty", "half", "missing", "older")


class PowerCutError(BaseException):
    """The machine is off."""


def words(name, workdir):
    changes = [f"--config.{change}" for change in RUNS[name]]
    return ["--config", f"configs/{name}.py:smoke", *changes, "--workdir", str(workdir)]


def cut(name, directory, monkeypatch):
    """The run as it was after its second checkpoint and after its third one, when it stopped."""
    saves, save = [], Checkpoints.save

    def saved(self, step, tree):
        save(self, step, tree)
        saves.append(step)
        if len(saves) == 2:
            shutil.copytree(directory / "run", directory / "older")
        if len(saves) == 3:
            raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", saved)
        with pytest.raises(PowerCutError):
            run.main(words(name, directory / "run"))
    return directory / "older", directory / "run"


def damage(kind, file, older):
    """Whether there is such damage to the file, which is then done."""
    whole = file.read_bytes()
    if kind == "missing":
        file.unlink()
    elif kind == "older" and older.is_file() and older.read_bytes() != whole:
        shutil.copyfile(older, file)
    elif kind in ("empty", "half") and whole:
        file.write_bytes(whole[: len(whole) // 2] if kind == "half" else b"")
    else:
        return False
    return True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("finished", [False, True], ids=["stopped", "finished"])
def test_power_cuts(name, finished, tmp_path, monkeypatch, capsys):
    assert run.main(words(name, tmp_path / "whole")) == 0
    whole = content(tmp_path / "whole")
    older, state = cut(name, tmp_path, monkeypatch)
    state = tmp_path / "whole" if finished else state
    counts, wrong = {"same": 0, "refused": 0, "not looked at": 0}, []
    for file in sorted(p.relative_to(state) for p in state.rglob("*") if p.is_file()):
        for kind in DAMAGE:
            shutil.copytree(state, tmp_path / "cut")
            if damage(kind, tmp_path / "cut" / file, older / file):
                capsys.readouterr()
                try:
                    status = run.main(words(name, tmp_path / "cut"))
                except BaseException as error:
                    wrong.append(f"{file} {kind}: escaped {error!r}"[:300])
                else:
                    result = judge(status, capsys.readouterr().err, tmp_path / "cut", whole)
                    if result in counts:
                        counts[result] += 1
                    else:
                        wrong.append(f"{file} {kind}: {result}")
            shutil.rmtree(tmp_path / "cut")
    with capsys.disabled():
        print(f"{name}, {'finished' if finished else 'stopped'}: {counts}")
    assert not wrong, "\n".join(wrong)


def is_no_result(name):
    """Locks, figures, and the sizes, without which a run counts as one of before there were any."""
    return name.endswith((".png", ".stage", "files.json"))


def judge(status, error, workdir, whole):
    """Whether a run ended as the whole one, or in one line that names the run; else what it did."""
    if status == 0:
        ended = content(workdir)
        different = [n for n in whole.keys() | ended.keys() if whole.get(n) != ended.get(n)]
        if all(is_no_result(name) for name in different):
            return "not looked at" if different else "same"
        return f"other {different}"
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    if (
        status == 2
        and len(lines) == 1
        and error.endswith(f"{lines[0]}\n")
        and str(workdir) in error
    ):
        return "refused"
    return f"status {status}: {error[-300:]}"
