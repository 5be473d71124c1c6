"""Reading what a client sent back. Nothing in it is trusted: whatever is wrong becomes a rejected or failed answer.

The raw document is what Celery's backend stores for a task: ``{"status", "result", …}``. It's read as plain JSON;
letting Celery read it would raise whatever exception a client made up.
"""

from __future__ import annotations

import json

from orchestrator.transport.signatures import Signatures
from orchestrator.transport.task_failures import TaskFailure
from tasks.errors import MessageError
from tasks.messages import MAX_COUNT, READY, Order, Response, Status, UpdateOrder, decode


def read_response(
    raw: bytes | str, order: Order, max_examples: int = MAX_COUNT, signatures: Signatures | None = None
) -> Response:
    """Return the answer to ``order`` in a stored result, or one that says why it isn't taken.

    Args:
        raw: What is stored.
        order: The order.
        max_examples: Examples that the client announced; its arrays can't be made of more.
        signatures: Checks that the client signed it; None: answers aren't signed.
    """
    try:
        result = _result(raw, order)
        if signatures is not None:
            signatures.check(order, result)
        said = result.get("status") if isinstance(result, dict) else None
        response = decode(order.response_of(said), result)
        _check(response, order)
        if isinstance(order, UpdateOrder) and response.num_examples > max_examples:
            raise MessageError(f"it claims {response.num_examples} examples, the client announced {max_examples}")
    except MessageError as error:
        return order.respond(Status.REJECTED, reason=str(error))
    except _TaskFailedError as error:
        status = Status.LOST if error.failure.process_died else Status.FAILED
        return order.respond(status, reason=error.failure.told(order))
    return response


def says_ready(raw: bytes | str, order: Order) -> bool:
    """Say whether what is stored is no answer yet, but says that the client is ready to send its update.

    Who was not told to wait for a turn does not wait for one, whatever it says: then it is an answer, to be refused.
    """
    if not (isinstance(order, UpdateOrder) and order.waits_for_turn):
        return False
    try:
        return bool(_document(raw, order).get("status") == READY)
    except MessageError:
        return False


class _TaskFailedError(Exception):
    """Raised when the task itself ended without an answer: its process was killed, or it isn't known there."""

    def __init__(self, failure: TaskFailure) -> None:
        super().__init__(failure.kind)
        self.failure = failure


def _document(raw: bytes | str, order: Order) -> dict[str, object]:
    if len(raw) > order.max_response_bytes:
        raise MessageError(f"the answer has {len(raw)} bytes: {order.max_response_bytes} are allowed")
    return stored_document(raw)


def stored_document(raw: bytes | str) -> dict[str, object]:
    """Return what is stored of a task.

    Raises:
        MessageError: If it isn't what a backend stores.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise MessageError("the answer is not JSON") from None
    if not isinstance(document, dict):
        raise MessageError("the answer is not a JSON object")
    return document


def _result(raw: bytes | str, order: Order) -> object:
    document = _document(raw, order)
    if document.get("status") != "SUCCESS":
        raise _TaskFailedError(TaskFailure.of(document))
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
