"""What a training leaves in its directory: lines for every epoch, the numbers at the end."""

from collections.abc import Iterable
from typing import Any

from experiments.errors import UserError
from experiments.store import Store
from ntk_prune import masks
from ntk_prune.training import Epoch
from ntk_prune.types import Params


def log_epoch(
    store: Store, epoch: Epoch, loss: float, accuracy: float, test: dict[str, float], networks: int
) -> None:
    """Log what a network learnt in an epoch, what the test set says of it, how fast it went.

    ``networks`` is how many were trained at this speed together.
    """
    learnt = {
        "train/loss": loss,
        "train/accuracy": accuracy,
        "train/learning_rate": epoch.learning_rate,
    }
    speed = {"images_per_second": epoch.images_per_second}
    store.log(epoch.step, epoch.epoch, learnt)
    log_test(store, epoch.step, epoch.epoch, test)
    store.log(epoch.step, epoch.epoch, speed, file="timing", networks=networks)


def log_test(store: Store, step: int, epoch: float, test: dict[str, float]) -> None:
    """Log what the test set says of a network."""
    tested = {f"test/{name}": value for name, value in test.items() if name != "n"}
    store.log(step, epoch, tested, n=test["n"])


def check_log(store: Store, steps: Iterable[int]) -> None:
    """UserError if what the test set said at one of these steps is not in the log."""
    logged = {step for step, _ in store.logged("test/accuracy")}
    missing = sorted(set(steps) - logged)
    if missing:
        listed = ", ".join(map(str, missing))
        raise UserError(
            f"{store.path}/metrics.jsonl has lost its lines of step {listed}, which the training "
            f"has passed; remove {store.path} to train anew"
        )


def in_words(test: dict[str, float]) -> str:
    """What a network is judged by: its mean IoU, or else its accuracy."""
    name = "miou" if "miou" in test else "accuracy"
    return f"test {name} {test[name]:.4f}"


def final_numbers(store: Store, params: Params) -> dict[str, Any]:
    """What ``DONE`` says of the network that ended with ``params``.

    The test set's verdict is the one logged last; that at the step of least test loss is the early
    stop. Density is counted on the weights, not the mask.
    """
    weights = [leaf for _, leaf in masks.leaves(params)]
    nonzero = sum(int((w != 0).sum()) for w in weights)
    return {
        **_last_test(store),
        "nonzero": nonzero,
        "density": nonzero / sum(w.size for w in weights),
        **_early_stop(store),
    }


def _last_test(store: Store) -> dict[str, Any]:
    """The last step and what ``log_test`` logged there."""
    tests = [record for record in store.records() if record["name"].startswith("test/")]
    last = [record for record in tests if record["step"] == tests[-1]["step"]]
    values = {record["name"]: record["value"] for record in last}
    return {"step": last[0]["step"], **values, "test/n": last[0]["n"]}


def _early_stop(store: Store) -> dict[str, float]:
    """The step of least test loss and the accuracy there."""
    accuracies = dict(store.logged("test/accuracy"))
    step, _ = min(store.logged("test/loss"), key=lambda pair: pair[1])
    return {"early_stop/step": step, "early_stop/accuracy": accuracies[step]}
