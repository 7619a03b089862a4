"""neural-tangents' own tests on the host: ``python -m tools.neural_tangents_suite DIR [FILE ...]``.

``DIR`` is the ``tests`` folder of its source distribution, which the wheel lacks::

    pip download --no-binary :all: --no-deps neural-tangents==0.6.5
    tar xzf neural-tangents-0.6.5.tar.gz
    pip install more-itertools
    python -m tools.neural_tangents_suite neural-tangents-0.6.5/tests empirical_test.py

Without ``FILE`` every file that needs neither TensorFlow nor a data set runs. The tests were
written for the JAX of their day, so they import the same views of it as the library. Prints one
line per file and the failures; exits with 1 if there are any.
"""

import argparse
import collections
import os
import pathlib
import sys

import jax
import pytest
from absl import flags

from ntk_prune.ntk import neural_tangents

FILES = (
    "empirical_test.py",
    "predict_test.py",
    "monte_carlo_test.py",
    "batching_test.py",
    "rules_test.py",
    "stax/combinators_test.py",
    "stax/requirements_test.py",
    "stax/branching_test.py",
    "stax/stax_test.py",
    "stax/elementwise_test.py",
    "stax/linear_test.py",
)


class Tally:
    """A pytest plugin: outcomes per file."""

    def __init__(self):
        self.outcomes = collections.defaultdict(collections.Counter)
        self.seconds = collections.Counter()
        self.failures = []

    def pytest_runtest_logreport(self, report):
        if hasattr(report, "context"):  # a subtest; its test is counted
            return
        file = report.nodeid.partition("::")[0]
        self.seconds[file] += report.duration
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[file][report.outcome] += 1
        if report.failed:
            self.failures.append(report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.outcomes[report.nodeid]["failed"] += 1
            self.failures.append(f"{report.nodeid}: {report.longreprtext.splitlines()[-1]}")

    def table(self) -> str:
        columns = ("passed", "failed", "skipped")
        lines = [f"{'file':<36}" + "".join(f"{c:>9}" for c in columns) + "  seconds"]
        for file, outcomes in self.outcomes.items():
            counts = "".join(f"{outcomes[c]:9d}" for c in columns)
            lines.append(f"{file:<36}{counts}{self.seconds[file]:9.0f}")
        return "\n".join(lines + [f"FAILED {name}" for name in self.failures])


def host(tests: pathlib.Path) -> None:
    """Load neural-tangents, and have the package ``tests`` import what it imports."""
    neural_tangents.load()
    views = neural_tangents.views()
    old_jax = neural_tangents.View(views["jax"], tree_map=jax.tree.map)
    sys.meta_path.insert(0, neural_tangents.Finder(tests.name, {**views, "jax": old_jax}))
    sys.path.insert(0, str(tests.parent))
    # Tolerances and inequality of inputs were checked with the random numbers of that JAX.
    jax.config.update("jax_threefry_partitionable", False)
    flags.FLAGS.mark_as_parsed()  # the tests read absl flags while they are collected


def run(tests: pathlib.Path, files: list[str], select: str) -> Tally:
    tally = Tally()
    plain = ["--assert=plain", "-p", "no:cacheprovider", "-c", os.devnull, "-q", "-W", "ignore"]
    paths = [str(tests / file) for file in files]
    pytest.main([*plain, f"--rootdir={tests}", "--tb=short", "-k", select, *paths], [tally])
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description="neural-tangents' own tests on the host")
    parser.add_argument("tests", type=pathlib.Path, help="the folder of neural-tangents' tests")
    parser.add_argument("files", nargs="*", default=FILES, help="files in it; all by default")
    parser.add_argument("-k", default="", help="pytest's -k, to run a part")
    args = parser.parse_args()
    host(args.tests.resolve())
    tally = run(args.tests.resolve(), list(args.files), args.k)
    print(tally.table())
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
