"""The type of a net, and the parts that several nets share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from celeriac.workloads.nets import NETS
from tasks.errors import ConfigurationError
from tasks.plugins import load_function

ImageShape = tuple[int, int, int]
"""Channels, height and width of an image."""

Net = Callable[[ImageShape, int], nn.Module]
"""From the images' shape and the number of classes to a new model.

The model takes float32 of shape ``(n, ...)``, one image a row, flat or in its shape, and returns logits
``(n, classes)``.
"""


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


def num_values(image_shape: ImageShape) -> int:
    """Return how many values an image has."""
    channels, height, width = image_shape
    return channels * height * width


def as_images(image_shape: ImageShape) -> nn.Sequential:
    """Return a layer without parameters that reshapes rows to images ``(n, channels, height, width)``."""
    return nn.Sequential(nn.Flatten(), nn.Unflatten(1, image_shape))


def check_size(net: str, image_shape: ImageShape, least: int) -> None:
    """Refuse images that are too small for a net.

    Raises:
        ConfigurationError: If height or width is under ``least``.
    """
    _, height, width = image_shape
    if min(height, width) < least:
        raise ConfigurationError(
            f"net {net!r} takes images of {least}x{least} pixels or more, these have {height}x{width}: take another"
        )
