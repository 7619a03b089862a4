"""Prune at initialisation, train, measure. Every stage leaves its artefact and is not redone."""

import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments import factories
from experiments.metrics import final_numbers, log_epoch
from experiments.observers import Follower, kernel_of
from experiments.protocols.prune_and_train.config import PruneAndTrain
from experiments.protocols.prune_and_train.setup import Setup, make_setup
from experiments.store import Store
from ntk_prune import masks, training
from ntk_prune.checkpoint import Checkpoints
from ntk_prune.ntk import diagnostics
from ntk_prune.pruners import PruneInfo, prune
from ntk_prune.rng import stream
from ntk_prune.types import Mask, Params, State


def prune_and_train(config: PruneAndTrain, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed run stopped."""
    setup = make_setup(config)
    key = stream(config.seed, "init")
    params, state = factories.initialise(config.model, key, setup.model, setup.example)
    with store.claimed():
        final = run_stages(config, setup, store, params, state)
        draw_figures(store)
        finish(setup.training, store, final)


def run_stages(
    config: PruneAndTrain, setup: Setup, store: Store, params: Params, state: State
) -> training.TrainState:
    """Prune, follow the kernel, train: the state at the end."""
    mask = find_mask(config, setup, store, params, state)
    params = starting_weights(config, setup, params)
    store.save("params_init", params)
    follow = follow_kernel(config, setup, store, params, state, mask)
    final = train(config, setup.training, store, params, state, mask, follow)
    store.save("params_final", {"params": final.params, "state": final.state})
    return final


def starting_weights(config: PruneAndTrain, setup: Setup, params: Params) -> Params:
    """What training starts from: ``params``, or newly drawn weights for that control."""
    if config.prune.control != "reinit":
        return params
    key = jax.random.fold_in(stream(config.seed, "init"), 1)
    return jax.jit(setup.model.init)(key, setup.example)[0]


def find_mask(
    config: PruneAndTrain, setup: Setup, store: Store, params: Params, state: State
) -> Mask:
    """The mask of this run: read if it was found before, else pruned, tabled and written."""
    if store.has("mask.safetensors"):
        return store.load("mask")
    mask = masks.ones_like(params)
    info = None
    start = time.perf_counter()
    if setup.pruner is not None and setup.batches is not None:
        key = stream(config.seed, "mask")
        mask, info = prune(
            key, setup.pruner, setup.model, params, state, mask, setup.batches, config.prune.density
        )
        if config.prune.control == "shuffle":
            mask = masks.shuffle(key, mask)
    order = factories.layers_by_depth(setup.model, setup.example)
    table = pruning_table(config, mask, info, order)
    print_table(table)
    store.log(0, 0.0, {"prune_seconds": time.perf_counter() - start}, file="timing")
    store.write_json("pruning.json", table)
    store.save("mask", mask)
    return mask


def pruning_table(
    config: PruneAndTrain, mask: Mask, info: PruneInfo | None, order: list[str]
) -> dict:
    """What ``pruning.json`` holds; the layers stand in ``order``."""
    return {
        "method": config.prune.name,
        "control": config.prune.control,
        "density": config.prune.density if info else 1.0,
        **layer_table(mask, info, order),
    }


def layer_table(mask: Mask, info: PruneInfo | None, order: list[str]) -> dict:
    """Kept and total weights, of all and of every layer in ``order``, and the rounds."""
    by_name = dict(masks.leaves(mask))
    layers = [
        {
            "name": name,
            "shape": list(by_name[name].shape),
            "kept": int(by_name[name].sum()),
            "total": int(by_name[name].size),
        }
        for name in order
    ]
    rounds = () if info is None else info.rounds
    return {
        "kept": sum(layer["kept"] for layer in layers),
        "total": sum(layer["total"] for layer in layers),
        "rounds": [
            {"round": r.round, "density": r.density, "kept": r.kept, "quantiles": r.quantiles}
            for r in rounds
        ],
        "layers": layers,
        "collapsed": [layer["name"] for layer in layers if layer["kept"] == 0],
    }


def print_table(table: dict) -> None:
    """Kept and total weights of every layer, on stdout."""
    width = max(len(layer["name"]) for layer in table["layers"])
    rows = [*table["layers"], {"name": "all", "kept": table["kept"], "total": table["total"]}]
    print(f"{table['method']}: weights kept per layer")
    for row in rows:
        share = f"{row['kept'] / row['total']:8.2%}"
        print(f"  {row['name']:<{width}} {row['kept']:>10,} / {row['total']:>10,} {share}")


def follow_kernel(
    config: PruneAndTrain,
    setup: Setup,
    store: Store,
    params: Params,
    state: State,
    mask: Mask,
) -> Follower | None:
    """Write the eigenvalues before and after pruning; what follows the kernel from here on."""
    if config.kernel_images == 0:
        return None
    dataset = setup.dataset
    x, y = dataset.examples(np.arange(config.kernel_images))
    x = factories.inputs(config.data, dataset)(jnp.asarray(x))
    pruned = kernel_of(setup.model, params, state, mask, x)
    if not store.has("spectrum.safetensors"):
        dense = kernel_of(setup.model, params, state, masks.ones_like(params), x)
        eigenvalues = {
            "eigenvalues_dense": diagnostics.eigenvalues(dense),
            "eigenvalues_pruned": diagnostics.eigenvalues(pruned),
        }
        store.save("spectrum", eigenvalues)
    return Follower(setup.model, mask, x, y, dataset.num_classes, pruned)


def train(
    config: PruneAndTrain,
    setup: factories.Training,
    store: Store,
    params: Params,
    state: State,
    mask: Mask,
    follow: Follower | None,
) -> training.TrainState:
    """Train the masked network to the end, checkpointing and measuring after every epoch."""
    train_state = training.create(params, state, mask, setup.optimizer)
    with Checkpoints(store.path / "checkpoints") as checkpoints:
        if checkpoints.latest_step() is not None:
            train_state = checkpoints.restore(train_state)
        store.rewind_log(int(train_state.step))
        for epoch in training.fit(
            train_state, setup.step, setup.feed, setup.num_steps, setup.learning_rate
        ):
            train_state = epoch.state
            test = setup.evaluate(train_state.params, train_state.state)
            log_epoch(store, epoch, epoch.loss, epoch.accuracy, test)
            report(epoch, test)
            if follow is not None:
                store.log(epoch.step, epoch.epoch, follow(train_state.params, train_state.state))
            number = round(epoch.epoch)
            if number % config.train.checkpoint_every == 0 or epoch.step == setup.num_steps:
                checkpoints.save(epoch.step, train_state)
    return train_state


def report(epoch: training.Epoch, test: dict[str, float]) -> None:
    """Print one epoch."""
    print(
        f"epoch {epoch.epoch:g}: loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.4f}, "
        f"{in_words(test)}, {epoch.images_per_second:.0f} images/s",
        flush=True,
    )


def in_words(test: dict[str, float]) -> str:
    """What a network is judged by: its mean IoU, or else its accuracy."""
    name = "miou" if "miou" in test else "accuracy"
    return f"test {name} {test[name]:.4f}"


def finish(setup: factories.Training, store: Store, final: training.TrainState) -> None:
    """Write and print the final numbers."""
    numbers = final_numbers(store, final, setup.evaluate)
    store.finish(numbers)
    print(f"{store.path}: {in_words({k.removeprefix('test/'): v for k, v in numbers.items()})}")


def draw_figures(store: Store) -> None:
    """Learning curves and layer densities as PNG in the run directory."""
    # matplotlib and pandas are only needed here
    from experiments.protocols.prune_and_train import figures

    figures.draw(store.path)
