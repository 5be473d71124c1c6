"""A server whose users are those of an enrolled federation, each under its own rules, and what it has denied them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from redis import Redis

from tasks.broker.rules import ORCHESTRATOR, client_rules, orchestrator_rules, user_name
from tests.integration import harness


@dataclass(frozen=True)
class Ruled:
    """A server, and how it is reached by whom."""

    server: harness.Server

    @property
    def orchestrator(self) -> str:
        """The URL of orchestrators."""
        return self._url(ORCHESTRATOR)

    def client(self, client_id: str) -> str:
        """The URL of a client, or of the worker whose clients' ids begin with this."""
        return self._url(user_name(client_id))

    def connection_of(self, client_id: str, user: str = "") -> Redis:
        """A client for the server with the credential of a client of the federation, or of another user."""
        return Redis(
            unix_socket_path=str(self.server.socket),
            username=user or user_name(client_id),
            password=harness.PASSWORD,
            driver_info=None,
        )

    def denied(self) -> list[tuple[str, str]]:
        """Who was denied what, last first."""
        return [(str(entry["username"]), str(entry["object"])) for entry in self.server.client.acl_log()]

    def stored(self) -> dict[bytes, bytes | None]:
        """All that is there."""
        admin = self.server.client
        return {key: admin.dump(key) for key in admin.scan_iter()}

    def _url(self, user: str) -> str:
        return f"redis+socket://{user}:{harness.ENCODED}@{self.server.socket}"


@contextmanager
def ruled(clients: Mapping[str, int | None]) -> Iterator[Ruled]:
    """A server that ends with the block.

    Args:
        clients: Client id -> None, or how many clients a worker serves whose ids begin with it.
    """
    users = {ORCHESTRATOR: orchestrator_rules()}
    users |= {user_name(client_id): client_rules(client_id, count) for client_id, count in clients.items()}
    words = [("--user", user, "on", f">{harness.PASSWORD}", *rules) for user, rules in users.items()]
    options = ("--enable-debug-command", "yes")  # else nobody may, whatever the rules
    with harness.server(*options, *(word for each in words for word in each)) as server:
        yield Ruled(server)
