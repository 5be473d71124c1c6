"""The type of a net, and the parts that several nets share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn

from celeriac.workloads.nets import NETS, NORMS, parse_net
from tasks.errors import ConfigurationError
from tasks.plugins import load_function

LARGE = 64
"""Least height and width of images for which a net has its paper's form for ImageNet, where it has two."""

ImageShape = tuple[int, int, int]
"""Channels, height and width of an image."""

Net = Callable[[ImageShape, int], nn.Module]
"""From the images' shape and the number of classes to a new model.

The model takes float32 of shape ``(n, ...)``, one image a row, flat or in its shape, and returns logits
``(n, classes)``.
"""


@functools.cache
def load_net(spec: str, image_shape: ImageShape, num_classes: int) -> Net:
    """Return a net by ``NAME[:NORM]`` or ``module:function``, after trying it on images of this shape.

    Those that come with the project are tried on torch's ``meta`` device, on which a model takes no memory.

    Raises:
        UnknownNameError: If there is no such name.
        LoadError: If it can't be imported or can't be called.
        ConfigurationError: If it doesn't take such images, or such a normalisation.
    """
    name, norm = parse_net(spec)
    function = load_function("net", name, NETS)
    net: Net = functools.partial(function, norm=load_function("normalisation", norm, NORMS)) if norm else function
    with torch.random.fork_rng(devices=()), torch.device("meta") if name in NETS else nullcontext():
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


def is_large(image_shape: ImageShape) -> bool:
    """Say whether images are of :data:`LARGE` pixels or more on both sides."""
    return min(image_shape[1:]) >= LARGE


def padded(image_shape: ImageShape, least: int) -> nn.Module:
    """Return a layer that puts zeros around images with a side under ``least``, as far as that."""
    _, height, width = image_shape
    below, right = max(least - height, 0), max(least - width, 0)
    return nn.ZeroPad2d((right // 2, right - right // 2, below // 2, below - below // 2))


def draw_weights(model: nn.Module) -> nn.Module:
    """Draw the weights of all convolutions and linear layers but the last, set their biases to 0, and return the model.

    He et al., "Delving Deep into Rectifiers" (2015, arXiv 1502.01852), equation 10: with variance 2 / inputs, which
    lasts from layer to layer. torch's own draws have a sixth of it, and from them deep nets without normalisation don't
    learn. The paper's draws are normal; these are uniform, as torch's.
    """
    *before_relus, _ = (layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    for layer in before_relus:
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return model
