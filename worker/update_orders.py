"""What orders have in common whose answer comes with arrays: what they refer to, and how the arrays are sent."""

from __future__ import annotations

from collections.abc import Sequence

from tasks import arrays, auxiliary
from tasks.blobs.blob import BlobRef
from tasks.messages import UpdateOrder
from worker.client import Client
from worker.compressing import Packing
from worker.local_state import LocalState
from worker.local_training import Received

TOO_LATE = "the order's time was over before it was taken up"


def receive(
    client: Client,
    order: UpdateOrder,
    packing: Packing,
    local_state: LocalState,
    surveyed: BlobRef | None = None,
    *,
    comes_twice: bool,
) -> Received:
    """Return what an order refers to.

    Args:
        client: The client.
        order: The order.
        packing: How it is compressed.
        local_state: What the client has kept.
        surveyed: The aggregate of the round's first exchange.
        comes_twice: Whether the round has two exchanges, whose orders refer to the same.
    """
    model = client.fetch(order, order.parameters, "model", packing.unpack, keep=comes_twice)
    beside: dict[str, arrays.Arrays] = {}
    for kind, ref in (("broadcast", order.broadcast), ("surveyed", surveyed)):
        if ref is not None:
            beside |= auxiliary.split(client.fetch(order, ref, kind, packing.unpack, keep=comes_twice).arrays)[1]
    return Received(model, beside, local_state.load(order.accepted))


def send(client: Client, order: UpdateOrder, update: BlobRef, pieces: Sequence[memoryview], latest: float) -> None:
    """Put an update into the blob store, when it is its turn.

    That must be by ``latest``, by the broker's clock: others may wait for this process.
    """
    if order.waits_for_turn:
        client.say_ready()
        client.connection.wait_for_turn(update.name, order.run_id, timeout_s=latest - client.connection.time())
    client.blobs.put(update, pieces)
