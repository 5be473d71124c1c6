"""Residual nets for images, and their blocks.

He et al., "Deep Residual Learning for Image Recognition" (2016, arXiv 1512.03385), table 1. Images of 64x64 pixels or
more have the table's stem: a 7x7 convolution of stride 2 and 3x3 max pooling of stride 2. For smaller ones it is that
of its section 4.2 for CIFAR, a 3x3 convolution of stride 1 without pooling, as in github.com/kuangliu/pytorch-cifar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from celeriac.workloads.nets.net import ImageShape, as_images, is_large
from celeriac.workloads.nets.norms import Norm

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Width of each stage, and the stride of its first block."""
EXPANSION = 4
"""Channels that come out of a bottleneck, as a multiple of its width."""


class Block(nn.Module):
    """Layers, and a shortcut around them.

    Args:
        residual: The layers.
        shortcut: A convolution where the shape changes, else the identity.
        num_out: Channels that come out.
    """

    def __init__(self, residual: nn.Module, shortcut: nn.Module, num_out: int) -> None:
        super().__init__()
        self.residual = residual
        self.shortcut = shortcut
        self.num_out = num_out

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``(n, num_out, height / stride, width / stride)``, rounded up."""
        outputs: Tensor = nn.functional.relu(self.residual(inputs) + self.shortcut(inputs))
        return outputs


MakeBlock = Callable[[int, int, int, Norm], Block]
"""From channels that come in, width, stride and normalisation to a block."""


def basic(num_in: int, width: int, stride: int, norm: Norm) -> Block:
    """Return a block of two 3x3 convolutions."""
    residual = nn.Sequential(
        *_convolution(num_in, width, 3, stride, norm), nn.ReLU(), *_convolution(width, width, 3, 1, norm)
    )
    return Block(residual, _shortcut(num_in, width, stride, norm), width)


def bottleneck(num_in: int, width: int, stride: int, norm: Norm) -> Block:
    """Return a block of a 1x1, a 3x3 and a 1x1 convolution, the last with four times as many channels.

    The 3x3 convolution has the stride, as in torchvision; in the paper it is the first. That changes no number.
    """
    num_out = EXPANSION * width
    residual = nn.Sequential(
        *_convolution(num_in, width, 1, 1, norm),
        nn.ReLU(),
        *_convolution(width, width, 3, stride, norm),
        nn.ReLU(),
        *_convolution(width, num_out, 1, 1, norm),
    )
    return Block(residual, _shortcut(num_in, num_out, stride, norm), num_out)


def residual_net(
    image_shape: ImageShape, num_classes: int, norm: Norm, block: MakeBlock, depths: Sequence[int]
) -> nn.Module:
    """Return a net of four stages.

    Args:
        image_shape: Channels, height and width.
        num_classes: Number of classes.
        norm: The normalisation after each convolution.
        block: Makes the blocks.
        depths: Blocks of each stage.
    """
    num_channels = STAGES[0][0]
    layers: list[nn.Module] = [as_images(image_shape)]
    if is_large(image_shape):
        layers += [*_convolution(image_shape[0], num_channels, 7, 2, norm), nn.ReLU()]
        layers += [nn.MaxPool2d(kernel_size=3, stride=2, padding=1)]
    else:
        layers += [*_convolution(image_shape[0], num_channels, 3, 1, norm), nn.ReLU()]
    for (width, stride), depth in zip(STAGES, depths, strict=True):
        for index in range(depth):
            made = block(num_channels, width, 1 if index else stride, norm)
            layers.append(made)
            num_channels = made.num_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(num_channels, num_classes))


def _convolution(num_in: int, num_out: int, size: int, stride: int, norm: Norm) -> list[nn.Module]:
    convolution = nn.Conv2d(num_in, num_out, kernel_size=size, stride=stride, padding=size // 2, bias=False)
    return [convolution, norm(num_out)]


def _shortcut(num_in: int, num_out: int, stride: int, norm: Norm) -> nn.Sequential:
    changes = stride != 1 or num_in != num_out
    return nn.Sequential(*(_convolution(num_in, num_out, 1, stride, norm) if changes else ()))
