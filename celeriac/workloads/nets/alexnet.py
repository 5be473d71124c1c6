"""AlexNet: five convolutions, three of them followed by max pooling.

Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks" (2012), in the one-column form of
Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014, arXiv 1404.5997), which torchvision
has: without local response normalisation. Images of 64x64 pixels or more have its three linear layers, after pooling to
6x6 as in torchvision (at 224x224 they are of this size already), with dropout.

For smaller images the first convolution is padded by 5, all pooling is 2x2, and there is one linear layer, as in
github.com/bearpaw/pytorch-classification for CIFAR; images under 32x32 are padded with zeros to that. Weights are drawn
as in He et al. 2015 (:func:`celeriac.workloads.nets.net.draw_weights`).
"""

from __future__ import annotations

from torch import nn

from celeriac.workloads.nets.net import ImageShape, as_images, check_size, draw_weights, is_large, padded

NUM_HIDDEN = 4_096
LEAST = 28
"""Least height and width that are padded."""


def alexnet(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return the model: 2,456,778 parameters on MNIST, 61,100,840 on ImageNet.

    Raises:
        ConfigurationError: If images are under 28x28 pixels.
    """
    check_size("alexnet", image_shape, LEAST)
    large = is_large(image_shape)
    pooling = 3 if large else 2
    return draw_weights(
        nn.Sequential(
            as_images(image_shape),
            padded(image_shape, 32),
            *(nn.Conv2d(image_shape[0], 64, kernel_size=11, stride=4, padding=2 if large else 5), nn.ReLU()),
            nn.MaxPool2d(pooling, stride=2),
            *(nn.Conv2d(64, 192, kernel_size=5, padding=2), nn.ReLU()),
            nn.MaxPool2d(pooling, stride=2),
            *(nn.Conv2d(192, 384, kernel_size=3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, kernel_size=3, padding=1), nn.ReLU()),
            nn.MaxPool2d(pooling, stride=2),
            nn.AdaptiveAvgPool2d(6 if large else 1),
            nn.Flatten(),
            *(_paper_head(256 * 6 * 6, num_classes) if large else [nn.Linear(256, num_classes)]),
        )
    )


def _paper_head(num_inputs: int, num_classes: int) -> list[nn.Module]:
    return [
        *(nn.Dropout(), nn.Linear(num_inputs, NUM_HIDDEN), nn.ReLU()),
        *(nn.Dropout(), nn.Linear(NUM_HIDDEN, NUM_HIDDEN), nn.ReLU()),
        nn.Linear(NUM_HIDDEN, num_classes),
    ]
