"""Branches: go on from the levels of a lottery, or of another branch, and train nothing twice."""

from pathlib import Path

from experiments.config import from_dict, loading, to_dict
from experiments.errors import UserError, user_errors
from experiments.factories import Recipe
from experiments.protocols.lottery.branch import Runner, planned
from experiments.protocols.lottery.branch_config import LotteryBranch
from experiments.protocols.lottery.config import Lottery
from experiments.protocols.lottery.results import draw_figures, summary
from experiments.protocols.lottery.run import lottery
from experiments.protocols.lottery.tickets import Tickets
from experiments.store import Store

EFFECTIVE = "lottery.json"  # the config by which a branch was trained, for branches from it


def lottery_branch(config: LotteryBranch, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed run stopped."""
    if config.parent is None:
        make_parent(config, store)
    parent = find_tickets(store.path / "parent" if config.parent is None else Path(config.parent))
    runner = Runner(parent, config, store)
    with store.claimed():
        store.write_json(EFFECTIVE, to_dict(runner.tickets.config))
        results = runner.run()
        store.write_json("results.json", {"rows": results})
        draw_figures(store, [*parent.store.read_json("results.json")["rows"], *results])
        store.finish(summary(results))


def make_parent(config: LotteryBranch, store: Store) -> None:
    """Run the recipe of the parent inside this run, as far as that is not done yet."""
    try:
        made_by = loading.load(config.recipe)
    except UserError as error:
        raise UserError(f"recipe: {error}") from None
    if not isinstance(made_by, Lottery):
        raise UserError(f"recipe: {config.recipe} is no lottery")
    inside = Store(store.path / "parent", made_by)
    if inside.done is None:
        planned(config, made_by, Recipe(made_by))  # what cannot be fails before anything is trained
        late = [level for level in config.levels if level > made_by.levels]
        if late:
            raise UserError(f"levels: {late} of a recipe with {made_by.levels} levels")
        with store.claimed():
            lottery(made_by, inside)


def find_tickets(path: Path) -> Tickets:
    """The finished levels in a run directory. UserError where there are none."""
    if not (path / "config.json").is_file():
        raise UserError(f"parent: there is no run in {path}")
    if not (path / "DONE").exists():
        raise UserError(f"parent: {path} is unfinished; run it to its end first")
    store = Store(path, LotteryBranch())
    plain = store.read_json(EFFECTIVE if store.has(EFFECTIVE) else "config.json")
    if plain.get("protocol") != Lottery.protocol:
        raise UserError(f"parent: {path} is a run of {plain.get('protocol')}, not of a lottery")
    with user_errors(f"parent: {path}"):
        config = from_dict(Lottery, plain)
    return Tickets(config, store, Recipe(config))
