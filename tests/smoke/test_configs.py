"""The real command on every config's smoke preset: it ends, leaves its artefacts, is not redone.

No field of a config is without effect unknown to it: all that a run does not read are ``idle``.
"""

import json
from pathlib import Path

import pytest
from reads import reads_of

from experiments import run
from experiments.config import loading
from experiments.config.options import idle_fields

CONFIGS = sorted(p for p in Path("configs").glob("*.py") if p.stem not in ("__init__", "common"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_smoke(path, tmp_path, capsys, monkeypatch):
    words = ["--config", f"{path}:smoke", "--workdir", str(tmp_path / "run")]
    load, config = loading.load, loading.load(words[1])
    with monkeypatch.context() as patch, reads_of(config) as read:
        patch.setattr(loading, "load", lambda file: config if file == words[1] else load(file))
        assert run.main(words) == 0
    unread = set(loading.field_names(config)) - read
    assert unread <= idle_fields(config).keys(), "fields that nothing reads, and are not idle"
    done = json.loads((tmp_path / "run/DONE").read_text())
    assert done
    assert list((tmp_path / "run").glob("*.png")), "a protocol leaves its figures"
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    capsys.readouterr()
    assert run.main(words) == 0
    assert "is finished" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
