"""What is installed, on which devices, with which data: ``python -m experiments.doctor``.

A line for each extra and data set that is missing says what to do. Exit status: 1 if something is
missing that every run needs.
"""

import argparse
import importlib.metadata
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from experiments.commands import command
from experiments.environment import environment
from ntk_prune.data import tfds

PACKAGE = "ntk_prune"
FIRST_RUN = (
    "python -m experiments.run --config configs/ntksap_resnet20.py:digits --workdir runs/quickstart"
)


class Part(NamedTuple):
    """The core, or an extra: what is there, ``name version``, and what is wrong with the rest."""

    present: list[str]
    missing: list[str]


@command
def main(argv: list[str]) -> int:
    """Look and print. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.doctor",
        description="What is installed, on which devices, with which data, and what to do.",
    )
    parser.add_argument(
        "--data_dir", type=Path, default=tfds.default_dir(), metavar="DIR",
        help="where sets of TensorFlow Datasets are looked for; default: %(default)s",
    )  # fmt: skip
    data_dir = parser.parse_args(argv).data_dir
    try:
        core = installed(None)
    except importlib.metadata.PackageNotFoundError:
        print(f"{PACKAGE} is not installed: pip install -c requirements.txt -e .")
        return 1
    print(f"{PACKAGE} {importlib.metadata.version(PACKAGE)}, Python {sys.version.split()[0]}")
    for line in (*_packages(core), *_devices(), *_data(data_dir)):
        print(line)
    print(f"to begin: {'see what is missing' if core.missing else FIRST_RUN}")
    return int(bool(core.missing))


def installed(extra: str | None, package: str = PACKAGE) -> Part:
    """The packages of an extra, or those that every run needs.

    Raises PackageNotFoundError where ``package`` itself is not installed.
    """
    part = Part([], [])
    for requirement in map(Requirement, importlib.metadata.requires(package) or ()):
        if _belongs(requirement, extra):
            _look_for(requirement, part)
    return part


def _belongs(requirement: Requirement, extra: str | None) -> bool:
    """Whether it is asked for by this extra alone, or without any (None), on this system."""
    marker = requirement.marker
    is_needed = marker is None or marker.evaluate({"extra": ""})
    if extra is None or marker is None:
        return extra is None and is_needed
    return not is_needed and marker.evaluate({"extra": extra})


def _look_for(requirement: Requirement, part: Part) -> None:
    name = requirement.name
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        part.missing.append(name)
        return
    if not requirement.specifier.contains(version, prereleases=True):
        part.missing.append(f"{name}{requirement.specifier}, not {version}")
        return
    part.present.append(f"{name} {version}")
    for extra in requirement.extras:  # jax[cuda13]
        inner = installed(extra, name)
        part.present.extend(inner.present)
        part.missing.extend(inner.missing)


def _packages(core: Part) -> Iterator[str]:
    yield f"needed: {', '.join(core.present)}"
    if core.missing:
        yield f"  missing: {'; '.join(core.missing)}: pip install -c requirements.txt -e ."
    for extra in importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or ():
        part = installed(extra)
        line = ", ".join(part.present)
        if part.missing:
            line = f"missing {'; '.join(part.missing)}: pip install -e '.[{extra}]'"
        yield f"extra {extra}: {line}"


def _devices() -> Iterator[str]:
    try:
        found = environment()
    except RuntimeError as error:
        yield f"devices: JAX finds none ({' '.join(str(error).split())}); try JAX_PLATFORMS=cpu"
        return
    kinds = {kind: found["devices"].count(kind) for kind in found["devices"]}
    yield (
        f"devices: {', '.join(f'{n} x {kind}' for kind, n in kinds.items())} ({found['backend']}); "
        f"{found['cpu_count']} cores of {found['processor']}"
    )
    if found["backend"] == "cpu" and shutil.which("nvidia-smi"):
        yield "  there is an NVIDIA driver that JAX does not use: pip install -e '.[cuda]'"


def _data(data_dir: Path) -> Iterator[str]:
    yield "data digits: embedded"
    for name in tfds.ARCHIVES:
        try:
            yield f"data {name}: {tfds.find(name, data_dir)}"
        except (FileNotFoundError, ValueError) as error:
            yield f"data {error}"


if __name__ == "__main__":
    sys.exit(main())
