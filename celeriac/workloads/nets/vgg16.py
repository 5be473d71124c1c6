"""VGG-16: thirteen 3x3 convolutions in five groups, each followed by 2x2 max pooling.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015, arXiv 1409.1556),
table 1, configuration D. Images of 64x64 pixels or more have its three linear layers, after pooling to 7x7 as in
torchvision (at 224x224 they are of this size already), with dropout. For smaller images there is one linear layer, as
in github.com/kuangliu/pytorch-cifar; those under 32x32 are padded with zeros to that.

The paper's net has no normalisation. Its weights came from a net of eleven layers that was trained before; here they
are drawn as in He et al. 2015 (:func:`celeriac.workloads.nets.net.draw_weights`).
"""

from __future__ import annotations

from torch import nn

from celeriac.workloads.nets.net import ImageShape, as_images, check_size, draw_weights, is_large, padded
from celeriac.workloads.nets.norms import Norm

GROUPS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of the convolutions of each group."""
NUM_HIDDEN = 4_096
LEAST = 28
"""Least height and width that are padded."""


def vgg16(image_shape: ImageShape, num_classes: int, norm: Norm | None = None) -> nn.Module:
    """Return the model: 14,718,666 parameters on MNIST, 138,357,544 on ImageNet; each normalised channel has 2 more.

    Raises:
        ConfigurationError: If images are under 28x28 pixels.
    """
    check_size("vgg16", image_shape, LEAST)
    num_channels = image_shape[0]
    layers: list[nn.Module] = [as_images(image_shape), padded(image_shape, 32)]
    for num_out, depth in GROUPS:
        for _ in range(depth):
            layers.append(nn.Conv2d(num_channels, num_out, kernel_size=3, padding=1))
            layers += [norm(num_out)] if norm else []
            layers.append(nn.ReLU())
            num_channels = num_out
        layers.append(nn.MaxPool2d(2))
    large = is_large(image_shape)
    layers += [nn.AdaptiveAvgPool2d(7 if large else 1), nn.Flatten()]
    layers += _paper_head(num_channels * 7 * 7, num_classes) if large else [nn.Linear(num_channels, num_classes)]
    return draw_weights(nn.Sequential(*layers))


def _paper_head(num_inputs: int, num_classes: int) -> list[nn.Module]:
    return [
        *(nn.Linear(num_inputs, NUM_HIDDEN), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(NUM_HIDDEN, NUM_HIDDEN), nn.ReLU(), nn.Dropout()),
        nn.Linear(NUM_HIDDEN, num_classes),
    ]
