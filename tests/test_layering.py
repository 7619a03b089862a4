"""Imports run one way, and light things stay light."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ntk_prune"

# Which packages of ntk_prune each layer may import; itself is always allowed.
CORE = {"types", "activations", "losses", "masks", "allocation", "schedules", "rng", "conv_patches",
        "compiling", "coordinates", "progress"}  # fmt: skip
ALLOWED = {
    "types": set(),
    "rng": set(),
    "compiling": set(),
    "progress": set(),
    "schedules": {"types"},
    "activations": {"types"},
    "losses": {"types"},
    "conv_patches": {"types"},
    "allocation": set(),
    "masks": {"types", "allocation"},
    "coordinates": {"types", "masks"},
    "linalg": {"types"},
    "checkpoint": {"types", "masks"},
    "data": CORE,
    "models": {"types", "activations", "conv_patches"},
    "ntk": CORE | {"models", "linalg", "checkpoint"},
    "interop": CORE | {"models"},
    "pruners": CORE | {"ntk", "linalg", "landscape", "inertial"},
    "training": CORE | {"ntk", "data"},
    "lottery": CORE | {"pruners", "training"},
    "landscape": CORE | {"ntk", "data", "linalg"},
    "inertial": CORE | {"ntk", "landscape", "linalg", "training"},
}
# Each module or package of experiments may import the ones before it.
EXPERIMENTS = ("heap", "errors", "signals", "commands", "lifeline", "hosts", "logs", "trackers",
               "presentation", "plotting", "references", "config", "runs", "environment",
               "compilation", "store", "stages", "metrics", "factories", "joint", "driver",
               "pruning", "observers", "comparison", "trained", "protocols", "report", "launch",
               "cli", "run", "together", "measure", "regimes", "results", "check",
               "sweep", "doctor")  # fmt: skip
# What goes on from another workflow imports that one; no workflow imports any other.
PARENTS = {"transfer": "prune_and_train", "segmentation": "prune_and_train"}
COMMAND_LINES = {"run", "together", "measure", "regimes", "results", "check", "sweep",
                 "doctor", "report.__main__"}  # fmt: skip
ONLY_EXPERIMENTS = {"experiments", "configs", "tyro", "absl", "tools", "benchmarks"}
HEAVY = {"tensorflow", "tensorflow_datasets", "neural_tangents", "matplotlib", "pandas", "torch",
         "sklearn", "orbax", "grain"}  # fmt: skip


def layer_of(path: Path) -> str:
    """``ntk_prune/pruners/snip.py`` -> ``pruners``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level: bool = False) -> list[str]:
    """The modules that a file imports, anywhere or only when it is itself imported."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else ast.walk(tree)
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_layers(path):
    layer = layer_of(path)
    for name in imports(path):
        root, *rest = name.split(".")
        flag_of_grain = root == "absl" and path.name == "stream.py"
        assert root not in ONLY_EXPERIMENTS or flag_of_grain, f"{path} imports {name}"
        if root == "ntk_prune" and rest and layer != "__init__":
            known = rest[0] in ALLOWED
            assert not known or rest[0] == layer or rest[0] in ALLOWED[layer], f"imports {name}"
        if root == "flax":
            assert layer == "models", f"{path} imports {name}"
        if root == "jax" and path.parent.name != "neural_tangents":
            private = rest[:1] in (["_src"], ["core"], ["interpreters"])
            assert not private, f"{path} imports {name}"


def modules() -> dict[str, Path]:
    """``{"experiments.factories": path}`` of both packages; a package is its ``__init__``."""
    paths = [*FILES, *sorted((ROOT / "experiments").rglob("*.py"))]
    parts = {path: path.relative_to(ROOT).with_suffix("").parts for path in paths}
    return {".".join(p[:-1] if p[-1] == "__init__" else p): path for path, p in parts.items()}


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules, out of ``known``, that a file imports or takes names from, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in known else str(node.module) for name in names}
    return found & known.keys()


def test_no_import_circles():
    known = modules()
    TopologicalSorter({name: imported(path, known) for name, path in known.items()}).prepare()


def test_experiments_import_what_stands_before_them():
    known = modules()
    rank = {name: i for i, name in enumerate(EXPERIMENTS)}
    for name, path in known.items():
        if name.startswith("experiments."):
            own = rank[name.split(".")[1]]
            for other in imported(path, known):
                root, *rest = other.split(".")
                assert root != "experiments" or rank[rest[0]] <= own, f"{name} imports {other}"


def test_a_protocol_imports_no_other_but_its_parent():
    known, folder = modules(), "experiments.protocols."
    names = {name.split(".")[2] for name in known if name.startswith(folder)} - {"protocol"}
    for name, path in known.items():
        if name.startswith(folder) and (own := name.split(".")[2]) in names:
            others = {n.split(".")[2] for n in imported(path, known) if n.startswith(folder)}
            assert others & names <= {own, PARENTS.get(own)}, name


def test_nothing_below_a_command_line_knows_it():
    known = modules()
    for name, path in known.items():
        root, _, inside = name.partition(".")
        if root == "experiments" and inside not in COMMAND_LINES:
            assert "experiments.cli" not in imported(path, known), name
            assert "argparse" not in imports(path), name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_imports_are_local(path):
    for name in imports(path, top_level=True):
        assert name.split(".")[0] not in HEAVY, f"{path} imports {name} at its top"


def test_one_criterion_does_not_import_another():
    criteria = {p.stem for p in (PACKAGE / "pruners").glob("*.py")}
    criteria -= {"__init__", "common", "controls", "driver", "paths"}
    for path in (PACKAGE / "pruners").glob("*.py"):
        if path.stem in criteria:
            others = {f"ntk_prune.pruners.{c}" for c in criteria - {path.stem}}
            assert not others & set(imports(path)), path


def test_scoring_and_training_import_nothing_heavy():
    code = (
        "import sys, ntk_prune.pruners, ntk_prune.training, ntk_prune.data, ntk_prune.models;"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


def test_protocols_import_what_draws_only_to_draw():
    code = (
        "import sys, experiments.protocols;"
        "print(sorted({'pandas', 'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


def test_the_report_knows_no_workflow():
    known = modules()
    for name, path in known.items():
        if name.startswith("experiments.report"):
            assert not [other for other in imported(path, known) if "protocols." in other], name


def test_test_modules_have_names_of_their_own():
    """pytest imports test modules by their bare names, so two of one name cannot be collected."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
