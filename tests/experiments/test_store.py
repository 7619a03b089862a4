"""Run directories: other configs, other processes and torn files are refused or mended."""

import errno
import fcntl
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from experiments.config import loading
from experiments.config.differences import differences
from experiments.config.loading import exact
from experiments.errors import UserError
from experiments.store import Store

CONFIG = loading.load("configs/snip_resnet20.py:smoke")
OTHER = loading.override(CONFIG, {"prune.density": "0.5", "train.batch_size": "32"})


def test_files_round_trip(tmp_path):
    store = Store(tmp_path / "run", CONFIG)
    with store.claimed():
        store.save("mask", {"fc": {"kernel": np.array([[True, False]])}})
        store.write_json("x.json", {"a": 1})
    assert store.load("mask")["fc"]["kernel"].tolist() == [[True, False]]
    assert store.read_json("x.json") == {"a": 1}
    assert json.loads((tmp_path / "run/config.json").read_text())["prune"]["name"] == "snip"
    assert "versions" in store.read_json("env.json")
    assert store.done is None
    store.finish({"accuracy": 1.0})
    assert store.done == {"accuracy": 1.0}


def test_another_config_is_refused_with_the_difference(tmp_path):
    with Store(tmp_path, CONFIG).claimed():
        pass
    with pytest.raises(UserError, match=r"prune.density: 0.107.* there, 0.5 now; train.batch_size"):
        _ = Store(tmp_path, OTHER).done
    with pytest.raises(UserError, match="holds another config"), Store(tmp_path, OTHER).claimed():
        pass


def test_another_protocol_is_the_only_difference_that_is_shown(tmp_path):
    with Store(tmp_path, CONFIG).claimed():
        pass
    message = r"another config \(protocol: 'prune_and_train' there, 'train' now\)"
    with pytest.raises(UserError, match=message):
        _ = Store(tmp_path, loading.load("configs/train_lenet_digits.py")).done


def test_a_second_process_is_refused(tmp_path):
    code = (
        "import sys; from experiments.config import loading; from experiments.store import Store\n"
        "config = loading.load('configs/snip_resnet20.py:smoke')\n"
        "try:\n"
        "    with Store(sys.argv[1], config).claimed(): print('taken')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )

    def second():
        words = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    with Store(tmp_path, CONFIG).claimed():
        assert "UserError" in second()
    assert second() == "taken\n"


def test_a_resumed_log_forgets_what_is_done_again(tmp_path):
    store = Store(tmp_path, CONFIG)
    for step in (1, 2, 3):
        store.log(step, step / 2, {"loss": step})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "na')  # a line torn by a kill
    store.rewind_log(2)
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]


@pytest.mark.parametrize("name", ["DONE", "mask.safetensors", "replicate_0", ".config.json.12"])
def test_a_directory_without_its_config_is_not_adopted(tmp_path, name):
    (tmp_path / name).write_text("{}")
    message = rf"no config.json but holds {re.escape(name)}: .*remove the directory"
    for attempt in (
        lambda: Store(tmp_path, CONFIG).done,
        Store(tmp_path, CONFIG).claimed().__enter__,
    ):
        with pytest.raises(UserError, match=message):
            attempt()
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == [name]


def test_a_run_killed_before_its_config_goes_on(tmp_path):
    for name in (".lock", "env.json", ".config.json.12.partial"):
        (tmp_path / name).touch()
    (tmp_path / "env.json").write_text("{}")
    with Store(tmp_path, CONFIG).claimed():
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "config.json", "env.json"]


def test_only_partial_files_of_this_run_are_removed(tmp_path):
    store = Store(tmp_path, CONFIG)
    with store.claimed():
        pass
    other, part = tmp_path / "other", tmp_path / "level_1"
    for directory in (other, part):
        directory.mkdir()
        (directory / ".mask.safetensors.7.partial").touch()
    (other / "config.json").write_text("{}")
    (part / ".notes.2024").touch()
    (part / ".link.3.partial").symlink_to(other)
    with store.claimed():
        pass
    assert {p.name for p in part.iterdir()} == {".notes.2024", ".link.3.partial"}
    assert {p.name for p in other.iterdir()} == {"config.json", ".mask.safetensors.7.partial"}


def test_a_finished_run_names_the_file_that_it_misses(tmp_path):
    store = Store(tmp_path, CONFIG)
    with store.claimed():
        store.save("mask", {"fc": {"kernel": np.array([True])}})
        store.log(1, 1.0, {"loss": 1.0})
        store.finish({"accuracy": 1.0})
    assert store.done == {"accuracy": 1.0}
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match=r"finished, but .*metrics.jsonl is of another size"):
        _ = store.done
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match=r"metrics.jsonl is missing; restore it, or remove"):
        store.is_finished()


@pytest.mark.parametrize("content", [b"{}\n", b"1\n", b"[1\n", b"\xff\xfe\n", b'{"step": 1\n{}\n'])
def test_a_damaged_log_is_one_line(tmp_path, content):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    for read in (Store(tmp_path, CONFIG).records, lambda: Store(tmp_path, CONFIG).rewind_log(1)):
        with pytest.raises(UserError, match=r"metrics.jsonl has a damaged line"):
            read()


def test_a_lock_that_the_file_system_refuses_is_not_in_use(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match=r"cannot be locked: No locks available"):
        Store(tmp_path, CONFIG).claimed().__enter__()


def test_names_of_near_numbers_differ():
    assert len({exact(x) for x in (0.2, 0.2000004, 0.20000000000000004)}) == 3
    assert exact(0.2) == "0.2"


def test_differences():
    old = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert differences(old, {"a": {"b": 1, "c": 3}, "d": [1]}) == ["a.c: 2 there, 3 now"]
    assert differences(old, old) == []


def test_unwritable_directory_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot write to"),
        Store(tmp_path / "file" / "run", CONFIG).claimed(),
    ):
        pass
