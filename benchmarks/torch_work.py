"""The PyTorch side of `benchmarks.compare`, written from the papers' formulas, and run by it.

Needs torch and numpy only. The scores are those of the published codes: SNIP and NTK-SAP
differentiate in the mask, GraSP twice in the weights, SynFlow and PX on one example in float64.
"""

import argparse
import functools
import os
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.alternation import peak_memory, serve
from benchmarks.torch_networks import NETWORKS, Network, Open, Plain, Record, Replay, Weights

Work = Callable[["Problem"], list[float]]


class Problem:
    """A file of ours: weights, masks and images, and, for some works, a perturbation and labels."""

    def __init__(self, file: str, network: str, memory_format: torch.memory_format):
        with np.load(file, allow_pickle=False) as arrays:
            tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        self.network: Network = NETWORKS[network]
        self.x = tensors.pop("x").to(memory_format=memory_format)
        self.y = tensors.pop("y", torch.zeros(len(self.x), dtype=torch.long))
        parts: dict[str, Weights] = {"weight": {}, "mask": {}, "delta": {}}
        for name, tensor in tensors.items():
            part, _, name = name.partition(":")
            images = tensor.ndim == 4
            parts[part][name] = tensor.to(memory_format=memory_format) if images else tensor
        self.weights, self.masks, self.delta = parts.values()
        self.prunable = sorted(self.masks)

    def masked(self, weights: Weights, masks: Weights) -> Weights:
        """All weights, the prunable ones times their masks."""
        return weights | {name: weights[name] * masks[name] for name in self.prunable}


def shares(scores: list[Tensor]) -> list[float]:
    """The share of each layer in the sum of all scores."""
    sums = torch.stack([score.double().sum() for score in scores])
    return (sums / sums.abs().sum()).tolist()


def of_mask(problem: Problem, objective: Callable[[Weights], Tensor]) -> list[Tensor]:
    """The derivatives of ``objective(masks)`` in the masks."""
    masks = {name: problem.masks[name].clone().requires_grad_() for name in problem.prunable}
    return list(torch.autograd.grad(objective(masks), list(masks.values())))


def snip(problem: Problem) -> list[float]:
    """``|dL/dm|``."""

    def loss(masks: Weights) -> Tensor:
        weights = problem.masked(problem.weights, masks)
        return F.cross_entropy(problem.network(weights, problem.x, Plain(True)), problem.y)

    return shares([gradient.abs() for gradient in of_mask(problem, loss)])


def grasp(problem: Problem) -> list[float]:
    """``theta * (H g)`` of the cross entropy at temperature 200."""
    masked = problem.masked(problem.weights, problem.masks)
    theta = {name: masked[name].detach().requires_grad_() for name in problem.prunable}
    logits = problem.network(masked | theta, problem.x, Plain(True)) / 200
    gradients = torch.autograd.grad(
        F.cross_entropy(logits, problem.y), list(theta.values()), create_graph=True
    )
    kept = [g * problem.masks[n] for g, n in zip(gradients, problem.prunable, strict=True)]
    product = sum((g.detach() * g).sum() for g in kept)
    assert isinstance(product, Tensor)
    hessian = torch.autograd.grad(product, list(theta.values()))
    return shares([h * w.detach() for h, w in zip(hessian, theta.values(), strict=True)])


def synflow(problem: Problem) -> list[float]:
    """``|dR/dm|`` at kept weights of the network of absolute weights on one example of ones."""
    weights = {name: weight.double().abs() for name, weight in problem.weights.items()}
    ones = torch.ones_like(problem.x[:1], dtype=torch.double)

    def flow(masks: Weights) -> Tensor:
        wide = {name: mask.double() for name, mask in masks.items()}
        return problem.network(problem.masked(weights, wide), ones, Plain(False)).sum()

    gradients = of_mask(problem, flow)
    kept = [problem.masks[name] for name in problem.prunable]
    return shares([g.abs() * m for g, m in zip(gradients, kept, strict=True)])


