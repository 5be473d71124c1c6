"""The CNN of McMahan et al. 2017 (arXiv 1602.05629), section 3.

"Two 5x5 convolution layers (the first with 32 channels, the second with 64, each followed with 2x2 max pooling), a
fully connected layer with 512 units and ReLu activation, and a final softmax output layer (1,663,370 total
parameters)". The convolutions must keep the size by padding to reach that number: 28x28 becomes 14x14, then 7x7. The
paper mentions no activation after a convolution; here it is ReLU, as in most implementations.
"""

from __future__ import annotations

from torch import nn

from celeriac.workloads.nets.net import ImageShape, as_images, check_size

NUM_CHANNELS = (32, 64)
NUM_HIDDEN = 512


def cnn(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return the model: 1,663,370 parameters on MNIST, as in the paper; 188,810 on digits.

    Raises:
        ConfigurationError: If images are under 4x4 pixels.
    """
    check_size("cnn", image_shape, 4)
    channels, height, width = image_shape
    first, second = NUM_CHANNELS
    return nn.Sequential(
        as_images(image_shape),
        nn.Conv2d(channels, first, kernel_size=5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, kernel_size=5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * (height // 4) * (width // 4), NUM_HIDDEN),
        nn.ReLU(),
        nn.Linear(NUM_HIDDEN, num_classes),
    )
