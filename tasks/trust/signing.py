"""Signatures over orders, answers and announcements (Ed25519, RFC 8032).

What is signed is the message as JSON without blanks, its keys sorted, behind a word for what it is: a signed answer is
no order, and an order to evaluate none to train, whatever fields they share. A message that is read and written again
has the same bytes, as Python writes a float by the digits that give it back.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tasks.errors import MessageError

SIGNATURE = "signature"
"""Field of a signed message."""
ANSWER, ANNOUNCEMENT = "answer", "announcement"
SIGNATURE_LENGTH = 88
"""Characters of a signature."""


class NotSignedError(MessageError):
    """Raised when a message isn't signed by whom it should be."""


class Clients(Protocol):
    """The orchestrator's side: its key, and those of the clients that may take part."""

    @property
    def key(self) -> Ed25519PrivateKey:
        """The orchestrator's key."""

    def key_of(self, client_id: str) -> Ed25519PublicKey:
        """Return a client's key.

        Raises:
            NotSignedError: If there is no such client, or it may take part no longer; the message says which.
        """


@dataclass(frozen=True, slots=True)
class Site:
    """A client's side.

    Attributes:
        key: The client's, or that of the worker that serves many.
        orchestrator: The key of the orchestrator whose orders it carries out.
    """

    key: Ed25519PrivateKey
    orchestrator: Ed25519PublicKey

    def check_order(self, name: str, message: object, task_id: str) -> None:
        """Check that an order is the orchestrator's, and that it is the one for which this task was sent.

        Args:
            name: Its kind's, by which the task that carries it is named.
            message: The order as it came.
            task_id: The task's id, under which its answer will be stored.

        Raises:
            NotSignedError: If it isn't.
        """
        try:
            check_signed(_order(name), message, self.orchestrator)
        except NotSignedError as error:
            raise NotSignedError(f"the order isn't the orchestrator's: {error}") from None
        if not isinstance(message, dict) or message.get("order_id") != task_id:
            raise NotSignedError(f"the order isn't the one of task {task_id[:200]}")

    def signed_answer(self, message: Mapping[str, object]) -> dict[str, object]:
        """Return an answer with its signature."""
        return signed(ANSWER, message, self.key)


def signed_order(name: str, message: Mapping[str, object], key: Ed25519PrivateKey) -> dict[str, object]:
    """Return an order of a kind with the orchestrator's signature."""
    return signed(_order(name), message, key)


def _order(name: str) -> str:
    return f"order/{name}"


def signed(what: str, message: Mapping[str, object], key: Ed25519PrivateKey) -> dict[str, object]:
    """Return a message with its signature.

    Args:
        what: What it is, like ``answer`` or ``order/train``.
        message: Its fields, as JSON can hold them.
        key: Whose it is.
    """
    signature = key.sign(_to_sign(what, message))
    return {**message, SIGNATURE: base64.b64encode(signature).decode()}


def check_signed(what: str, message: object, key: Ed25519PublicKey) -> None:
    """Check a message's signature.

    Args:
        what: What the message has to be.
        message: As it came out of JSON.
        key: Whose it has to be.

    Raises:
        NotSignedError: If it isn't signed, or by another, or as something else, or was changed.
    """
    signature = message.get(SIGNATURE) if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(signature, str) or len(signature) != SIGNATURE_LENGTH:
        raise NotSignedError("it isn't signed")
    try:
        key.verify(base64.b64decode(signature, validate=True), _to_sign(what, message))
    except (InvalidSignature, binascii.Error, ValueError, RecursionError):
        raise NotSignedError("its signature isn't right: it was changed, or is another's") from None


def _to_sign(what: str, message: Mapping[str, object]) -> bytes:
    fields = {name: value for name, value in message.items() if name != SIGNATURE}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"celeriac {what}\n{text}".encode()
