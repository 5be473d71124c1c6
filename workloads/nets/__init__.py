"""Nets for the built-in image workloads, a file each: functions that return a model for images of a given size."""

from __future__ import annotations

NETS = {
    "2nn": "workloads.nets.two_nn:two_nn",
    "cnn": "workloads.nets.cnn:cnn",
    "lenet5": "workloads.nets.lenet5:lenet5",
    "linear": "workloads.nets.linear:linear",
    "mlp": "workloads.nets.mlp:mlp",
    "resnet18": "workloads.nets.resnet18:resnet18",
}
"""Names for ``net=``, and where each is defined. Looking a name up imports no torch."""
