"""ResNets for ImageNet (arXiv 1512.03385), and the convolutional one of CLIP (arXiv 2103.00020)."""

from typing import Any, Literal

from flax import linen as nn

from ntk_prune.activations import PLAIN
from ntk_prune.models.backbone import Backbone
from ntk_prune.models.linen import (
    Init,
    dense,
    kaiming_fan_out,
    kaiming_normal,
    mode_of,
    model,
    uniform_fan_in,
)
from ntk_prune.types import Dtype, Model


class Classifier(nn.Module):
    """The backbone, the mean over space, and one linear layer."""

    backbone: Backbone
    num_classes: int
    kernel_init: Init | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9, axis_name=None, activation=PLAIN):
        mode = mode_of(train, momentum, axis_name, activation)
        x = self.backbone(x, **mode)[-1].mean(axis=(1, 2))
        init = self.kernel_init or uniform_fan_in(x.shape[-1])
        return dense(self.num_classes, x.shape[-1], kernel_init=init, name="fc", dtype=self.dtype)(
            x
        )


def imagenet_resnet(
    depth: int = 50,
    stem: Literal["7x7", "3x3"] = "7x7",
    width: int = 64,
    num_classes: int = 1000,
    init: Literal["fan_in", "fan_out"] = "fan_out",
    dtype: Dtype = None,
) -> Model:
    """A ResNet as torchvision builds it (v1.5: the 3x3 of a bottleneck has the stride).

    With 1000 outputs ResNet-18 has 11,678,912 prunable weights; with the 3x3 stem and 200 outputs,
    which is how Path eXclusion (arXiv 2406.01820) takes it to Tiny-ImageNet, 11,261,632.

    Args:
        depth: 18 or 34 (blocks of two 3x3), 50, 101 or 152 (bottlenecks).
        stem: 7x7 with stride 2 and a 3x3 max pool with stride 2, or 3x3 with neither, for small
            images.
        width: Channels of the first stage; the others have 2, 4 and 8 times as many, and the
            outputs of bottlenecks 4 times those.
        num_classes: Number of outputs.
        init: Kaiming normal by fan-out for convolutions and PyTorch's default for the linear layer
            (torchvision, Path eXclusion), or Kaiming normal by fan-in for both (NTK-SAP).
        dtype: Compute type; parameters stay float32.
    """
    if init not in ("fan_in", "fan_out"):
        raise ValueError(f"init is fan_in or fan_out, got {init!r}")
    if stem not in ("7x7", "3x3"):
        raise ValueError(f"stem is 7x7 or 3x3, got {stem!r}")
    conv_init, fc_init = {
        "fan_in": (kaiming_normal, kaiming_normal),
        "fan_out": (kaiming_fan_out, None),
    }[init]
    backbone = Backbone(depth, width, stem, kernel_init=conv_init, dtype=dtype)
    return model(Classifier(backbone, num_classes, fc_init, dtype))


def clip_resnet(
    depth: int = 50, width: int = 64, num_classes: int = 1000, dtype: Dtype = None
) -> Model:
    """The ResNet of CLIP's image encoder, piecewise linear, with a linear head.

    Three convolutions in the stem; every stride after it is a mean over 2x2, in the shortcuts too.
    CLIP itself ends in an attention pool, whose softmax has no paths: here it is the mean over
    space. Initialised as ``imagenet_resnet``, not as CLIP.

    Args:
        depth: 50 or 101.
        width: Channels of the first stage; even.
        num_classes: Number of outputs.
        dtype: Compute type; parameters stay float32.
    """
    if depth not in (50, 101):
        raise ValueError(f"CLIP's ResNets have depth 50 or 101, got {depth}")
    if width % 2:
        raise ValueError(f"the stem of CLIP has half the width, which must be even, got {width}")
    return model(Classifier(Backbone(depth, width, "deep", dtype=dtype), num_classes, dtype=dtype))
