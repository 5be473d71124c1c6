"""The orchestrator's side of signatures: it signs orders, and takes no answer that its client didn't sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tasks.messages import Order, UpdateOrder, encode
from tasks.trust.signing import ANSWER, Clients, NotSignedError, check_signed, signed_order

Note = Callable[[dict[str, Any], Ed25519PublicKey], None]
"""Takes a signed answer that brings an update, and whose signature it is."""
MAX_DEPTH = 64
"""How deep lists and objects of an answer may be nested: what is kept of one can be read again from wherever."""


def ignore(_answer: dict[str, Any], _key: Ed25519PublicKey) -> None:
    """Keep nothing of it."""


class Signatures:
    """What is signed with the keys of both sides.

    Attributes:
        clients: The keys.

    Args:
        clients: The keys.
        note: Is given each answer to an order for an update, as it was signed.
    """

    def __init__(self, clients: Clients, note: Note) -> None:
        self.clients = clients
        self._note = note

    def signed(self, order: Order) -> dict[str, object]:
        """Return an order as it is sent."""
        return signed_order(order.name, encode(order), self.clients.key)

    def check(self, order: Order, answer: Any) -> None:
        """Check the signature of what came in answer to an order.

        Raises:
            NotSignedError: If it isn't its client's, or that one may take part no longer, or it is nested too deeply.
        """
        if _is_deep(answer):
            raise NotSignedError(f"it is nested deeper than {MAX_DEPTH} lists or objects")
        key = self.clients.key_of(order.client_id)
        check_signed(ANSWER, answer, key)
        if isinstance(order, UpdateOrder) and answer.get("update"):
            self._note(answer, key)


def _is_deep(value: Any) -> bool:
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        nested = [outer for outer in level if isinstance(outer, dict | list)]
        level = [inner for outer in nested for inner in (outer.values() if isinstance(outer, dict) else outer)]
        depth += bool(nested)
    return depth > MAX_DEPTH
