"""ResNet-20 and VGG-16 as functions of named tensors, for PyTorch alone."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]
_POOLED = (2, 4, 7, 10)  # the convolutions of VGG-16 before which there is a max pool


class Plain:
    """The layers as they are. ``batch``: batch norm by the batch, which ``statistics`` then hold
    (variance over N-1), else by running statistics."""

    def __init__(self, batch: bool):
        self.batch = batch
        self.statistics: Weights = {}

    def relu(self, x: Tensor) -> Tensor:
        return F.relu(x)

    def pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2, 2)

    def norm(self, w: Weights, name: str, x: Tensor) -> Tensor:
        mean, var = (w[f"{name}.running_{what}"] for what in ("mean", "var"))
        if self.batch:
            mean, var = torch.zeros_like(mean), torch.ones_like(var)
            self.statistics |= {f"{name}.running_mean": mean, f"{name}.running_var": var}
        scale, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        return F.batch_norm(x, mean, var, scale, bias, self.batch, momentum=1.0)

    def bias(self, w: Weights, name: str) -> Tensor | None:
        return w.get(f"{name}.bias")


class Record(Plain):
    """Plain, and ``gates`` lists the open ReLUs and the winners of max pools."""

    def __init__(self):
        super().__init__(batch=False)
        self.gates: list[Tensor] = []

    def relu(self, x: Tensor) -> Tensor:
        self.gates.append(x > 0)
        return super().relu(x)

    def pool(self, x: Tensor) -> Tensor:
        pooled, winners = F.max_pool2d(x, 2, 2, return_indices=True)
        self.gates.append(winners)
        return pooled


class Open(Plain):
    """All paths open: ReLUs pass, a max pool sums, batch norm multiplies by its squared slope."""

    def __init__(self):
        super().__init__(batch=False)

    def relu(self, x: Tensor) -> Tensor:
        return x

    def pool(self, x: Tensor) -> Tensor:
        return 4 * F.avg_pool2d(x, 2, 2)

    def norm(self, w: Weights, name: str, x: Tensor) -> Tensor:
        slope = w[f"{name}.weight"] / torch.sqrt(w[f"{name}.running_var"] + 1e-5)
        return x * slope.square()[:, None, None]

    def bias(self, w: Weights, name: str) -> Tensor | None:
        del w, name
        return None


class Replay(Open):
    """The recorded paths, without batch norm."""

    def __init__(self, gates: list[Tensor]):
        super().__init__()
        self._gates = iter(gates)

    def relu(self, x: Tensor) -> Tensor:
        return x * next(self._gates)

    def pool(self, x: Tensor) -> Tensor:
        winners = next(self._gates)
        return x.flatten(2).gather(2, winners.flatten(2)).view(winners.shape)

    def norm(self, w: Weights, name: str, x: Tensor) -> Tensor:
        del w, name
        return x


def resnet20(w: Weights, x: Tensor, layers: Plain) -> Tensor:
    """``[B, 3, H, W] -> [B, 10]``."""

    def conv_bn(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        kernel = w[f"{conv}.weight"]
        return layers.norm(w, norm, F.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2))

    x = layers.relu(conv_bn(x, "conv", "bn"))
    for i in range(9):
        block, stride = f"blocks.{i}", 2 if i in (3, 6) else 1
        y = layers.relu(conv_bn(x, f"{block}.conv1", f"{block}.bn1", stride))
        y = conv_bn(y, f"{block}.conv2", f"{block}.bn2")
        if f"{block}.shortcut.0.weight" in w:
            x = conv_bn(x, f"{block}.shortcut.0", f"{block}.shortcut.1", stride)
        x = layers.relu(x + y)
    return F.linear(x.mean((2, 3)), w["fc.weight"], layers.bias(w, "fc"))


def vgg16(w: Weights, x: Tensor, layers: Plain) -> Tensor:
    """``[B, 3, H, W] -> [B, 10]``; four max pools and the mean over what is left."""
    for i in range(13):
        x = layers.pool(x) if i in _POOLED else x
        x = F.conv2d(x, w[f"conv{i}.weight"], layers.bias(w, f"conv{i}"), 1, 1)
        x = layers.relu(layers.norm(w, f"bn{i}", x))
    return F.linear(x.mean((2, 3)), w["fc.weight"], layers.bias(w, "fc"))


Network = Callable[[Weights, Tensor, Plain], Tensor]
NETWORKS: dict[str, Network] = {"resnet20": resnet20, "vgg16": vgg16}
