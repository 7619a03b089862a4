"""A mask in its directory, with the table of what it keeps."""

from typing import Any

from experiments import factories
from experiments.store import Store
from ntk_prune import masks
from ntk_prune.pruners import PruneInfo, paths
from ntk_prune.types import Mask


def write_mask(
    store: Store,
    recipe: factories.Recipe,
    mask: Mask,
    info: PruneInfo | None,
    seconds: float,
    **about: Any,
) -> dict[str, Any]:
    """Write ``pruning.json`` and, at the end, ``mask``. Returns the table.

    Args:
        store: The directory.
        recipe: What the network is trained by.
        mask: Its mask.
        info: What the pruning reported; None for a dense network.
        seconds: How long the pruning took.
        about: Stands before the numbers, such as the method.
    """
    order = factories.layers_by_depth(recipe.model, recipe.example)
    table = {**about, **layer_table(mask, info, order, _connected(recipe, mask))}
    store.write_json("pruning.json", table)
    store.log(0, 0.0, {"prune_seconds": seconds}, file="timing")
    store.save("mask", mask)
    return table


def _connected(recipe: factories.Recipe, mask: Mask) -> Mask | None:
    """The kept weights on a path through the network; None where paths cannot be followed."""
    try:
        return paths.connected(recipe.model, *recipe.shapes, mask, recipe.example)
    except ValueError:
        return None


def layer_table(
    mask: Mask, info: PruneInfo | None, order: list[str], connected: Mask | None
) -> dict[str, Any]:
    """Kept, ``connected`` and total weights, of all and of every layer in ``order``, and the
    rounds."""
    by_name = dict(masks.leaves(mask))
    on_path = {} if connected is None else dict(masks.leaves(connected))
    layers = [
        {
            "name": name,
            "shape": list(by_name[name].shape),
            "kept": int(by_name[name].sum()),
            "connected": int(on_path[name].sum()) if on_path else None,
            "total": int(by_name[name].size),
        }
        for name in order
    ]
    rounds = () if info is None else info.rounds
    return {
        "kept": sum(layer["kept"] for layer in layers),
        "connected": sum(layer["connected"] for layer in layers) if on_path else None,
        "total": sum(layer["total"] for layer in layers),
        "rounds": [
            {"round": r.round, "density": r.density, "kept": r.kept, "quantiles": r.quantiles}
            for r in rounds
        ],
        "layers": layers,
        "collapsed": [layer["name"] for layer in layers if layer["kept"] == 0],
    }


def print_table(table: dict[str, Any]) -> None:
    """Kept and total weights of every layer, and the effective density, on stdout."""
    width = max(len(layer["name"]) for layer in table["layers"])
    rows = [*table["layers"], {"name": "all", "kept": table["kept"], "total": table["total"]}]
    print(f"{table['method']}: weights kept per layer")
    for row in rows:
        share = f"{row['kept'] / row['total']:8.2%}"
        print(f"  {row['name']:<{width}} {row['kept']:>10,} / {row['total']:>10,} {share}")
    if table["connected"] is not None and table["connected"] < table["kept"]:
        share = table["connected"] / table["total"]
        print(
            f"  {table['connected']:,} of those kept are on a path: effective density {share:.2%}"
        )
