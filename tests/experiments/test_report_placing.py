"""A report is all or nothing, and replaces nothing but a report."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from report_runs import write_run

from experiments.errors import UserError
from experiments.report import placing
from experiments.report.__main__ import main
from experiments.report.placing import placed


def tree(directory: Path) -> dict[str, bytes]:
    """All files below by their paths."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


@pytest.fixture
def reported(tmp_path):
    """A run with its report; returns the report."""
    write_run(tmp_path / "runs/seed_0")
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out"


def again(report: Path) -> int:
    return main([str(report.parent / "runs"), "--out", str(report)])


def test_a_report_is_refreshed(reported):
    write_run(reported.parent / "runs/seed_1", seed=1)
    before = tree(reported)
    assert again(reported) == 0
    assert tree(reported).keys() == before.keys()
    assert tree(reported)["index.html"] != before["index.html"]
    assert sorted(p.name for p in reported.parent.iterdir()) == ["out", "runs"]


def test_without_an_exchange_in_one_step_too(reported, monkeypatch):
    monkeypatch.setattr(placing, "_exchange", lambda a, b: False)
    test_a_report_is_refreshed(reported)


@pytest.mark.parametrize(
    "name", ["notes.md", "picture.png", "data/table.csv"], ids=["a text", "a picture", "a folder"]
)
def test_other_files_in_a_report_are_kept(reported, capsys, name):
    (reported / name).parent.mkdir(exist_ok=True)
    (reported / name).write_text("mine")
    before = tree(reported)
    assert again(reported) == 2
    error = capsys.readouterr().err
    assert f"also holds {name.split('/')[0]}" in error
    assert error.count("\n") == 1
    assert tree(reported) == before


@pytest.mark.parametrize("page", [None, "<title>Report: of mine</title>"])
def test_what_is_no_report_is_not_replaced(reported, capsys, page):
    folder = reported.parent / "mine"
    folder.mkdir()
    (folder / ("notes.md" if page is None else "index.html")).write_text(page or "mine")
    before = tree(folder)
    assert main([str(reported.parent / "runs"), "--out", str(folder)]) == 2
    assert "is no report" in capsys.readouterr().err
    assert tree(folder) == before


def test_an_empty_folder_and_a_link_take_a_report(reported):
    (reported.parent / "empty").mkdir()
    (reported.parent / "link").symlink_to("empty")
    assert main([str(reported.parent / "runs"), "--out", str(reported.parent / "link")]) == 0
    assert (reported.parent / "link").is_symlink()
    assert "index.html" in tree(reported.parent / "empty")


def test_a_failed_report_leaves_the_old_one_and_no_folder(reported, capsys):
    before = tree(reported.parent)
    (reported.parent / "runs/seed_0/metrics.jsonl").write_text("damaged\n")
    before["runs/seed_0/metrics.jsonl"] = b"damaged\n"
    assert again(reported) == 2
    assert main([str(reported.parent / "runs"), "--out", str(reported.parent / "a/b")]) == 2
    assert tree(reported.parent) == before
    assert sorted(path.name for path in reported.parent.iterdir()) == ["out", "runs"]


def test_a_reference_that_fits_no_run_is_one_line_and_leaves_nothing(reported, capsys):
    words = [str(reported.parent / "runs"), "--reference", "px_fig4_voc2012_dino"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "px_fig4_voc2012_dino" in error
    assert "fits none of" in error
    assert error.count("\n") == 1
    assert not (reported.parent / "runs/report").exists()


@pytest.mark.parametrize("protocol", ["prune_and_train", "lottery", "spectrum"])
def test_a_reference_without_finished_networks_is_one_line_and_leaves_nothing(
    tmp_path, capsys, protocol
):
    write_run(tmp_path / "run", protocol=protocol, done=False)
    words = [str(tmp_path), "--reference", "px_fig2_cifar10_resnet20"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "px_fig2_cifar10_resnet20 fits no run" in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_killed_while_it_is_written_the_old_report_stays(reported):
    before = tree(reported)
    code = (
        "import sys, time; from pathlib import Path\n"
        "from experiments.report.placing import placed\n"
        "with placed(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'index.html').write_text('half'); print('now', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(reported)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)
    assert tree(reported) == before
    (left,) = reported.parent.glob(".out.*.partial")
    assert again(reported) == 0
    assert left.exists(), "it could belong to a living process"
    long_ago = time.time() - 2 * placing.LEFT_BEHIND
    os.utime(left, (long_ago, long_ago))
    assert again(reported) == 0
    assert not left.exists()


def test_what_comes_while_a_report_is_written_is_not_lost(tmp_path):
    out = tmp_path / "out"

    def write():
        with placed(out):
            out.mkdir()
            (out / "notes.md").write_text("mine")

    with pytest.raises(UserError, match=r"holds notes\.md"):
        write()
    assert tree(tmp_path) == {"out/notes.md": b"mine"}
