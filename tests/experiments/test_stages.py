"""Work that is done once: by whom, under which name, and after a failure."""

import threading
import time

import pytest
from lottery_problem import get_config

from experiments.errors import UserError
from experiments.stages import done_once, stage
from experiments.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, get_config())


def test_work_is_done_once_and_all_of_it(store):
    parts, calls = [store.within(name) for name in "ab"], []

    def make():
        calls.append(1)
        return [{"part": number} for number in range(2)]

    done_once(parts, make)
    done_once(parts, make)
    assert calls == [1]
    assert [part.read_json("DONE") for part in parts] == [{"part": 0}, {"part": 1}]


def test_work_that_fails_is_not_done(store):
    def fail():
        raise FloatingPointError

    part = store.within("a")
    with pytest.raises(FloatingPointError):
        done_once([part], fail)
    assert not part.has("DONE")
    done_once([part], lambda: [{}])
    assert part.has("DONE")


def test_who_asks_meanwhile_waits_and_makes_nothing(store):
    makers = []

    def ask(name):
        def make():
            makers.append(name)
            time.sleep(0.2)
            return [{}]

        done_once([store.within("a")], make)
        assert store.within("a").has("DONE")

    threads = [threading.Thread(target=ask, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(makers) == 1


def test_a_stage_is_named_by_what_made_it(store):
    a = stage(store, "dense", {"seed": 0, "train": {"learning_rate": 0.1}})
    assert a.path == stage(store, "dense", {"train": {"learning_rate": 0.1}, "seed": 0}).path
    b = stage(store, "dense", {"seed": 1, "train": {"learning_rate": 0.1}})
    assert a.path != b.path
    assert a.path.parent == b.path.parent == store.path / "dense"
    assert a.read_json("made_by.json") == {"seed": 0, "train": {"learning_rate": 0.1}}
    a.write_json("made_by.json", {"seed": 1})
    with pytest.raises(UserError, match="holds something else"):
        stage(store, "dense", {"seed": 0, "train": {"learning_rate": 0.1}})
