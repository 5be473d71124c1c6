"""Telling what the algorithm asks before anybody trains."""

from __future__ import annotations

from tasks import arrays, auxiliary
from tasks.blobs.blob import describe
from tasks.context import TimeBudget
from tasks.messages import Response, Status
from tasks.orders.survey import SurveyOrder
from worker.client import Client
from worker.compressing import Packing
from worker.local_state import LocalState
from worker.local_training import survey_locally
from worker.update_orders import TOO_LATE, receive, send


def handle(client: Client, order: SurveyOrder) -> Response:
    """Put what the algorithm wants to know before anybody trains into the blob store."""
    time_left_s = client.time_left_s(order)
    if time_left_s <= 0:
        return order.respond(Status.FAILED, reason=TOO_LATE)
    latest = client.connection.time() + time_left_s + order.turn_timeout_s
    packing = Packing(order, client.folder, client.allowed)
    received = receive(client, order, packing, LocalState(client.folder, order.run_id), comes_twice=True)
    context = client.context(order, TimeBudget(time_left_s))
    found = survey_locally(client.workload, client.data.train, order, received, context, client.allowed)
    packed = packing.pack({}, auxiliary.join({}, auxiliary.widened(found)), frozenset)
    pieces = list(arrays.encode(packed.arrays))
    update = describe(order.update_blob, pieces)
    response = order.respond(Status.SURVEYED, num_examples=client.data.num_train, update=update)
    send(client, order, update, pieces, latest)
    return response
