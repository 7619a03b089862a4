"""Run directories: other configs, other processes and torn files are refused or mended."""

import json
import subprocess
import sys

import numpy as np
import pytest

from experiments.config import loading
from experiments.errors import UserError
from experiments.store import Store, differences

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
