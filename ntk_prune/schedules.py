"""Density schedules: the density to reach at the end of round ``t`` of ``T`` (1-based).

>>> [round(exponential(t, 2, 0.04), 3) for t in (1, 2)]
[0.2, 0.04]
>>> [round(linear(t, 2, 0.04), 3) for t in (1, 2)]
[0.52, 0.04]
"""

from ntk_prune.types import DensitySchedule


def exponential(t: int, num_rounds: int, density: float) -> float:
    """``d^(t/T)``: the same fraction of the survivors is removed in every round."""
    return density ** (t / num_rounds)


def linear(t: int, num_rounds: int, density: float) -> float:
    """``1 - (1 - d) t/T``: the same number of weights is removed in every round."""
    return 1.0 - (1.0 - density) * t / num_rounds


def one_shot(t: int, num_rounds: int, density: float) -> float:
    """``d`` in every round: later rounds change nothing, so use it with one round."""
    del t, num_rounds
    return density


SCHEDULES: dict[str, DensitySchedule] = {
    "exponential": exponential,
    "linear": linear,
    "one_shot": one_shot,
}
