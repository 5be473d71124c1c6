"""Options that say in short what the workload is: they become its name and its parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from celeriac.workloads.splits.niid import LEVELS
from orchestrator.options import check_together
from tasks.errors import ConfigurationError, UnknownNameError
from tasks.option import DATA, Option
from tasks.plugins import near_name
from tasks.spec import WorkloadSpec
from tasks.workload import DATA_SETS

_OWN = "the workload's own"


class WorkloadOptions(BaseModel):
    """What is short for a part of ``--workload``. The run's config has the whole spec, and none of these."""

    dataset: Annotated[str | None, Option("NAME", group=DATA)] = None
    """Short for --workload, which it excludes, with a data set that is built in: {data_sets}."""
    net: Annotated[str | None, Option("NAME[:NORM]", default=_OWN, group=DATA)] = None
    """Short for the parameter net in --workload: what model is trained: {nets}, or your own as module:function; NORM is
    one of {norms}."""
    split: Annotated[str | None, Option("NAME[:PARAMETER]", default=_OWN, group=DATA)] = None
    """Short for the parameter split in --workload: how data is shared out among the clients: {splits}, or your own as
    module:name; like dirichlet:0.1."""
    niid: Annotated[
        int | None,
        Field(ge=0, le=len(LEVELS) - 1),
        Option("LEVEL", default="the split's own", group=DATA, excludes="split"),
    ] = None
    """Short for --split niid:LEVEL: how much the clients' labels differ, from 0, not at all, on."""


def workload_of(options: Mapping[str, Any], given: Collection[str]) -> WorkloadSpec:
    """Return the workload's spec, with what is said of it in short.

    Args:
        options: All options of the command, by name.
        given: Names of the options that the user gave.

    Raises:
        ConfigurationError: If there is no such data set, or two options say the same.
    """
    check_together(WorkloadOptions(), given)
    spec = WorkloadSpec.parse(options["workload"])
    if (dataset := options["dataset"]) is not None:
        _check_dataset(dataset, spec if "workload" in given else None)
        spec = WorkloadSpec(dataset)
    if options["net"] is not None:
        spec = spec.with_parameter("net", options["net"])
    split = options["split"] if options["niid"] is None else f"niid:{options['niid']}"
    return spec if split is None else spec.with_parameter("split", split)


def _check_dataset(name: str, workload: WorkloadSpec | None) -> None:
    if workload is not None:
        raise ConfigurationError(f"--dataset {name} and --workload {workload} exclude each other: give one")
    if name not in DATA_SETS:
        hint = f"{near_name(name, DATA_SETS)}; --workload takes others and parameters"
        raise UnknownNameError("data set", name, hint)
