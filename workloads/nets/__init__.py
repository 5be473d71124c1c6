"""Nets for the built-in image workloads, a file each: functions that return a model for images of a given size."""

from __future__ import annotations

import functools
from typing import cast

import torch

from tasks.loading import load_function
from workloads.nets.net import ImageShape, Net

NETS = {
    "2nn": "workloads.nets.two_nn:two_nn",
    "cnn": "workloads.nets.cnn:cnn",
    "lenet5": "workloads.nets.lenet5:lenet5",
    "linear": "workloads.nets.linear:linear",
    "mlp": "workloads.nets.mlp:mlp",
    "resnet18": "workloads.nets.resnet18:resnet18",
}
"""Names for ``net=``, and where each is defined."""

__all__ = ["NETS", "ImageShape", "Net", "load_net"]


@functools.cache
def load_net(spec: str, image_shape: ImageShape, num_classes: int) -> Net:
    """Return a net by name or ``module:function``, after trying it on images of this shape.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported or can't be called.
        ConfigurationError: If it doesn't take such images.
    """
    net = cast(Net, load_function("net", spec, NETS))
    with torch.random.fork_rng(devices=()):
        net(image_shape, num_classes)
    return net
