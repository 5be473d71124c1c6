"""The "2NN" of McMahan et al. 2017 (arXiv 1602.05629), section 3: two hidden layers of 200 units with ReLU."""

from __future__ import annotations

from torch import nn

from celeriac.workloads.nets.net import ImageShape, num_values

NUM_HIDDEN = 200


def two_nn(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return the model: 199,210 parameters on MNIST, as in the paper; 55,210 on digits."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(num_values(image_shape), NUM_HIDDEN),
        nn.ReLU(),
        nn.Linear(NUM_HIDDEN, NUM_HIDDEN),
        nn.ReLU(),
        nn.Linear(NUM_HIDDEN, num_classes),
    )
