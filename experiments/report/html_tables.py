"""Tables that the report has whatever the workflow."""

from collections.abc import Sequence

import pandas as pd

from experiments.presentation import NOTHING, Table
from experiments.references import Reference
from experiments.runs import Run


def published(reference: Reference) -> Table:
    """The published numbers and their source: a row per method, a column per printed sparsity."""
    heads = ["sparsity (%)", *(f"{s:.2f}" for s in reference.sparsity)]
    rows = [_published_row(reference, method) for method in reference.methods]
    if reference.dense is not None:
        rows.append(["dense (0 %)", f"{reference.dense:g}", *[""] * (len(heads) - 2)])
    return Table(heads, rows, range(1, len(heads)), title=reference.label, note=reference.source)


def _published_row(reference: Reference, method: str) -> list[str]:
    """The method, with its reading error where it has its own; ``~`` before rough readings."""
    digits = "g" if reference.digitised else ".2f"
    texts = [NOTHING if v is None else f"{v:{digits}}" for v in reference.methods[method]]
    bars = [f" ± {bar:.2f}" for bar in reference.plus_minus.get(method, ())] or [""] * len(texts)
    signs = ["~" * rough for rough in reference.is_approximate(method)]
    error = f" (±{reference.coarser[method]:g})" if method in reference.coarser else ""
    return [method + error, *map("".join, zip(signs, texts, bars, strict=True))]


def environments(runs: Sequence[Run]) -> Table:
    """What the runs were made with: every different value and how many runs have it."""
    rows = []
    for name, values in _environment(runs).items():
        counts = pd.Series([str(value or "unknown") for value in values]).value_counts()
        rows += [[name, str(value), str(count)] for value, count in counts.items()]
    return Table(["", "value", "runs"], rows, (2,))


def _environment(runs: Sequence[Run]) -> dict[str, list[str | None]]:
    versions = {
        name: [run.env.get("versions", {}).get(name) for run in runs]
        for name in ("jax", "flax", "ntk_prune")
    }
    return {
        "hardware": [run.hardware for run in runs],
        "commit": [run.env.get("commit") for run in runs],
        "python": [run.env.get("python") for run in runs],
        **versions,
    }