def ntksap(problem: Problem) -> list[float]:
    """``|d/dm |f(theta * m) - f((theta + Delta) * m)|^2|``, batch norm frozen on these images."""
    weights, z = problem.weights, problem.x
    frozen = Plain(True)
    with torch.no_grad():
        problem.network(problem.masked(weights, problem.masks), z, frozen)
    weights = weights | frozen.statistics
    moved = weights | {name: weights[name] + problem.delta[name] for name in problem.prunable}

    def change(masks: Weights) -> Tensor:
        here, there = (
            problem.network(problem.masked(w, masks), z, Plain(False)) for w in (weights, moved)
        )
        return (here - there).square().sum()

    return shares([gradient.abs() for gradient in of_mask(problem, change)])


def px(problem: Problem) -> list[float]:
    """``theta^2 dR/d(theta^2)`` with the recorded paths of all images and the values of all."""
    masked = problem.masked(problem.weights, problem.masks)
    wide = {name: weight.double() for name, weight in masked.items()}
    with torch.no_grad():
        record = Record()
        problem.network(masked, problem.x, record)
        ones = wide | {name: mask.double() for name, mask in problem.masks.items()}
        opened = problem.network(ones, problem.x.double().square(), Replay(record.gates)).sum(0)
    squares = {name: wide[name].square().requires_grad_() for name in problem.prunable}
    image = torch.ones_like(problem.x[:1], dtype=torch.double)
    total = (opened * problem.network(wide | squares, image, Open())).sum()
    gradients = torch.autograd.grad(total, list(squares.values()))
    return shares([g * s.detach() for g, s in zip(gradients, squares.values(), strict=True)])


class Train:
    """Steps of SGD with momentum 0.9 and weight decay 1e-4 on the masked network."""

    def __init__(self, problem: Problem):
        self.problem = problem
        statistics = {n for n in problem.weights if n.endswith(("running_mean", "running_var"))}
        self.running = {name: problem.weights[name].clone() for name in statistics}
        self.weights = {
            name: weight.clone().requires_grad_()
            for name, weight in problem.weights.items()
            if name not in statistics
        }
        self.optimizer = torch.optim.SGD(
            self.weights.values(), 0.01, momentum=0.9, weight_decay=1e-4
        )

    def __call__(self) -> list[float]:
        """One step; the loss before it."""
        problem, layers = self.problem, Plain(True)
        masked = problem.masked(self.weights | self.running, problem.masks)
        loss = F.cross_entropy(problem.network(masked, problem.x, layers), problem.y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for name, mask in problem.masks.items():
                self.weights[name].mul_(mask)
            for name, new in layers.statistics.items():
                self.running[name].lerp_(new, 0.1)
        return [loss.item()]


WORKS: dict[str, Work] = {
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
    "ntksap": ntksap,
    "px": px,
}


def best_threads(compute: Callable[[], object]) -> int:
    """The number of threads, all cores or half of them, with which a repeat is faster."""
    cores = os.cpu_count() or 1
    taken = {}
    for threads in {cores, max(cores // 2, 1)}:
        torch.set_num_threads(threads)
        compute()
        start = time.perf_counter()
        compute()
        taken[threads] = time.perf_counter() - start
    return min(taken, key=lambda threads: taken[threads])


def main() -> None:
    """Answer each line of standard input with one timed repeat, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", required=True)
    parser.add_argument("--network", required=True, choices=NETWORKS)
    parser.add_argument("--work", required=True, choices=["train", *WORKS])
    parser.add_argument("--channels_last", action="store_true")
    arguments = parser.parse_args()
    memory_format = torch.channels_last if arguments.channels_last else torch.contiguous_format
    problem = Problem(arguments.problem, arguments.network, memory_format)
    start = peak_memory()

    def make() -> Callable[[], list[float]]:
        if arguments.work == "train":
            return Train(problem)
        return functools.partial(WORKS[arguments.work], problem)

    torch.set_num_threads(best_threads(make()))
    serve(make(), start=start)


if __name__ == "__main__":
    main()
