"""LeNet-5, after LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), section II.B.

As in the paper: 28x28 images are padded to 32x32, tanh, average pooling, layers of 6, 16, 120 and 84. Unlike the paper,
but usual today: pooling has no coefficients, the second convolution is connected to all channels of the first, and the
output layer is linear, without radial basis functions.
"""

from __future__ import annotations

from torch import nn

from celeriac.workloads.nets.net import ImageShape, as_images, check_size


def lenet5(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return the model: 61,706 parameters on MNIST; images of digits are too small for it.

    Raises:
        ConfigurationError: If images are under 12x12 pixels.
    """
    check_size("lenet5", image_shape, 12)
    channels, height, width = image_shape
    left = (height // 2 - 4) // 2 * ((width // 2 - 4) // 2)
    return nn.Sequential(
        as_images(image_shape),
        nn.Conv2d(channels, 6, kernel_size=5, padding=2),
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
