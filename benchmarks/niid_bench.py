"""What Flower's baseline niid_bench trains, after Li et al. 2022 (arXiv 2102.02079), section V."""

from __future__ import annotations

import numpy as np
from torch import nn

from celeriac.workloads.datasets.mnist import Mnist
from celeriac.workloads.examples import Indices
from celeriac.workloads.nets.net import ImageShape, as_images
from celeriac.workloads.splits import Labels, Split


class Silos(Mnist):
    """MNIST with the baseline's SGD."""

    momentum = 0.9
    weight_decay = 0.00001


def net(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return the model: 44,426 parameters on MNIST.

    Two 5x5 convolutions of 6 and 16 channels without padding, each followed by ReLU and 2x2 max pooling, then layers of
    120 and 84 units.
    """
    channels, height, width = image_shape
    num_left = ((height - 4) // 2 - 4) // 2 * (((width - 4) // 2 - 4) // 2)
    return nn.Sequential(
        as_images(image_shape),
        nn.Conv2d(channels, 6, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * num_left, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, num_classes),
    )


def one_label(_parameter: str) -> Split:
    """Return a split that gives each part all examples of one label, for as many parts as there are labels."""
    return _of_labels


def _of_labels(labels: Labels, _num_parts: int, _seed: int) -> list[Indices]:
    return [np.flatnonzero(labels == label).astype(np.int64) for label in np.unique(labels)]
