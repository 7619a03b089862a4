"""Reference logits of PyTorch networks: ``python -m tools.torch_logits DIRECTORY``.

Writes one small .npz per network: random weights and running statistics in float16 under the names
of torchvision and CLIP (``names``, ``shapes``, and all ``values`` as one vector), inputs ``x``
[B, C, H, W] in float16, and the ``logits`` that PyTorch computes from exactly these values in
float64 by the running statistics. Needs PyTorch and numpy, nothing of this project;
``tests/interop`` compares with the files.
"""

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional as F  # pyright: ignore[reportMissingImports]

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
CLASSES = 7


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)


def shortcut(inputs: int, outputs: int, stride: int, pooled: bool) -> nn.Module | None:
    """torchvision's ``downsample``; CLIP's has an average pool called -1 before it."""
    if stride == 1 and inputs == outputs:
        return None
    layers = [("0", conv(inputs, outputs, 1, 1 if pooled else stride))]
    layers.append(("1", nn.BatchNorm2d(outputs)))
    return nn.Sequential(OrderedDict([("-1", nn.AvgPool2d(stride))] * pooled + layers))


class BasicBlock(nn.Module):
    def __init__(self, inputs, features, stride, dilation, pooled):
        super().__init__()
        self.conv1 = conv(inputs, features, 3, stride, dilation)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = conv(features, features, 3, dilation=dilation)
        self.bn2 = nn.BatchNorm2d(features)
        self.outputs = features
        self.downsample = shortcut(inputs, features, stride, pooled)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    def __init__(self, inputs, features, stride, dilation, pooled):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, features, 1), nn.BatchNorm2d(features)
        self.conv2 = conv(features, features, 3, 1 if pooled else stride, dilation)
        self.bn2 = nn.BatchNorm2d(features)
        self.conv3, self.bn3 = conv(features, 4 * features, 1), nn.BatchNorm2d(4 * features)
        self.outputs = 4 * features
        self.downsample = shortcut(inputs, 4 * features, stride, pooled)
        self.pool = nn.AvgPool2d(stride) if pooled else nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.pool(F.relu(self.bn2(self.conv2(y))))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's ResNet, with the 3x3 stem of small images or the deep one of CLIP."""

    def __init__(self, depth, width, stem="7x7", output_stride=32, head=True):
        super().__init__()
        self.stem = stem
        half = width // 2
        if stem == "deep":
            self.conv1, self.bn1 = conv(3, half, 3, 2), nn.BatchNorm2d(half)
            self.conv2, self.bn2 = conv(half, half, 3), nn.BatchNorm2d(half)
            self.conv3, self.bn3 = conv(half, width, 3), nn.BatchNorm2d(width)
        else:
            kernel, stride = (7, 2) if stem == "7x7" else (3, 1)
            self.conv1, self.bn1 = conv(3, width, kernel, stride), nn.BatchNorm2d(width)
        block = BasicBlock if depth < 50 else Bottleneck
        inputs, total, dilation = width, 4, 1
        for i, repeats in enumerate(BLOCKS[depth]):
            features, stride, before = width * 2**i, 2 if i else 1, dilation
            if total * stride > output_stride:
                dilation, stride = dilation * stride, 1
            total *= stride
            blocks = []
            for j in range(repeats):
                shape = (stride, before) if j == 0 else (1, dilation)
                blocks.append(block(inputs, features, *shape, stem == "deep"))
                inputs = blocks[-1].outputs
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.outputs = inputs
        self.fc = nn.Linear(inputs, CLASSES) if head else nn.Identity()

    def stages(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if self.stem == "7x7":
            x = F.max_pool2d(x, 3, 2, 1)
        if self.stem == "deep":
            x = F.relu(self.bn3(self.conv3(F.relu(self.bn2(self.conv2(x))))))
            x = F.avg_pool2d(x, 2)
        outputs = []
        for i in range(4):
            x = getattr(self, f"layer{i + 1}")(x)
            outputs.append(x)
        return outputs

    def forward(self, x):
        return self.fc(self.stages(x)[-1].mean((2, 3)))


class Pyramid(nn.Module):
    def __init__(self, inputs, features, rates):
        super().__init__()
        self.conv0, self.bn0 = conv(inputs, features, 1), nn.BatchNorm2d(features)
        for i, rate in enumerate(rates, 1):
            setattr(self, f"conv{i}", conv(inputs, features, 3, dilation=rate))
            setattr(self, f"bn{i}", nn.BatchNorm2d(features))
        self.pool_conv, self.pool_bn = conv(inputs, features, 1), nn.BatchNorm2d(features)
        self.project_conv = conv(5 * features, features, 1)
        self.project_bn = nn.BatchNorm2d(features)

    def forward(self, x):
        branches = [getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)) for i in range(4)]
        mean = self.pool_bn(self.pool_conv(F.adaptive_avg_pool2d(x, 1)))
        branches.append(F.interpolate(mean, x.shape[2:], mode="bilinear", align_corners=False))
        return F.relu(self.project_bn(self.project_conv(F.relu(torch.cat(branches, 1)))))


