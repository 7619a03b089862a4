"""What the report shows of spectra at W* and of the masks compared there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.plotting.statistics import mean_interval
from experiments.presentation import (
    NOTHING,
    NamedFigure,
    Presentation,
    Section,
    Table,
    number,
    with_interval,
)
from experiments.protocols.imc import figures
from experiments.protocols.imc.results import certificates, over_replicates
from experiments.references import Reference
from experiments.runs import Run
from experiments.runs.labels import network_label
from experiments.runs.reading import read_json
from ntk_prune.checkpoint import load_tree

_TEXT = (
    "A reconstruction: the paper's own steps are not available. Means over replicates ± half width "
    "of the Student-t 95 % interval, in per cent. Overlap: share of the top eigenspace of the "
    "Hessian at W* that the mask keeps; chance: its mean over random masks. Block gap: smallest "
    "eigenvalue of the Hessian on the fast coordinates less the largest on the slow ones (kept or "
    "pruned), with Lanczos' residuals taken off; certified: above zero at all points of the "
    "smallest ball that were looked at."
)
_CAPTIONS = {
    "spectrum": "Density of the Hessian's eigenvalues at W* (± standard error over probes), and "
    "the upper end with the gaps that the condition admits. First replicate.",
    "leverage": "Leverage and diagonal of the Hessian against magnitude at W*. First replicate.",
    "accuracy": "Accuracy and captured leverage against density; Student-t 95 % intervals, moved "
    "sideways a little.",
    "slaving": "How far a dense training from W* is from the graph over its slow part.",
}


def present(
    runs: Sequence[Run],
    published: Sequence[Reference] = (),  # noqa: ARG001
) -> Presentation:
    """Tables and figures of every finished run."""
    finished = [
        (run, results)
        for run in runs
        if (results := read_json(run.path / "results.json")) is not None
    ]
    counts = f"{len(runs)} spectra, {len(finished)} finished"
    sections = [
        Section(f"IMC: {network_label(run)}", [masks_table(r), spectra_table(r)], _TEXT, "IMC")
        for run, r in finished
    ]
    return Presentation(sections, _figures(finished), counts=counts)


def masks_table(results: Mapping[str, Any]) -> Table:
    """A row per method and density: accuracy, overlap against chance, conditioning."""
    accuracy, overlap, chance, cosine = (
        over_replicates(results, name)
        for name in ("test/accuracy", "overlap", "chance", "smallest_cosine")
    )
    rows = [
        [method, number(100 * a["density"]), with_interval(a["mean"], a["half_width"]),
         with_interval(o["mean"], o["half_width"]), f"{100 * c['mean']:.2f}", number(s["mean"]),
         *_certificate(results, method, a["density"]), str(a["n"])]
        for method in accuracy
        for a, o, c, s in zip(
            accuracy[method], overlap[method], chance[method], cosine[method], strict=True
        )
    ]  # fmt: skip
    heads = ["method", "density (%)", "test accuracy (%)", "overlap (%)", "chance (%)",
             "smallest cosine", "block gap", "certified", "n"]  # fmt: skip
    return Table(heads, rows, range(1, len(heads)), title="Masks")


def _certificate(results: Mapping[str, Any], method: str, density: float) -> tuple[str, str]:
    """The mean of ``beta - alpha``, and how many masks are certified."""
    each = certificates(results, method, density)
    if not each:
        return NOTHING, NOTHING
    mean, half_width, _ = mean_interval([c["beta"] - c["alpha"] for c in each])
    interval = "" if half_width is None else f" ± {half_width:.2g}"
    return f"{mean:.3g}{interval}", f"{sum(c['holds'] for c in each)} of {len(each)}"


def spectra_table(results: Mapping[str, Any]) -> Table:
    """A row per number of the spectrum: mean and interval over replicates."""
    spectra = results["spectra"]
    values = {
        "gradient norm at W*": [s["gradient_norm"] for s in spectra],
        "largest eigenvalue": [s["top"]["values"][0] for s in spectra],
        "smallest eigenvalue": [s["bottom"]["values"][0] for s in spectra],
        "share of negative eigenvalues": [s["negative_share"]["value"] for s in spectra],
        "distance of Gauss-Newton from the Hessian": [
            s["gauss_newton"]["distance"] for s in spectra
        ],
        "overlap of both top spaces": [s["gauss_newton"]["overlap_with_hessian"] for s in spectra],
        "plateau of the group's rule": [s["plateau_published"]["value"] for s in spectra],
        "largest one-shot sparsity (arXiv 2306.05857)": [
            s["one_shot_sparsity"]["value"] for s in spectra
        ],
        **{
            f"Lipschitz constant on r = {ball['radius']:g}, at least": [
                s["remainder"][i]["lipschitz_lower_bound"] for s in spectra
            ]
            for i, ball in enumerate(spectra[0]["remainder"])
        },
        **{
            f"block gap of the top space on r = {ball['radius']:g}": [
                c["beta"] - c["alpha"] for s in spectra if (c := s["remainder"][i]["certificate"])
            ]
            for i, ball in enumerate(spectra[0]["remainder"])
            if ball.get("certificate")
        },
    }
    rows = []
    for name, each in values.items():
        mean, half_width, n = mean_interval(each)
        interval = "" if half_width is None else f" ± {half_width:.2g}"
        rows.append([name, f"{mean:.4g}{interval}", str(n)])
    return Table(["at W*", "value", "n"], rows, (1, 2), title="Spectrum")


def _figures(finished: Sequence[tuple[Run, Mapping[str, Any]]]) -> Iterator[NamedFigure]:
    for i, (run, results) in enumerate(finished, start=1):
        arrays = load_tree(run.path / "replicate_0/spectrum/arrays.safetensors")
        for name, figure in figures.all_of(results, arrays).items():
            caption = f"{_CAPTIONS[name]} {network_label(run)}."
            yield NamedFigure(f"imc_{i}_{name}", caption, figure)
