"""ResNet-50: He et al. 2016, table 1, 50 layers; by default with group normalisation (:mod:`.norms` says why)."""

from __future__ import annotations

from torch import nn

from celeriac.workloads.nets.net import ImageShape
from celeriac.workloads.nets.norms import Norm, group_norm
from celeriac.workloads.nets.residual import bottleneck, residual_net


def resnet50(image_shape: ImageShape, num_classes: int, norm: Norm = group_norm) -> nn.Module:
    """Return the model: 23,519,690 parameters on MNIST and on digits, 25,557,032 on ImageNet.

    A user's net can call it with another ``norm``.
    """
    return residual_net(image_shape, num_classes, norm, bottleneck, depths=(3, 4, 6, 3))
