"""Nets for the built-in image workloads, a file each: functions that return a model for images of a given size."""

from __future__ import annotations

from tasks.errors import ConfigurationError
from tasks.plugins import check_spec, near_name, split_spec

NETS = {
    "2nn": "celeriac.workloads.nets.two_nn:two_nn",
    "alexnet": "celeriac.workloads.nets.alexnet:alexnet",
    "cnn": "celeriac.workloads.nets.cnn:cnn",
    "lenet5": "celeriac.workloads.nets.lenet5:lenet5",
    "linear": "celeriac.workloads.nets.linear:linear",
    "mlp": "celeriac.workloads.nets.mlp:mlp",
    "resnet18": "celeriac.workloads.nets.resnet18:resnet18",
    "resnet50": "celeriac.workloads.nets.resnet50:resnet50",
    "vgg16": "celeriac.workloads.nets.vgg16:vgg16",
    "vit": "celeriac.workloads.nets.vit:vit",
}
"""Names for ``net=``, and where each is defined. Looking a name up imports no torch."""
NORMS = {
    "batch": "celeriac.workloads.nets.norms:batch_norm",
    "group": "celeriac.workloads.nets.norms:group_norm",
}
"""Names for NORM in ``net=NAME:NORM``, and where each is defined."""
FORMS = {"resnet18": "resnet18[:NORM]", "resnet50": "resnet50[:NORM]", "vgg16": "vgg16[:NORM]"}
"""Nets whose normalisation can be chosen, and how to write it: each takes it as its ``norm``."""


def parse_net(spec: str) -> tuple[str, str]:
    """Return a net's name, or ``module:function``, and the name of its normalisation; empty if that is the net's own.

    Raises:
        UnknownNameError: If there is no such net.
        LoadError: If there is no such module.
        ConfigurationError: If there is no such normalisation, or the net takes none.
    """
    name, norm = split_spec(spec, NETS)
    check_spec("net", name, NETS)
    if name in FORMS and norm not in ("", *NORMS):
        raise ConfigurationError(f"net {spec!r}: {norm!r} is no normalisation: {near_name(norm, NORMS)}")
    if name not in FORMS and ":" in spec.removeprefix(name):
        takers = ", ".join(FORMS.values())
        raise ConfigurationError(f"net {spec!r}: {name} takes nothing after a colon, as {takers} do")
    return name, norm
