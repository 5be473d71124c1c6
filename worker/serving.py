"""The clients that a worker serves: one, or many that share its processes and one queue (``CLIENT_COUNT``)."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.cores import cpu_s
from tasks.described import located
from tasks.errors import BlobError, MessageError, StoreAwayError, UnfitOrderError
from tasks.messages import Response, Status
from tasks.scope import client_queue, shared_queue
from tasks.trust.signing import Site
from tasks.user_code import SEE_LOG, UserCodeError
from worker.client import Client
from worker.identity import Identity, client_folders, take_identity, take_worker_identity
from worker.policy.protection import NotProtectedError
from worker.policy.site import SitePolicy
from worker.settings import ClientSettings

logger = logging.getLogger(__name__)

_MAX_RECENT_RESPONSES = 1000


_ABOUT_ORDERS = (MessageError, BlobError, StoreAwayError, NotProtectedError, UnfitOrderError)
"""Errors whose texts are ours, and tell of nothing but the order and the site's rules."""


class Serving:
    """The clients that this process serves, and what it answered last.

    Attributes:
        incarnation: New each time the worker starts.
        tells_errors: Whether the texts of exceptions leave with answers where there is no policy, as where the clients
            are the orchestrator's own; else their kinds do, and where they were raised.
        policy: The site's, which says it itself.
        site: The keys with which orders are checked and answers signed; None: they aren't.
    """

    def __init__(self) -> None:
        self.tells_errors = True
        self.policy = SitePolicy()
        self.site: Site | None = None
        self.incarnation = secrets.token_hex(8)
        self._clients: dict[str, Callable[[], Client]] = {}
        self._recent: dict[str, Response] = {}

    def add(self, client: Client) -> None:
        """Serve a client."""
        self.add_later(client.client_id, lambda: client)

    def add_later(self, client_id: str, load: Callable[[], Client]) -> None:
        """Serve a client that ``load`` returns whenever it is needed."""
        self._clients[client_id] = load

    def find(self, client_id: str) -> Client:
        """Return the client of this id.

        Raises:
            LookupError: If there is none.
        """
        if client_id not in self._clients:
            raise LookupError(f"this worker (process {os.getpid()}) doesn't serve client {client_id!r}")
        return self._clients[client_id]()

    def carry_out(self, act: Callable[[], Response], order_id: str, client_id: str) -> Response:
        """Return what ``act`` answers, with the time that it took; whatever it raises becomes an answer that says so.

        An order that comes twice is carried out once and answered as before, as long as the broker remembers the
        answer.
        """
        recent = self._recent.get(order_id)
        if recent is not None and client_id in self._clients and self.find(client_id).stands_by(recent):
            return recent
        started, cpu_before_s = time.monotonic(), cpu_s()
        logger.info("order %s: begun", order_id)
        try:
            response = act()
        except Exception as error:  # the boundary: a client's failure is a value
            logger.exception("client %s failed at order %s", client_id, order_id)
            reason = _told(error) if self.policy.tells_errors(otherwise=self.tells_errors) else _least(error)
            response = Response(order_id=order_id, client_id=client_id, status=Status.FAILED, reason=reason)
        took = {"duration_s": round(time.monotonic() - started, 6), "cpu_s": round(cpu_s() - cpu_before_s, 6)}
        response = response.model_copy(update=took)
        logger.info("order %s: %s after %.3f s", order_id, response.status, response.duration_s)
        self._recent[order_id] = response
        while len(self._recent) > _MAX_RECENT_RESPONSES:
            del self._recent[next(iter(self._recent))]
        return response


def _told(error: Exception) -> str:
    return f"{error}{SEE_LOG}" if isinstance(error, UserCodeError) else f"{type(error).__name__}: {error}"


def _least(error: Exception) -> str:
    """Return what may leave of an error: no text of an exception, in which there may be paths and data."""
    if isinstance(error, _ABOUT_ORDERS):
        return f"{type(error).__name__}: {error}"
    return f"{error.located if isinstance(error, UserCodeError) else located(error)}{SEE_LOG}"


@dataclass(frozen=True, slots=True)
class Served:
    """Which clients a worker serves.

    Attributes:
        identity: The worker's own: its only client's, or what the ids of its clients begin with.
        folders: Client id -> the client's folder.
        shared_queue: The queue by which the orders of several clients come; empty: it is a single client's own.
    """

    identity: Identity
    folders: Mapping[str, Path]
    shared_queue: str = ""

    @property
    def queue(self) -> str:
        """The queue by which orders come."""
        return self.shared_queue or client_queue(self.identity.client_id)


def take_clients(settings: ClientSettings) -> Served:
    """Take the identities of the clients that the settings ask for.

    Raises:
        ConfigurationError: If another worker uses one of them, or a folder can't be written.
    """
    if settings.num_clients is None:
        identity = take_identity(settings.state, settings.client_id)
        return Served(identity, {identity.client_id: identity.folder})
    identity = take_worker_identity(settings.state, settings.client_id)
    folders = client_folders(settings.state, identity.client_id, settings.num_clients)
    return Served(identity, folders, shared_queue(identity.client_id, settings.num_clients))
