"""The protocol of IMC: spectrum, gap, masks, trainings; strict densities; the report."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from configs import common, imc_lenet_digits
from experiments.config import TrainConfig
from experiments.errors import UserError
from experiments.presentation import NOTHING
from experiments.protocols.imc import presentation, results, spectrum
from experiments.protocols.imc.config import Imc, PointConfig, SpectrumConfig
from experiments.protocols.imc.networks import Networks
from experiments.protocols.imc.run import costs, run_imc
from experiments.report import __main__ as report
from experiments.store import Store
from ntk_prune.inertial import gap

CONFIG = dataclasses.replace(
    imc_lenet_digits.get_config("smoke"),
    model=common.model("mlp", widths=(3,), activation="tanh"),
    train=TrainConfig(duration="3ep", batch_size=256, drops=()),
    spectrum=SpectrumConfig(
        directions=3, ends=5, lanczos_steps=225, probes=4, probe_steps=30, diagonal_probes=4,
        radii=(0.1, 0.01), random_directions=1,
    ),
    others=("imp", "random"),
    densities=(0.25, 0.5),
    replicates=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("imc")
    run_imc(CONFIG, Store(path, CONFIG))
    return path


@pytest.fixture
def store(finished):
    return Store(finished, CONFIG)


def dense_hessian(store):
    networks = Networks(CONFIG, store)
    loss = networks.loss(0, networks.point(0))
    return loss, np.asarray(loss.hessian().dense(), np.float64)


def test_spectrum_is_that_of_the_dense_hessian(store):
    numbers = store.read_json("replicate_0/spectrum/spectrum.json")
    loss, hessian = dense_hessian(store)
    values = np.linalg.eigvalsh(hessian)
    assert numbers["size"] == loss.size == 64 * 3 + 3 + 30 + 10
    np.testing.assert_allclose(numbers["top"]["values"], values[:-6:-1], atol=2e-5)
    np.testing.assert_allclose(numbers["bottom"]["values"], values[:5], atol=2e-5)
    share = numbers["negative_share"]
    true_share = (values < -1e-4 * values[-1]).mean()
    assert abs(share["value"] - true_share) <= 5 * share["sem"] + 0.02


def test_leverage_is_that_of_the_top_eigenvectors(store):
    _, hessian = dense_hessian(store)
    vectors = np.linalg.eigh(hessian)[1][:, -3:]
    leverage = store.load("replicate_0/spectrum/arrays")["leverage"]
    np.testing.assert_allclose(leverage, np.square(vectors).sum(1), atol=2e-3)
    assert leverage.sum() == pytest.approx(3, abs=1e-3)


def test_balls_grow_and_admit_no_more(store):
    balls = store.read_json("replicate_0/spectrum/spectrum.json")["remainder"]
    assert [ball["radius"] for ball in balls] == [0.01, 0.1]
    assert balls[0]["lipschitz_lower_bound"] < balls[1]["lipschitz_lower_bound"]
    for ball in balls:
        sets = [set(c["gap"]) for c in ball["conditions"].values()]
        assert sets[2] <= sets[1] <= sets[0]
    assert set(balls[1]["conditions"]["cone"]["gap"]) <= set(balls[0]["conditions"]["cone"]["gap"])


def test_masks_keep_exactly_the_prescribed_count(store):
    for row in store.read_json("results.json")["rows"]:
        assert row["weights_kept"] == round(row["density"] * (64 * 3 + 30))
        assert 0 <= row["overlap"] <= 1
        assert row["smallest_cosine"] ** 2 <= row["overlap"] + 1e-6


def test_certificates_are_those_of_the_dense_blocks(store):
    loss, hessian = dense_hessian(store)
    vectors = np.linalg.eigh(hessian)[1]
    for ball in store.read_json("replicate_0/spectrum/spectrum.json")["remainder"]:
        certificate = ball["certificate"]
        at_point = gap.certificate(
            hessian[None], vectors[:, : -certificate["fast"]], vectors[:, -certificate["fast"] :]
        )
        assert certificate["alpha"] >= at_point.alpha - 1e-4
        assert certificate["beta"] <= at_point.beta + 1e-4
        assert certificate["holds"] == (certificate["alpha"] < certificate["beta"])
    for row in store.read_json("results.json")["rows"]:
        certificate = row["certificate"]
        if certificate is None:  # nothing is pruned
            continue
        name = row["rate"] if row["rate"] != "prescribed" else repr(row["density"])
        mask = store.load(f"replicate_0/{row['method'].replace(' ', '_')}/{name}/mask")
        kept = np.asarray(loss.coordinates.vector(mask)) > 0
        dense = [gap.coordinate_certificate(hessian[None], side) for side in (kept, ~kept)]
        assert certificate["holds"] <= any(c.holds for c in dense)
        slow = dense[certificate["kept"] == "fast"]
        # Moved outwards by the residuals of 20 Lanczos steps.
        assert slow.alpha - 1e-4 <= certificate["alpha"] <= slow.alpha + 0.1
        assert slow.beta + 1e-4 >= certificate["beta"] >= slow.beta - 0.1


def test_fast_leverage_captures_most_and_slow_least(store):
    means = results.over_replicates(store.read_json("results.json"), "overlap")
    by_method = {method: entries[0]["mean"] for method, entries in means.items()}
    assert max(by_method, key=by_method.get) == "imc fast leverage"
    assert min(by_method, key=by_method.get) == "imc slow leverage"


def test_rates_of_the_plateau_are_both_orientations():
    numbers = {
        "size": 100,
        "plateau_published": {"value": 0.3},
        "remainder": [{"conditions": {"cone": {"gap": [95, 98], "attracting": [95, 98]}}}],
    }
    fast = spectrum.rates(numbers, "fast")
    assert fast == pytest.approx({"plateau_kept": 0.3, "plateau_pruned": 0.7, "gap": 0.05})
    assert spectrum.rates(numbers, "slow")["gap"] == pytest.approx(0.98)
    spectrum.check_density(numbers, 0.05, "fast")
    with pytest.raises(
        ValueError, match="keeps 6 of 100 weights; the gap condition admits at most"
    ):
        spectrum.check_density(numbers, 0.06, "fast")
    numbers["remainder"][0]["conditions"]["cone"]["attracting"] = []
    assert "gap" not in spectrum.rates(numbers, "fast")


def test_strict_refuses_in_one_line(finished, tmp_path):
    path = tmp_path / "strict"
    shutil.copytree(finished / "replicate_0/spectrum", path / "replicate_0/spectrum")
    strict = dataclasses.replace(CONFIG, strict=True)
    with pytest.raises(UserError, match=r"densities: density 0\.5 keeps .* the gap condition"):
        Networks(strict, Store(path, strict)).densities(0, "imc fast leverage")


def test_slaving_starts_at_the_point_and_is_finite_after(store):
    (curves,) = store.read_json("results.json")["slaving"]
    assert len(curves["time"]) == 3
    assert all(value >= 0 for value in curves["order_0"])
    part = store.within("replicate_0/slaving")
    assert part.logged("slaving/distance")[0] == (0, 0.0)


def test_subspace_trainings_stay_in_their_space(store):
    vectors = store.load("replicate_0/spectrum/arrays")["top_vectors"]
    networks = Networks(CONFIG, store)
    loss = networks.loss(0, networks.point(0))
    for side in ("dominant", "bulk"):
        params = store.within(f"replicate_0/subspace_{side}").load("params_final")["params"]
        moved = np.asarray(loss.coordinates.vector(params) - loss.w0)
        onto = np.linalg.norm(vectors.T @ moved) / np.linalg.norm(moved)
        assert onto == pytest.approx(1.0 if side == "dominant" else 0.0, abs=1e-2)


def test_frozen_weights_stay_at_the_point(finished, tmp_path):
    path = tmp_path / "frozen"
    frozen = dataclasses.replace(
        CONFIG, rest="frozen", kept_from="minimum", others=("random",), rankings=("magnitude",),
        densities=(0.5,), rates=(), slaving=False, subspaces=False,
    )  # fmt: skip
    store = Store(path, frozen)
    with store.claimed():  # the spectrum of another config goes into a run that has begun
        shutil.copytree(finished / "replicate_0/spectrum", path / "replicate_0/spectrum")
    run_imc(frozen, store)
    part = store.within("replicate_0/imc_magnitude/0.5")
    trained, mask = (
        part.load("params_final")["params"],
        store.load("replicate_0/imc_magnitude/0.5/mask"),
    )
    assert not mask["fc0"]["kernel"].all()
    star = store.load("replicate_0/spectrum/point")["params"]
    jax.tree.map(lambda w, s, m: np.testing.assert_array_equal(w[~m], s[~m]), trained, star, mask)


def test_slaved_weights_follow_to_a_minimum(finished, tmp_path):
    path = tmp_path / "slaved"
    changed = dataclasses.replace(
        CONFIG, rest="slaved", slaved_steps=20, kept_from="minimum", others=("random",),
        rankings=("diagonal",), readings=("slow",), densities=(0.5,), rates=(), slaving=False,
        subspaces=False,
    )  # fmt: skip
    store = Store(path, changed)
    with store.claimed():
        shutil.copytree(finished / "replicate_0/spectrum", path / "replicate_0/spectrum")
    run_imc(changed, store)
    part = store.within("replicate_0/imc_slow_diagonal/0.5")
    (_, start), *after = part.logged("slaved/gradient")
    assert len(after) == 3
    assert all(value < 0.4 * start for _, value in after)
    trained, star = part.load("params_final")["params"], store.load("replicate_0/spectrum/point")
    mask = part.load("mask")["fc0"]["kernel"]
    moved = np.asarray(trained["fc0"]["kernel"] - star["params"]["fc0"]["kernel"])
    used = np.asarray(star["params"]["fc0"]["kernel"] != 0)
    assert (moved[mask & used] != 0).any()
    assert (moved[~mask & used] != 0).any()


def test_a_finished_run_is_read_by_the_report(finished, tmp_path):
    assert report.main([str(finished), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/index.html").read_text()
    assert "largest one-shot sparsity" in page
    assert "block gap of the top space on r = 0.01" in page
    assert "certified" in page
    assert "imc fast leverage" in page


def test_results_without_certificates_are_read(store):
    old = store.read_json("results.json")
    for row in old["rows"]:
        del row["certificate"]
    for ball in old["spectra"][0]["remainder"]:
        del ball["certificate"]
    assert all(row[-3:-1] == [NOTHING, NOTHING] for row in presentation.masks_table(old).rows)
    assert not any("block gap" in row[0] for row in presentation.spectra_table(old).rows)


def test_dry_run_says_what_the_kernel_costs():
    (line,) = costs(CONFIG)
    assert line.startswith("kernel of 32 images: ")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"densities": ()}, "densities"),
        ({"densities": (1.0,)}, "densities"),
        ({"others": ("lth",)}, "others"),
        ({"readings": ()}, "readings"),
    ],
)
def test_experiments_that_cannot_be(changes, field):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(Imc(), **changes)


@pytest.mark.parametrize(
    "changes", [{"radii": ()}, {"radii": (0.0,)}, {"ends": 500}, {"probes": 1}]
)
def test_spectra_that_cannot_be(changes):
    with pytest.raises(ValueError, match="spectrum"):
        SpectrumConfig(**changes)


def test_images_that_do_not_fill_batches():
    with pytest.raises(ValueError, match=r"point\.num_examples"):
        PointConfig(num_examples=10, batch_size=4)
