"""ResNet-18 for small images, with group normalisation.

He et al., "Deep Residual Learning for Image Recognition" (2016, arXiv 1512.03385), table 1, 18 layers; the stem comes
from its section 4.2 for CIFAR: a 3x3 convolution of stride 1 and no pooling.

Normalisation is by groups (Wu and He 2018, arXiv 1803.08494), not by batches. Where clients have different labels, the
mean and variance of their batches differ, each client's model adapts to its own, and the average of such models loses
much accuracy. Group normalisation looks at one example at a time and avoids this: Hsieh et al., "The Non-IID Data
Quagmire of Decentralized Machine Learning" (2020, arXiv 1910.00189), section 5.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from celeriac.workloads.nets.net import ImageShape, as_images

Norm = Callable[[int], nn.Module]
"""From a number of channels to their normalisation layer."""

NUM_GROUPS = 32
"""Groups of each normalisation, the default of Wu and He."""
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Channels of each stage, and the stride of its first block."""


def group_norm(num_channels: int) -> nn.Module:
    """Return a normalisation layer with 32 groups of channels."""
    return nn.GroupNorm(NUM_GROUPS, num_channels)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut around them: a 1x1 convolution where the shape changes, else the identity."""

    def __init__(self, num_in: int, num_out: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(num_in, num_out, kernel_size=3, stride=stride, padding=1, bias=False),
            norm(num_out),
            nn.ReLU(),
            nn.Conv2d(num_out, num_out, kernel_size=3, padding=1, bias=False),
            norm(num_out),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or num_in != num_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(num_in, num_out, kernel_size=1, stride=stride, bias=False), norm(num_out)
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(n, num_out, height / stride, width / stride)``, rounded up."""
        outputs: Tensor = nn.functional.relu(self.residual(inputs) + self.shortcut(inputs))
        return outputs


def resnet18(image_shape: ImageShape, num_classes: int, norm: Norm = group_norm) -> nn.Module:
    """Return the model: 11,172,810 parameters on MNIST and on digits.

    A user's net can call it with another ``norm``, like ``nn.BatchNorm2d``.
    """
    num_channels = STAGES[0][0]
    layers: list[nn.Module] = [
        as_images(image_shape),
        nn.Conv2d(image_shape[0], num_channels, kernel_size=3, padding=1, bias=False),
        norm(num_channels),
        nn.ReLU(),
    ]
    for num_out, stride in STAGES:
        layers += [Block(num_channels, num_out, stride, norm), Block(num_out, num_out, 1, norm)]
        num_channels = num_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(num_channels, num_classes))
