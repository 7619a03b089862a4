"""The torch.func side of `benchmarks.ntk`: needs torch and numpy only, and is run by it."""

import argparse
import json
import resource
import sys
import time

import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.shortcut(x) + self.bn2(self.conv2(y)))


def resnet20(width: int) -> nn.Module:
    """The CIFAR ResNet-20 with 10 outputs, in evaluation mode."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
    ]  # fmt: skip
    inputs = width
    for i in range(9):
        outputs = width * 2 ** (i // 3)
        layers.append(Block(inputs, outputs, 2 if i in (3, 6) else 1))
        inputs = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10)]
    return nn.Sequential(*layers).eval()


def prepare(n: int, density: float, width: int):
    """The kernel as a function: vmap of jacrev over the kernels, flattened, and one product."""
    torch.manual_seed(0)
    network = resnet20(width)
    everything = {k: v.detach() for k, v in network.named_parameters()}
    weights = {k: v for k, v in everything.items() if v.ndim > 1}
    kept = {k: (torch.rand_like(v) < density).to(v.dtype) for k, v in weights.items()}
    rest = {k: v for k, v in everything.items() if k not in weights}
    rest |= dict(network.named_buffers())
    x = torch.randn(n, 3, 32, 32)

    def logits(weights, xi):
        masked = {k: v * kept[k] for k, v in weights.items()} if density < 1 else weights
        return functional_call(network, (masked, rest), (xi[None],))[0]

    jacobian = vmap(jacrev(logits), (None, 0))

    @torch.no_grad()
    def compute():
        leaves = [j.reshape(n * 10, -1) for j in jacobian(weights, x).values()]
        flat = torch.cat(leaves, 1)
        del leaves
        return flat @ flat.T

    return compute


def peak_memory() -> int:
    """Peak resident bytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Answer each line of standard input with one timed repeat, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, required=True)
    parser.add_argument("--density", type=float, required=True)
    parser.add_argument("--width", type=int, required=True)
    arguments = parser.parse_args()
    compute = prepare(arguments.n, arguments.density, arguments.width)
    start = peak_memory()
    compute()
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        norm = float(compute().norm())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        memory = peak_memory() - start
        answer = {"wall": wall, "cpu": cpu, "memory": memory, "flops": None, "norm": norm}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
