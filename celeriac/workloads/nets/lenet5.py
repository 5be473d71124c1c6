"""LeNet-5, after LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), section II.B.

As in the paper: 28x28 images are padded to 32x32 (smaller ones by 2 on each side, too), tanh, average pooling, layers
of 6, 16, 120 and 84. Unlike the paper, but usual today: pooling has no coefficients, the second convolution is
connected to all channels of the first, and the output layer is linear, without radial basis functions.
"""

from __future__ import annotations

import math

from torch import nn

from celeriac.workloads.nets.net import ImageShape, as_images, check_size

PAPERS_SIZE = 32
"""Height and width of the paper's input."""


def lenet5(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return the model: 61,706 parameters on MNIST, 62,006 on CIFAR-10; images of digits are too small.

    Raises:
        ConfigurationError: If images are under 12x12 pixels.
    """
    check_size("lenet5", image_shape, 12)
    channels, height, width = image_shape
    padding = 2 if min(height, width) < PAPERS_SIZE else 0
    left = math.prod(((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width))
    return nn.Sequential(
        as_images(image_shape),
        nn.Conv2d(channels, 6, kernel_size=5, padding=padding),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * left, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, num_classes),
    )
