"""Measure two trained networks: ``python -m experiments.measure A B [--out DIR]``.

``A`` and ``B`` are directories of trained networks, of one architecture on one data set: finished
runs, or parts of one, such as ``runs/lottery/replicate_0/level_3``. Prints what the two are to each
other and writes it as ``measure.json``, with the line between them as ``line.png``.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import factories
from experiments.commands import command
from experiments.comparison import Comparison, Settings
from experiments.errors import expanded, user_errors
from experiments.plotting import panels
from experiments.plotting.saving import save
from experiments.trained import Trained, check_fit, load
from ntk_prune import checkpoint, masks
from ntk_prune.losses import LOSSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers = dict[str, Any]


@command
def main(argv: list[str]) -> int:
    """Load, measure, print, write. Returns the exit status."""
    arguments = vars(_parser().parse_args(argv))
    paths = arguments.pop("a"), arguments.pop("b")
    own = arguments.pop("out")
    out = expanded(own or Path("runs/measure") / "--".join(map(_named, paths)), "--out")
    with user_errors("measure"):
        settings = Settings(**arguments)
    numbers = measure(load(paths[0]), load(paths[1]), settings)
    with user_errors(str(out)):
        write(numbers, out)
    print("\n".join(lines(numbers)))
    print(out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.measure",
        description="Connectivity, similarity, curvature and kernels of two trained networks.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="a finished run, or a network in one")
    parser.add_argument("b", type=Path, metavar="B", help="another of the same kind")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/measure/A--B")
    for field in dataclasses.fields(Settings):
        parser.add_argument(f"--{field.name}", type=int, default=field.default, metavar="N",
                            help=f"default: {field.default}")  # fmt: skip
    return parser


def _named(path: Path) -> str:
    """``runs/x/seed_0`` -> ``runs_x_seed_0``."""
    return "_".join(part for part in path.parts if part not in ("/", "..", "."))


def measure(a: Trained, b: Trained, settings: Settings) -> Numbers:
    """Everything between two networks. UserError where they do not fit together."""
    check_fit(a, b)
    with user_errors("data"):
        dataset = factories.load_data(a.data)
    with user_errors("model"):
        model = factories.make_model(a.model, dataset, factories.example(a.data, dataset))
    with user_errors("measure"):
        prepare = factories.inputs(a.data, dataset)
        comparison = Comparison(model, dataset, prepare, settings, LOSSES[a.loss])
    networks = [{"path": str(n.path), "density": masks.density(n.mask)} for n in (a, b)]
    made_with = {"networks": networks, "settings": dataclasses.asdict(settings)}
    return {**made_with, **comparison.both(a, b)}


def write(numbers: Numbers, out: Path) -> None:
    """``measure.json`` and ``line.png`` in ``out``."""
    text = json.dumps(numbers, indent=1, allow_nan=False) + "\n"
    checkpoint.write_atomically(out / "measure.json", text.encode())
    save(draw_line(numbers["connectivity"]), out / "line")


@panels.styled
def draw_line(connectivity: Numbers) -> "Figure":
    """Error and loss from A to B, on training and test images."""
    figure, axes = panels.grid(1, 2, width=3.0, height=2.4)
    for ax, name, scale in zip(axes[0], ("error", "loss"), (100, 1), strict=True):
        for split in ("train", "test"):
            values = [scale * value for value in connectivity[f"{split}/{name}"]]
            ax.plot(connectivity["t"], values, marker="o", markersize=3, label=split)
        ax.set_xlabel("t, from A to B")
        ax.set_ylabel("error (%)" if scale > 1 else "loss")
    axes[0, 0].legend()
    return figure


def lines(numbers: Numbers) -> list[str]:
    """What is printed: a line for each kind of measure."""
    a, b = numbers["networks"]
    line, train, test = numbers["connectivity"], *numbers["similarity"].values()
    printed = [
        f"A: {a['path']}, {a['density']:.4%} kept",
        f"B: {b['path']}, {b['density']:.4%} kept",
        f"LMC {line['lmc']:+.4f} (training error, as published), "
        f"{len(line['t'])} points, batch norm estimated anew",
        *(
            f"barrier of {split} error {line[f'barrier/{split}/error']:.4f}, "
            f"loss {line[f'barrier/{split}/loss']:.4f}; error at A, B "
            f"{line[f'{split}/error'][0]:.4f}, {line[f'{split}/error'][-1]:.4f}"
            for split in ("train", "test")
        ),
        *(
            f"{split} images ({alike['images']}): CKA {alike['cka']:.4f} biased, "
            f"{alike['cka/unbiased']:.4f} unbiased, agreement {alike['agreement']:.4f}, "
            f"Jensen-Shannon {alike['jensen_shannon']:.4g} nats"
            for split, alike in (("train", train), ("test", test))
        ),
    ]
    for name, hessian in zip("AB", numbers.get("hessian", ()), strict=False):
        printed.append(
            f"Hessian of {name} ({hessian['images']} training images): top {hessian['top']:.4g} "
            f"(residual {hessian['top/residual']:.1g}), trace {hessian['trace']:.4g} +- "
            f"{hessian['trace/sem']:.2g} (standard error, n = {hessian['trace/n']})"
        )
    if ntk := numbers.get("ntk"):
        printed.append(
            f"NTK ({ntk['images']} training images): distance |B - A| / |A| "
            f"{ntk['relative_distance']:.4g}, alignment {ntk['alignment']:.4f}, overlap of the top "
            f"{ntk['eigenspace/dimensions']} eigenvectors {ntk['eigenspace/overlap']:.4f}"
        )
    return printed


if __name__ == "__main__":
    sys.exit(main())
