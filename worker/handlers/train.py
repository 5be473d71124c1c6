"""Training."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import partial

from tasks import arrays, auxiliary, results
from tasks.blobs.blob import describe
from tasks.context import TimeBudget
from tasks.messages import Response, Status
from tasks.metrics import finite
from tasks.names import update_name
from tasks.orders.train import TrainOrder
from tasks.user_code import check_sets, user_code
from tasks.workload import TrainResult
from worker.client import Client
from worker.compressing import Packing
from worker.local_state import LocalState
from worker.local_training import train_locally
from worker.study_state import StudyState
from worker.update_orders import TOO_LATE, receive, send


def handle(client: Client, order: TrainOrder) -> Response:
    """Train from the order's parameters on the client's own data and put the update into the blob store."""
    time_left_s = client.time_left_s(order)
    if time_left_s <= 0:
        return order.respond(Status.FAILED, reason=TOO_LATE)
    latest = client.connection.time() + time_left_s + order.turn_timeout_s
    started, policy = time.monotonic(), client.allowed.policy
    packing = Packing(order, client.folder, client.allowed)
    local_state, study_state = LocalState(client.folder, order.run_id), StudyState(client.folder, order)
    comes_twice = order.surveyed is not None
    received = receive(client, order, packing, local_state, order.surveyed, comes_twice=comes_twice)
    # The update takes about as long to send as the model took to fetch.
    fetch_s = time.monotonic() - started
    budget = TimeBudget(time_left_s - min(2 * fetch_s, time_left_s / 2))
    context = client.context(order, budget, study_state, received.broadcast.get(results.KIND))
    local = train_locally(client.workload, client.data.train, order, received, context, client.allowed)
    result = local.trained
    trained = result.parameters if order.wants_parameters else {}
    if result.num_steps == 0:
        return order.respond(Status.FAILED, reason=_why_no_step(result, budget))
    policy.check_result(order, result)
    trained = policy.protected(received.model.arrays, trained, local.sent, result.results)
    sent = auxiliary.join(trained, auxiliary.widened(local.sent))
    packed = packing.pack(
        received.model.arrays if trained else {}, sent, partial(client.workload.buffer_names, context)
    )
    pieces = list(arrays.encode(results.join(packed.arrays, result.results)))
    update = describe(order.update_blob, pieces)
    name, arrived = update_name(order.round_number, update.digest), auxiliary.split(packed.beside)[1]
    with user_code(f"the state of {order.algorithm}"):
        kept = local.state(arrived)
    check_sets(kept, f"the state of {order.algorithm} is in sets")
    local_state.save(name, kept)
    study_state.save(name, context)
    packing.keep(name, packed)
    began_anew = local_state.began_anew or study_state.began_anew or packing.began_anew
    metrics = {**result.metrics, **local.metrics}
    response = order.respond(
        Status.TIMED_OUT if budget.cut_short else Status.TRAINED,
        reason=_warnings({name: metrics[name] for name in metrics if policy.may_tell(name)}, began_anew=began_anew),
        num_examples=result.num_examples,
        num_steps=result.num_steps,
        num_epochs=result.num_epochs,
        metrics=finite(metrics),
    )
    send(client, order, update, pieces, latest)
    return response.model_copy(update={"update": update})


def _warnings(metrics: Mapping[str, float], *, began_anew: bool) -> str:
    """Return what is to be told of an update that counts all the same."""
    warnings = ["what it kept with its last accepted update was gone: it began anew"] if began_anew else []
    warnings += [f"its metric {name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
    return "; ".join(warnings)


def _why_no_step(result: TrainResult, budget: TimeBudget) -> str:
    if result.num_examples == 0:
        return "it has no training examples"
    if budget.cut_short:
        return "no step was done in the time that was given"
    return (
        "train() returned num_steps=0: the number of the optimiser's steps is needed, 1 where there are none to count; "
        "an update of no steps is none"
    )
