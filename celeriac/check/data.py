"""The initial model, the clients' data and the orchestrator's: what is needed before anybody trains."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from celeriac.check.examples import same
from celeriac.check.trial import NUM_CLIENTS, SEED, Finding, Note, Said, Trial, digest_of
from tasks.arrays import Arrays, encoded_size, is_float, spec_of
from tasks.described import first_of
from tasks.user_code import checked_buffers, checked_client_data, checked_parameters, declared_results
from tasks.workload import ClientData, DataSource, Part, Workload


@dataclass(frozen=True, slots=True)
class TriedClient:
    """A client: its workload, the data that this has loaded, and of which part, for messages."""

    client_id: str
    workload: Workload
    data: ClientData
    of_part: str


def try_model(trial: Trial) -> Generator[Said, None, Arrays]:
    """Try ``initial_parameters`` and ``buffer_names``, and return the initial model."""
    workload = trial.workload()
    model = _initial(trial, workload, SEED)
    if odd := not_finite(model):
        yield Finding(f"initial_parameters() returned values that are NaN or infinite, in {odd}")
    elif digest_of(model) != digest_of(_initial(trial, trial.workload(), SEED)):
        yield Finding(
            "initial_parameters() returned another model when it was called again with the same seed: "
            "draw from context.rng, or seed with context.seed"
        )
    spec = spec_of(model)
    dtypes = ", ".join(sorted({entry.dtype for entry in spec.values()}))
    num_values, size = sum(values.size for values in model.values()), encoded_size(spec)
    whole = f"{len(spec)} arrays of {dtypes}: {num_values:,} values, {size / 1e6:,.2f} MB"
    yield Note("initial_parameters", whole if spec else "none: training returns results alone")
    names = checked_buffers(trial.call("buffer_names()", workload.buffer_names, trial.context(workload)))
    if unknown := sorted(names - model.keys()):
        yield Finding(f"buffer_names() returned names that no parameter has: {first_of([*map(repr, unknown)])}")
    return model


def try_client_data(trial: Trial) -> Generator[Said, None, list[TriedClient]]:
    """Try ``client_data``, and return two clients, or one where there is nothing to split."""
    started = time.perf_counter()
    num_clients = NUM_CLIENTS if trial.workload().splits_data else 1
    clients = [load_client(trial, index) for index in range(num_clients)]
    took_s = time.perf_counter() - started
    counts = " and ".join(f"{client.data.num_train:,}" for client in clients)
    labels = {label for client in clients for label in client.data.labels}
    said_labels = f" of {len(labels)} labels" if labels else ""
    yield Note("client_data", f"{counts} training examples{said_labels}, loaded in {took_s:.1f} s")
    for client in clients:
        if client.data.num_train == 0:
            yield Finding(f"client_data(){client.of_part} returned no training examples: num_train=0")
    first = clients[0].data
    if num_clients > 1 and same(first.train, clients[1].data.train):
        yield Finding(
            "client_data() returned the same training examples for parts 1 and 2 of 2: go by source.part, "
            "or set splits_data = False where each client has data of its own"
        )
    if same(first.train, load_client(trial, 0).data.train) is False:
        yield Finding(
            f"client_data(){clients[0].of_part} returned other training examples when it was called again: "
            "a worker that is started anew loads them anew; draw with the part's own seed"
        )
    return clients


def try_holdout(trial: Trial) -> Generator[Said, None, Any]:
    """Try ``holdout_data``, and return it."""
    holdout = trial.call("holdout_data()", trial.workload().holdout_data, trial.folder)
    if holdout is None:
        yield Note("holdout_data", "none: a run's rounds are shown with the clients' training loss alone")
    else:
        yield Note("holdout_data", f"{type(holdout).__name__}{_size(holdout)}")
    return holdout


def load_client(trial: Trial, index: int) -> TriedClient:
    """Return a client with what ``client_data`` of a workload of its own returned."""
    workload = trial.workload()
    source = DataSource(trial.folder, Part(index, NUM_CLIENTS)) if workload.splits_data else DataSource(trial.folder)
    of_part = f" of part {source.part}" if workload.splits_data else ""
    data = checked_client_data(trial.call(f"client_data(){of_part}", workload.client_data, source))
    return TriedClient(f"client-{index + 1}", workload, data, of_part)


def not_finite(arrays: Arrays) -> str:
    """Return the names of the arrays with values that are NaN or infinite; empty if there are none."""
    odd = [repr(name) for name, values in arrays.items() if is_float(values.dtype) and not np.isfinite(values).all()]
    return first_of(odd)


def _initial(trial: Trial, workload: Workload, seed: int) -> Arrays:
    context = trial.context(workload, seed=seed, round_number=0)
    returned = trial.call("initial_parameters()", workload.initial_parameters, context)
    return checked_parameters(returned, may_be_none=bool(declared_results(workload, context)))


def _size(examples: Any) -> str:
    try:
        return f" of {len(examples):,}"
    except TypeError:
        return ""
