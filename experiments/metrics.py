"""What a training leaves in its run directory: lines for every epoch, the numbers at the end."""

from typing import Any

from experiments.store import Store
from ntk_prune import masks
from ntk_prune.training import Epoch, Evaluate, TrainState


def log_epoch(
    store: Store, epoch: Epoch, loss: float, accuracy: float, test: dict[str, float], **about: Any
) -> None:
    """Log what a network learnt in an epoch, what the test set says of it, how fast it went.

    ``about`` stands beside the speed.
    """
    learnt = {
        "train/loss": loss,
        "train/accuracy": accuracy,
        "train/learning_rate": epoch.learning_rate,
    }
    speed = {"images_per_second": epoch.images_per_second}
    store.log(epoch.step, epoch.epoch, learnt)
    log_test(store, epoch.step, epoch.epoch, test)
    store.log(epoch.step, epoch.epoch, speed, file="timing", **about)


def log_test(store: Store, step: int, epoch: float, test: dict[str, float]) -> None:
    """Log what the test set says of a network."""
    tested = {f"test/{name}": value for name, value in test.items() if name != "n"}
    store.log(step, epoch, tested, n=test["n"])


def final_numbers(store: Store, final: TrainState, evaluate: Evaluate) -> dict[str, Any]:
    """What ``DONE`` says of the network ``final``.

    The test set's verdict is the one logged after the last epoch; it is evaluated here only where
    there was no epoch. Density is counted on the weights, not the mask.
    """
    step = int(final.step)
    test = _logged_test(store, step) or evaluate(final.params, final.state)
    weights = [leaf for _, leaf in masks.leaves(final.params)]
    nonzero = sum(int((w != 0).sum()) for w in weights)
    return {
        "step": step,
        **{f"test/{name}": value for name, value in test.items()},
        "nonzero": nonzero,
        "density": nonzero / sum(w.size for w in weights),
    }


def _logged_test(store: Store, step: int) -> dict[str, float]:
    """What ``log_epoch`` logged as ``test`` at this step; empty where it did not."""
    found = [r for r in store.records() if r["step"] == step and r["name"].startswith("test/")]
    test = {r["name"].removeprefix("test/"): r["value"] for r in found}
    return {**test, "n": found[0]["n"]} if found else {}
