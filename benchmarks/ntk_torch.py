"""The torch.func side of `benchmarks.ntk`: needs torch and numpy only, and is run by it."""

import argparse

import torch
from torch.func import jacrev, vmap

from benchmarks.alternation import peak_memory, serve
from benchmarks.torch_networks import Plain
from benchmarks.torch_work import Problem


def main() -> None:
    """The kernel by vmap of jacrev over the masked kernels, flattened, and one product."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problem", required=True)
    problem = Problem(parser.parse_args().problem, "resnet20", torch.contiguous_format)
    prunable = {name: problem.weights[name] for name in problem.prunable}

    def logits(prunable, x):
        weights = problem.masked(problem.weights | prunable, problem.masks)
        return problem.network(weights, x[None], Plain(batch=False))[0]

    jacobian = vmap(jacrev(logits), (None, 0))

    @torch.no_grad()
    def compute() -> torch.Tensor:
        leaves = [j.flatten(2).flatten(0, 1) for j in jacobian(prunable, problem.x).values()]
        flat = torch.cat(leaves, 1)
        del leaves
        return flat @ flat.T

    serve(compute, lambda kernel: [kernel.norm(), kernel.trace()], start=peak_memory())


if __name__ == "__main__":
    main()
