"""Spectrum and gap at W*, masks, trainings, and the comparison of all criteria."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.errors import user_errors
from experiments.protocols.imc import results
from experiments.protocols.imc.config import IMP, Imc
from experiments.protocols.imc.networks import Networks
from experiments.store import Store
from ntk_prune import masks
from ntk_prune.ntk import estimate_cost


def run_imc(config: Imc, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed run stopped."""
    networks = Networks(config, store)
    with store.claimed():
        for replicate in range(config.replicates):
            networks.measure(replicate)
            networks.prune(replicate)
        networks.train()
        if IMP in config.others:
            networks.train_iteratively()
        for replicate in range(config.replicates):
            if config.slaving:
                networks.track_slaving(replicate)
            if config.subspaces:
                networks.train_in_subspaces(replicate)
        collected = results.collect(networks)
        store.write_json("results.json", collected)
        print("\n".join(results.statements(collected)), flush=True)
        draw_figures(networks, collected)
        store.finish(results.summary(collected))


def costs(config: Imc) -> Iterator[str]:
    """What the kernel behind Gauss-Newton's eigenpairs costs."""
    if not config.spectrum.exact_gauss_newton:
        return
    networks = Networks(config, Store(Path(), config))
    start, images = networks.initial(0), networks.images()
    with user_errors("point.num_examples"):
        cost = estimate_cost(
            networks.recipe.model, start.params, images, state=start.model_state,
            mask=masks.ones_like(start.params),
        )  # fmt: skip
    yield f"kernel of {len(images)} images: {cost}"


def draw_figures(networks: Networks, collected: dict[str, Any]) -> None:
    """The figures as PNG in the run directory."""
    from experiments.plotting.saving import save  # matplotlib is only needed here
    from experiments.protocols.imc import figures

    arrays = networks.part(0, "spectrum").load("arrays")
    for name, figure in figures.all_of(collected, arrays).items():
        save(figure, networks.store.path / name)
