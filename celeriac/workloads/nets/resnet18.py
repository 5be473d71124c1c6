"""ResNet-18: He et al. 2016, table 1, 18 layers; by default with group normalisation (:mod:`.norms` says why)."""

from __future__ import annotations

from torch import nn

from celeriac.workloads.nets.net import ImageShape
from celeriac.workloads.nets.norms import Norm, group_norm
from celeriac.workloads.nets.residual import basic, residual_net


def resnet18(image_shape: ImageShape, num_classes: int, norm: Norm = group_norm) -> nn.Module:
    """Return the model: 11,172,810 parameters on MNIST and on digits, 11,689,512 on ImageNet.

    A user's net can call it with another ``norm``.
    """
    return residual_net(image_shape, num_classes, norm, basic, depths=(2, 2, 2, 2))
