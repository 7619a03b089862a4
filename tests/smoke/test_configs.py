"""The real command on every config's smoke preset: it ends, leaves its artefacts, is not redone."""

import json
from pathlib import Path

import pytest

from experiments import run

CONFIGS = sorted(p for p in Path("configs").glob("*.py") if p.stem not in ("__init__", "common"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_smoke(path, tmp_path, capsys):
    words = ["--config", f"{path}:smoke", "--workdir", str(tmp_path / "run")]
    assert run.main(words) == 0
    done = json.loads((tmp_path / "run/DONE").read_text())
    assert done
    assert list((tmp_path / "run").glob("*.png")), "a protocol leaves its figures"
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    capsys.readouterr()
    assert run.main(words) == 0
    assert "is finished" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