class DeepLab(nn.Module):
    """DeepLabV3+ with this project's names for what comes after the backbone."""

    def __init__(self, depth, width, output_stride):
        super().__init__()
        self.backbone = ResNet(depth, width, output_stride=output_stride, head=False)
        outer = self.backbone.outputs
        features, low = 4 * width, max(1, 48 * width // 64)
        rates = {8: (12, 24, 36), 16: (6, 12, 18)}[output_stride]
        self.aspp = Pyramid(outer, features, rates)
        inner = self.backbone.layer1[0].outputs
        self.low_conv, self.low_bn = conv(inner, low, 1), nn.BatchNorm2d(low)
        self.decoder_conv = conv(low + features, features, 3)
        self.decoder_bn = nn.BatchNorm2d(features)
        self.classifier = nn.Conv2d(features, CLASSES, 1)

    def forward(self, x):
        low, _, _, high = self.backbone.stages(x)
        resize = {"mode": "bilinear", "align_corners": False}
        high = F.interpolate(self.aspp(high), low.shape[2:], **resize)
        y = torch.cat([F.relu(self.low_bn(self.low_conv(low))), high], 1)
        y = F.relu(self.decoder_bn(self.decoder_conv(y)))
        return F.interpolate(self.classifier(y), x.shape[2:], **resize)


def draw(name: str, shape: torch.Size) -> torch.Tensor:
    """Random values of a trained network's size, rounded to float16."""
    normal = torch.randn(shape, dtype=torch.float64)
    if name.endswith("running_var"):
        drawn = 0.5 + torch.rand(shape, dtype=torch.float64)
    elif len(shape) > 1:
        drawn = normal * (2 / normal[0].numel()) ** 0.5
    else:
        drawn = 0.1 * normal + float("bn" in name and name.endswith(".weight"))
    return drawn.half()


NETWORKS = {
    "torchvision_resnet18_small": (lambda: ResNet(18, 4, "3x3"), (16, 20)),
    "torchvision_resnet50": (lambda: ResNet(50, 2), (40, 56)),
    "clip_resnet50": (lambda: ResNet(50, 2, "deep"), (64, 64)),
    "deeplab_resnet50_stride8": (lambda: DeepLab(50, 2, 8), (25, 32)),
    "deeplab_resnet18_stride16": (lambda: DeepLab(18, 2, 16), (25, 32)),
}


@torch.no_grad()
def reference(name: str) -> dict[str, np.ndarray]:
    """The contents of the file ``name``."""
    make, size = NETWORKS[name]
    torch.manual_seed(sum(size))
    network = make().double().eval()
    shapes = {n: t.shape for n, t in network.state_dict().items() if t.ndim}
    state = {n: draw(n, shape) for n, shape in shapes.items()}
    network.load_state_dict({n: t.double() for n, t in state.items()}, strict=False)
    x = torch.randn(1 if "deeplab" in name else 2, 3, *size).half()
    return {
        "names": np.array(list(shapes)),
        "shapes": np.array([" ".join(map(str, shape)) for shape in shapes.values()]),
        "values": np.concatenate([t.numpy().ravel() for t in state.values()]),
        "x": x.numpy(),
        "logits": network(x.double()).numpy(),
    }


def main() -> None:
    """Write all files into the directory given on the command line."""
    directory = Path(sys.argv[1])
    for name in NETWORKS:
        np.savez_compressed(directory / f"{name}.npz", allow_pickle=False, **reference(name))


if __name__ == "__main__":
    main()
