"""Normalisation layers that a net of convolutions may have; which of them is the last part of its name.

- ``group``: by groups of channels (Wu and He 2018, arXiv 1803.08494). It looks at one example at a time.
- ``batch``: by batches (Ioffe and Szegedy 2015, arXiv 1502.03167). Where clients have different labels, the mean and
  variance of their batches differ, each client's model adapts to its own, and the average of such models loses much
  accuracy: Hsieh et al., "The Non-IID Data Quagmire of Decentralized Machine Learning" (2020, arXiv 1910.00189),
  section 5. Group normalisation avoids this.

Both have two parameters a channel.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Norm = Callable[[int], nn.Module]
"""From a number of channels to their normalisation layer."""

NUM_GROUPS = 32
"""Groups of each normalisation, the default of Wu and He."""


def group_norm(num_channels: int) -> nn.Module:
    """Return a layer with 32 groups of channels; their number is to be a multiple of 32."""
    return nn.GroupNorm(NUM_GROUPS, num_channels)


def batch_norm(num_channels: int) -> nn.Module:
    """Return a layer whose running means and variances are buffers of the model."""
    return nn.BatchNorm2d(num_channels)
