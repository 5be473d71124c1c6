"""A perceptron with one hidden layer of 128: the default for digits."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from celeriac.workloads.nets.net import ImageShape, num_values

NUM_HIDDEN = 128


def mlp(image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Return the model: 9,610 parameters on digits, 101,770 on MNIST.

    The linear layers are named ``0`` and ``2``, as if there were no flattening layer before them.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["flatten"] = nn.Flatten()
    layers["0"] = nn.Linear(num_values(image_shape), NUM_HIDDEN)
    layers["1"] = nn.ReLU()
    layers["2"] = nn.Linear(NUM_HIDDEN, num_classes)
    return nn.Sequential(layers)
