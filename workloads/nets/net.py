"""The type of a net, and the parts that several nets share."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from tasks.errors import ConfigurationError

ImageShape = tuple[int, int, int]
"""Channels, height and width of an image."""

Net = Callable[[ImageShape, int], nn.Module]
"""From the images' shape and the number of classes to a new model.

The model takes float32 of shape ``(n, ...)``, one image a row, flat or in its shape, and returns logits
``(n, classes)``.
"""


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
