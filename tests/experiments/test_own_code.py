"""A network and a criterion of a user's own module, named on the command line."""

import itertools
import json
import textwrap

import pytest

from experiments import cli, run
from experiments.config import ModelConfig
from experiments.errors import UserError
from experiments.report.__main__ import main as report
from experiments.trained import load

SMOKE = ["--config", "configs/snip_resnet20.py:smoke"]
NUMBERS = itertools.count()
MODULE = """
    import jax
    from flax import linen as nn
    from ntk_prune import masks, models
    from ntk_prune.pruners.common import criterion, make_pruner
    from ntk_prune.types import Model, Pruner

    class Net(nn.Module):
        width: int
        num_classes: int

        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Dense(self.width)(x.reshape(len(x), -1)))
            return nn.Dense(self.num_classes)(x)

    def net(width: int = 8, num_classes: int = 10) -> Model:
        if width > 99:
            raise ValueError("width must be at most 99")
        return models.model(Net(width, num_classes))

    def unsaid(width: int = 8, num_classes: int = 10):
        raise AssertionError("is not called")

    def classless(width: int = 8) -> Model:
        raise AssertionError("is not called")

    def untyped(width=8, num_classes: int = 10) -> Model:
        raise AssertionError("is not called")

    def needy(width: int, num_classes: int = 10) -> Model:
        raise AssertionError("is not called")

    def lying(num_classes: int = 10) -> Model:
        return Net(8, num_classes)

    thing = net()

    @criterion
    def smallest(power: int = 1) -> Pruner:
        def score(key, model, params, state, mask, batches):
            return masks.only_prunable(jax.tree.map(lambda p: 1 / (1e-3 + abs(p) ** power), params))

        return make_pruner(score, scope="global")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = f"own_code_{next(NUMBERS)}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_run_of_ones_own_network_and_criterion_is_recorded_read_again_and_reported(
    module, tmp_path
):
    net, smallest, workdir = f"{module}:net", f"{module}:smallest", tmp_path / "run"
    words = [f"--config.model.name={net}", "--config.model.options.width=6"]
    words += [f"--config.prune.name={smallest}", "--config.prune.options.power=2"]
    words += ["--config.prune.density=0.5"]
    assert run.main([*SMOKE, *words, "--workdir", str(workdir)]) == 0
    recorded = json.loads((workdir / "config.json").read_text())
    assert (recorded["model"]["name"], recorded["model"]["options"]) == (net, {"width": 6})
    assert (recorded["prune"]["name"], recorded["prune"]["options"]) == (smallest, {"power": 2})

    trained = load(workdir)
    assert trained.model == ModelConfig(net, trained.model.options)
    assert trained.params["Dense_0"]["kernel"].shape[1] == 6
    assert report([str(workdir)]) == 0
    html = (workdir / "report/index.html").read_text()
    assert net in html
    assert smallest in html


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("nothing", "cannot be imported (module '{module}' has no attribute 'nothing')"),
        ("unsaid", "expected a function declared as `def unsaid(...) -> Model`"),
        ("thing", "expected a function declared as `def thing(...) -> Model`"),
        ("classless", "expected a function that takes 'num_classes'"),
        ("untyped", "expected a type and a default for its argument 'width'"),
        ("needy", "expected a type and a default for its argument 'width'"),
        ("lying", "{module}:lying returned a Net, not a Model"),
    ],
)
def test_what_is_no_factory_is_one_line_that_names_the_field(module, factory, message):
    with pytest.raises(UserError) as caught:
        cli.parse([*SMOKE, f"--config.model.name={module}:{factory}"])
    assert str(caught.value).startswith("model.name: ")
    assert message.format(module=module) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no_such_module:net", ":net", "os:", "os:system"])
def test_what_cannot_be_imported_or_is_another_function(name):
    with pytest.raises(UserError, match=r"^model\.name: "):
        cli.parse([*SMOKE, f"--config.model.name={name}"])


def test_options_of_ones_own_network_are_checked(module):
    name = f"--config.model.name={module}:net"
    with pytest.raises(UserError, match=r"^model\.options: width must be at most 99"):
        cli.parse([*SMOKE, name, "--config.model.options.width=100"])
    with pytest.raises(UserError, match=r"there is no --config\.model\.options\.widht; .*width"):
        cli.parse([*SMOKE, name, "--config.model.options.widht=9"])


def test_a_criterion_returns_a_pruner(module):
    with pytest.raises(UserError, match=r"^prune\.name: expected a function .* -> Pruner`"):
        cli.parse([*SMOKE, f"--config.prune.name={module}:net"])


def test_what_has_no_factories_of_others_takes_none(module):
    with pytest.raises(UserError, match=r"branch\.name: there is no"):
        cli.parse(["--config", "configs/lottery_branch.py", f"--config.branch.name={module}:net"])
