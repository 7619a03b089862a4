"""Thousands of small runs, made from one finished run; as a command, to measure the report.

python tests/experiments/many_runs.py RUN INTO 2000
"""

import json
import shutil
import sys
from pathlib import Path

METHODS = ("ntksap", "snip", "magnitude", "random")
DENSITIES = (0.5, 0.2, 0.1, 0.05, 0.02)
LEFT_OUT = shutil.ignore_patterns("checkpoints", "params*", "*.png", ".lock")


def write_copies(run: Path, into: Path, count: int) -> Path:
    """Write ``count`` copies of ``run`` with other methods, densities, seeds and accuracies."""
    for number in range(count):
        rest, method = divmod(number, len(METHODS))
        seed, density = divmod(rest, len(DENSITIES))
        path = into / METHODS[method] / f"{DENSITIES[density]:g}" / f"seed_{seed}"
        shutil.copytree(run, path, ignore=LEFT_OUT)
        _change(path / "config.json", {"seed": seed}, METHODS[method], DENSITIES[density])
        accuracy = 0.5 + DENSITIES[density] / 4 + method / 100 + seed % 7 / 1000
        _change(path / "DONE", {"test/accuracy": accuracy})
        last = {"step": 10**6, "epoch": 2.0, "name": "test/accuracy", "value": accuracy}
        with open(path / "metrics.jsonl", "a") as stream:
            stream.write(json.dumps(last) + "\n")
    return into


def _change(file: Path, values: dict, method: str = "", density: float = 0.0) -> None:
    content = {**json.loads(file.read_text()), **values}
    if method:
        content["prune"] |= {"name": method, "options": {}, "density": density}
    file.write_text(json.dumps(content))


if __name__ == "__main__":
    write_copies(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
