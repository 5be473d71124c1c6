"""Nets for the built-in image workloads, a file each: functions that return a model for images of a given size."""

from __future__ import annotations

NETS = {
    "2nn": "celeriac.workloads.nets.two_nn:two_nn",
    "cnn": "celeriac.workloads.nets.cnn:cnn",
    "lenet5": "celeriac.workloads.nets.lenet5:lenet5",
    "linear": "celeriac.workloads.nets.linear:linear",
    "mlp": "celeriac.workloads.nets.mlp:mlp",
    "resnet18": "celeriac.workloads.nets.resnet18:resnet18",
}
"""Names for ``net=``, and where each is defined. Looking a name up imports no torch."""
