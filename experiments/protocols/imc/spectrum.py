"""Everything that is measured at W*: gradient, spectrum, remainder, gap, rates."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.protocols.imc.config import Imc
from ntk_prune import linalg
from ntk_prune.inertial import gap, one_shot, plateau, remainder
from ntk_prune.inertial import spectrum as spectra
from ntk_prune.inertial.leverage import leverage
from ntk_prune.inertial.point import check_finite
from ntk_prune.landscape import MaskedLoss
from ntk_prune.linalg import Eigenpairs, Estimate, Quadrature
from ntk_prune.types import Array, Key, Mask

Numbers = dict[str, Any]


class Spectrum(NamedTuple):
    """What is kept of the spectrum: ``numbers`` for JSON, ``arrays`` for figures and masks.

    ``arrays``: ``top_values``, ``top_vectors [d, k]``, ``bottom_values``, ``grid``, ``density``,
    ``density_sem``, ``diagonal``, ``weights`` (``W*``) and ``leverage``, the last three ``[d]``.
    """

    numbers: Numbers
    arrays: dict[str, np.ndarray]


def measure(key: Key, loss: MaskedLoss, config: Imc) -> Spectrum:
    """The spectrum at ``loss.w0``. FloatingPointError where products are not finite."""
    s = config.spectrum
    hessian = loss.hessian()
    check_finite(loss, hessian)
    keys = jax.random.split(key, 8)
    value, gradient = loss.value_and_gradient()
    norm = float(jnp.linalg.norm(gradient))
    ends = linalg.extreme_eigenpairs(
        keys[0], hessian, top=_count(s.ends, loss), bottom=_count(s.ends, loss),
        num_steps=min(s.lanczos_steps, loss.size),
    )  # fmt: skip
    probes = spectra.quadratures(keys[1], hessian, s.probes, min(s.probe_steps, loss.size))
    density = linalg.smoothed_density(probes)
    diagonal = linalg.diagonal(keys[2], hessian, s.diagonal_probes)
    k = min(s.directions, len(ends.top.values))
    vectors = ends.top.vectors[:, :k]
    negative = spectra.share_below(probes, -_tolerance(ends.top.values))
    of_units, *of_radii = jax.random.split(keys[3], 1 + len(s.radii))
    units = _units(of_units, loss, vectors, config)
    lipschitz = {
        radius: remainder.hessian_change(k, loss, radius, units)
        for k, radius in zip(of_radii, sorted(s.radii), strict=True)
    }
    certificates = _space_certificates(keys[5], loss, ends.top, k, units, config)
    numbers = {
        "size": loss.size,
        "loss": value,
        "gradient_norm": norm,
        "top": _pairs(ends.top),
        "bottom": _pairs(ends.bottom),
        "negative_share": negative._asdict(),
        "momentum_threshold": gap.momentum_threshold(config.point.learning_rate,
                                                     config.point.momentum),
        "remainder": [
            _ball(radius, bound, norm, ends, loss.size, negative, config)
            | {"certificate": certificates.get(radius)}
            for radius, bound in lipschitz.items()
        ],
        "plateau_published": spectra.plateau_rate(probes)._asdict(),
        "plateau_exact": spectra.plateau_rate(probes, tail=plateau.exact_tail)._asdict(),
        "gauss_newton": _gauss_newton(keys[4], loss, vectors, config),
        "one_shot_sparsity": _one_shot(loss, probes),
        "diagonal_sem_over_value": float(
            np.linalg.norm(diagonal.sem) / np.linalg.norm(diagonal.value)
        ),
    }  # fmt: skip
    arrays = {
        "top_values": ends.top.values,
        "top_vectors": vectors,
        "bottom_values": ends.bottom.values,
        "grid": density.grid,
        "density": density.value,
        "density_sem": density.sem,
        "diagonal": diagonal.value,
        "weights": loss.w0,
        "leverage": leverage(vectors),
    }
    return Spectrum(numbers, {name: np.asarray(a, np.float32) for name, a in arrays.items()})


def _count(wanted: int, loss: MaskedLoss) -> int:
    """So many eigenvalues at an end that both ends do not meet."""
    return max(1, min(wanted, loss.size // 2))


def _tolerance(values: np.ndarray) -> float:
    """Below it an eigenvalue is zero to the Lanczos runs of float32."""
    return 1e-4 * float(np.abs(values).max())


def _pairs(pairs: Eigenpairs) -> Numbers:
    return {"values": pairs.values.tolist(), "residuals": pairs.residuals.tolist()}


def _units(key: Key, loss: MaskedLoss, vectors: Array, config: Imc) -> Array:
    """The unit vectors ``[n, size]`` along which balls are looked at."""
    return remainder.directions(key, loss, config.spectrum.random_directions, vectors[:, :2])


def _space_certificates(
    key: Key, loss: MaskedLoss, top: Eigenpairs, k: int, units: Array, config: Imc
) -> dict[float, Numbers]:
    """By radius, the certificate of the top space of at most ``k`` directions above the widest gap
    at ``W*``."""
    if not config.spectrum.certificate_steps:
        return {}
    gaps = -np.diff(top.values[: k + 1])
    fast = top.vectors[:, : int(np.argmax(gaps)) + 1 if gaps.size else 1]
    return {
        radius: {"fast": fast.shape[1]}
        | _certified(
            remainder.eigenspace_certificate(
                key, loss, fast, _points(units, radius), num_steps=config.spectrum.certificate_steps
            )
        )
        for radius in config.spectrum.radii
    }


def mask_certificate(
    key: Key, loss: MaskedLoss, arrays: dict[str, np.ndarray], mask: Mask, config: Imc
) -> Numbers | None:
    """Whether a mask parts slow coordinates from fast ones, on the smallest ball.

    The side with the larger mean of the Hessian's diagonal is the fast one: an extreme eigenvalue
    of a block is no nearer than that mean, so the other way round nothing can hold. None where the
    config asks for no certificate, or the mask keeps everything.
    """
    kept = np.asarray(loss.coordinates.vector(mask)) > 0
    steps = config.spectrum.certificate_steps
    if not steps or kept.all():
        return None
    fast = arrays["diagonal"][kept].mean() > arrays["diagonal"][~kept].mean()
    of_units, of_starts = jax.random.split(key)
    units = _units(of_units, loss, jnp.asarray(arrays["top_vectors"]), config)
    points = _points(units, min(config.spectrum.radii))
    slow = ~kept if fast else kept
    certificate = remainder.mask_certificate(of_starts, loss, slow, points, num_steps=steps)
    return {"kept": "fast" if fast else "slow"} | _certified(certificate)


def _points(units: Array, radius: float) -> Array:
    """``W*`` itself and points of the sphere about it, as ``V [n, size]``."""
    return jnp.concatenate([jnp.zeros_like(units[:1]), radius * units])


def _certified(certificate: gap.Certificate) -> Numbers:
    return {**certificate._asdict(), "holds": certificate.holds}


def _ball(
    radius: float,
    bound: remainder.LowerBound,
    norm: float,
    ends: linalg.Extremes,
    size: int,
    negative: Estimate,
    config: Imc,
) -> Numbers:
    """One ball: the bound, when a trajectory leaves it, and what each gap condition admits.

    Gaps are looked for among the eigenvalues of the upper end that Lanczos has resolved, whose
    indices are known.
    """
    values = _resolved(ends.top)
    below = size - len(values)
    count = round(negative.value * size)
    threshold = gap.momentum_threshold(config.point.learning_rate, config.point.momentum)
    conditions = {}
    for name, constant in gap.CONSTANTS.items():
        admitted = gap.admissible(values, bound.value, constant, below=below)
        conditions[name] = {
            "constant": constant,
            "gap": admitted.gap.tolist(),
            "attracting": admitted.attracting.tolist(),
            "says": _explanation(admitted, values, below, count, threshold),
        }
    return {
        "radius": radius,
        "lipschitz_lower_bound": bound.value,
        "directions": len(bound.samples),
        "exit_time": gap.exit_time(radius, norm),
        "exit_steps": gap.exit_time(radius, norm) / config.point.learning_rate,
        "conditions": conditions,
    }


def _explanation(
    admitted: gap.Dimensions, values: np.ndarray, below: int, negative: int, threshold: float
) -> str:
    if len(values) < 2:
        return "none: Lanczos has not resolved two eigenvalues; take more spectrum.lanczos_steps"
    return gap.explain(admitted, values, below=below, negative=negative, momentum_from=threshold)


def _resolved(top: Eigenpairs) -> np.ndarray:
    """The largest eigenvalues, ascending, as far down as their residuals are small."""
    coarse = np.flatnonzero(top.residuals > 1e-3 * np.abs(top.values).max())
    resolved = top.values[: coarse[0] if coarse.size else None]
    return np.sort(np.asarray(resolved, np.float64))


def _gauss_newton(key: Key, loss: MaskedLoss, vectors: Array, config: Imc) -> Numbers:
    """Gauss-Newton's fast eigenpairs, its distance from the Hessian, and the overlap of both top
    spaces."""
    k = vectors.shape[1]
    if config.spectrum.exact_gauss_newton:
        pairs = spectra.gauss_newton_eigenpairs(loss, k)
    else:
        pairs = linalg.extreme_eigenpairs(key, loss.gauss_newton(), top=k, bottom=0).top
    distance = spectra.gauss_newton_distance(key, loss)
    overlap = np.square(np.asarray(pairs.vectors).T @ np.asarray(vectors)).sum() / k
    return {
        "exact": config.spectrum.exact_gauss_newton,
        **_pairs(pairs),
        "distance": float(abs(distance.values[0])),
        "distance_residual": float(distance.residuals[0]),
        "overlap_with_hessian": float(overlap),
    }


def _one_shot(loss: MaskedLoss, probes: list[Quadrature]) -> Numbers:
    """The largest one-shot sparsity that arXiv 2306.05857 predicts; eps is the standard deviation
    of the loss over the batches, as there."""
    epsilon = one_shot.loss_spread(loss)
    predicted = one_shot.sparsity_limit(np.asarray(loss.w0), probes, epsilon)
    return {**predicted._asdict(), "epsilon": epsilon}


def rates(numbers: Numbers, reading: str) -> dict[str, float]:
    """The densities that the spectrum gives one reading; the gap where it admits any.

    Of the gap the weakest condition on the smallest ball counts; the fast reading keeps the
    directions above the lowest admissible gap, the slow one those below the highest.
    """
    share = numbers["plateau_published"]["value"]
    result = {"plateau_kept": share, "plateau_pruned": 1 - share}
    admitted = numbers["remainder"][0]["conditions"]["cone"]["attracting"]
    if admitted:
        kept = max(admitted) if reading == "slow" else numbers["size"] - min(admitted)
        result["gap"] = kept / numbers["size"]
    return result


def check_density(numbers: Numbers, density: float, reading: str) -> None:
    """ValueError for a density above what the gap condition admits on the smallest ball."""
    condition = numbers["remainder"][0]["conditions"]["cone"]
    admitted = gap.Dimensions(
        np.array(condition["gap"], int), np.array(condition["attracting"], int)
    )
    gap.check_density(density, numbers["size"], admitted, reading)
