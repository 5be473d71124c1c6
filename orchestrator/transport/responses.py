"""Reading what a client sent back. Nothing in it is trusted: whatever is wrong becomes a rejected or failed answer.

The raw document is what Celery's backend stores for a task: ``{"status", "result", …}``. It's read as plain JSON;
letting Celery read it would raise whatever exception a client made up.
"""

from __future__ import annotations

import json

from tasks.errors import MessageError
from tasks.messages import MAX_COUNT, READY, Order, Response, Status, UpdateOrder, decode

MAX_RESPONSE_BYTES = 2**20


def read_response(raw: bytes | str, order: Order, max_examples: int = MAX_COUNT) -> Response:
    """Return the answer to ``order`` in a stored result, or one that says why it isn't taken.

    Args:
        raw: What is stored.
        order: The order.
        max_examples: Examples that the client announced; its arrays can't be made of more.
    """
    try:
        result = _result(raw)
        said = result.get("status") if isinstance(result, dict) else None
        response = decode(order.response_of(said), result)
        _check(response, order)
        if isinstance(order, UpdateOrder) and response.num_examples > max_examples:
            raise MessageError(f"it claims {response.num_examples} examples, the client announced {max_examples}")
    except MessageError as error:
        return order.respond(Status.REJECTED, reason=str(error))
    except _TaskFailedError as error:
        status = Status.LOST if error.kind == _POOL_PROCESS_KILLED else Status.FAILED
        why = _WHY.get(error.kind, "")
        return order.respond(status, reason=f"the client's worker gave up the order: {error.kind}{why}")
    return response


_POOL_PROCESS_KILLED = "WorkerLostError"
"""What billiard calls it when a pool process is gone."""
_OUT_OF_TIME = "TimeLimitExceeded"
"""What it calls it when a pool process had to be killed, as it went on when its time was long over."""
ASK_THE_BUDGET = ": its code went on when its time was over; train() has to ask budget.is_over() between two steps"
_UNKNOWN = "NotRegistered"
"""What Celery calls it when a worker has no task of this name."""
_WHY = {_OUT_OF_TIME: ASK_THE_BUDGET, _UNKNOWN: ": it knows no orders of this kind; CLIENT_ORDERS has it know one"}


def says_ready(raw: bytes | str, order: Order) -> bool:
    """Say whether what is stored is no answer yet, but says that the client is ready to send its update.

    Who was not told to wait for a turn does not wait for one, whatever it says: then it is an answer, to be refused.
    """
    if not (isinstance(order, UpdateOrder) and order.waits_for_turn):
        return False
    try:
        return bool(_document(raw).get("status") == READY)
    except MessageError:
        return False


class _TaskFailedError(Exception):
    """Raised when the task itself ended without an answer: its process was killed, or it isn't known there."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def _document(raw: bytes | str) -> dict[str, object]:
    if len(raw) > MAX_RESPONSE_BYTES:
        raise MessageError(f"the answer has {len(raw)} bytes: {MAX_RESPONSE_BYTES} are allowed")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise MessageError("the answer is not JSON") from None
    if not isinstance(document, dict):
        raise MessageError("the answer is not a JSON object")
    return document


def _result(raw: bytes | str) -> object:
    document = _document(raw)
    if document.get("status") != "SUCCESS":
        failure = document.get("result")
        kind = failure.get("exc_type") if isinstance(failure, dict) else document.get("status")
        raise _TaskFailedError(str(kind)[:100])
    return document.get("result")


def _check(response: Response, order: Order) -> None:
    if response.order_id != order.order_id or response.client_id != order.client_id:
        raise MessageError("the answer is for another order")
    if response.status not in order.allowed:
        raise MessageError(f"status {response.status}: allowed are {', '.join(sorted(order.allowed))}")
    if response.status is not Status.FAILED:
        order.check(response)
    wants_update = isinstance(order, UpdateOrder) and response.status is not Status.FAILED
    if wants_update != (response.update is not None):
        raise MessageError(f"an answer that is {response.status} {'needs an' if wants_update else 'has no'} update")
    if response.update is not None and response.update.name != order.update_blob:
        at = response.update.name[:200]
        raise MessageError(f"the update is said to be at {at!r} instead of {order.update_blob!r}")
