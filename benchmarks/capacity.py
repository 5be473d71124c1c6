"""How long a round lasts by what limits it, and how many clients it may have: calculated from unit costs. Pure.

Every resource is worked through as if it were alone: what it does for one client, times the clients. They work at the
same time, so a round lasts as long as the one that takes longest, which binds, and whatever training takes besides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from orchestrator.flow import slow_updates_at_a_time, updates_at_a_time

NETWORK_IN, NETWORK_OUT = "network in", "network out"
BROKER, LOOP, WORKERS, ADDING, DISK = "broker's CPU", "loop process", "own workers", "adding up", "disk"
SUM_BYTES = 2
"""Bytes of a partial sum (float64) for each byte of a model (float32)."""
MAX_CONNECTIONS = 10_000
"""``maxclients`` of Redis and Valkey where nothing else is set."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one unit of work takes, measured. Seconds are of CPU time, of one core.

    Attributes:
        broker_in_s: The server's, a byte that it is sent (``SET``).
        broker_out_s: The server's, a byte that it sends (``GET``).
        broker_client_s: The server's, a client and round, for messages.
        loop_client_s: The loop process's, a client and round.
        worker_client_s: An own worker's, an update, whatever its size.
        worker_byte_s: An own worker's, a byte of an update: to fetch, check, write, and add it.
        adding_byte_s: To add an update to the running sum, a byte: of the above, what one process does at a time.
        disk_bytes_s: Bytes a second that the disk takes in for good.
        message_in_bytes: What the server is sent a client and round, without models.
        message_out_bytes: What it sends.
        connections: What a client with a worker of its own holds open to the server.
        connection_bytes: The server's memory, a connection.
        download_bytes: The server's memory, a client that fetches the model over a line that is slower than the server.
    """

    broker_in_s: float
    broker_out_s: float
    broker_client_s: float
    loop_client_s: float
    worker_client_s: float
    worker_byte_s: float
    adding_byte_s: float
    disk_bytes_s: float
    message_in_bytes: float
    message_out_bytes: float
    connections: float
    connection_bytes: float
    download_bytes: float


@dataclass(frozen=True, slots=True)
class Site:
    """One broker and one orchestrator.

    Attributes:
        line_bytes_s: Bytes a second of the broker's line, in each direction.
        processes: Processes of the orchestrator's own workers, a core each.
        are_elsewhere: Whether these are on other machines than the broker, and fetch updates over its line.
        has_object_storage: Whether models and updates go through a storage whose lines are as wide as it takes, and the
            broker carries messages alone. What own workers fetch from it comes over a line like the broker's.
    """

    line_bytes_s: float = 125e6
    processes: int = 4
    are_elsewhere: bool = False
    has_object_storage: bool = False


def round_s(costs: Costs, site: Site, model_bytes: float, num_clients: float) -> dict[str, float]:
    """Return what each resource needs for a round, in seconds.

    Args:
        costs: Unit costs.
        site: What there is.
        model_bytes: Bytes of the model, and of an update.
        num_clients: Clients of the round.
    """
    through_broker = 0.0 if site.has_object_storage else model_bytes
    fetched = num_clients * through_broker
    bytes_in = num_clients * costs.message_in_bytes + fetched + through_broker
    bytes_out = num_clients * costs.message_out_bytes + fetched + (fetched if site.are_elsewhere else 0.0)
    if site.has_object_storage:
        bytes_in += num_clients * model_bytes
    worker_s = num_clients * (costs.worker_client_s + model_bytes * costs.worker_byte_s)
    return {
        NETWORK_IN: bytes_in / site.line_bytes_s,
        NETWORK_OUT: bytes_out / site.line_bytes_s,
        BROKER: num_clients * costs.broker_client_s
        + (fetched + through_broker) * costs.broker_in_s
        + 2 * fetched * costs.broker_out_s,
        LOOP: num_clients * costs.loop_client_s,
        WORKERS: worker_s / site.processes,
        ADDING: num_clients * model_bytes * costs.adding_byte_s,
        DISK: (num_clients + 1) * model_bytes / costs.disk_bytes_s,
    }


def binding(seconds: Mapping[str, float]) -> str:
    """Return the resource that takes longest."""
    return max(seconds, key=seconds.__getitem__)


def max_clients(costs: Costs, site: Site, model_bytes: float, period_s: float) -> dict[str, int]:
    """Return for each resource the clients with which a round takes ``period_s`` seconds of it; 0 if none does.

    All are linear in the number of clients.
    """
    none, one = (round_s(costs, site, model_bytes, count) for count in (0, 1))
    found = {}
    for name in one:
        left_s, client_s = period_s - none[name], one[name] - none[name]
        found[name] = max(0, math.floor(left_s / client_s * (1 + 1e-12)))
    return found


def max_connected(costs: Costs) -> int:
    """Return how many clients with workers of their own a server takes that allows ``MAX_CONNECTIONS``."""
    return int(MAX_CONNECTIONS // costs.connections)


@dataclass(frozen=True, slots=True)
class BrokerMemory:
    """What a broker keeps at the most, in bytes, by what it is for."""

    model: float
    updates: float
    clients: float
    downloads: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.model + self.updates + self.clients + self.downloads


def broker_memory(
    costs: Costs, model_bytes: int, num_clients: int, in_flight_bytes: float, *, are_slow: bool
) -> BrokerMemory:
    """Return the most memory that a round takes in the broker.

    Args:
        costs: Unit costs.
        model_bytes: Bytes of the model, and of an update.
        num_clients: Clients of the round.
        in_flight_bytes: ``--in-flight-mb``, in bytes.
        are_slow: Whether clients' lines are slow: an upload takes longer than ``flow.slow_after_s``, and all clients
            fetch the model at the same time. On fast lines downloads take next to nothing, as they are soon over.
    """
    limit = (slow_updates_at_a_time if are_slow else updates_at_a_time)(in_flight_bytes, model_bytes)
    return BrokerMemory(
        model=model_bytes,
        updates=min(limit, num_clients) * model_bytes,
        clients=num_clients * costs.connections * costs.connection_bytes,
        downloads=num_clients * min(costs.download_bytes, model_bytes) if are_slow else 0.0,
    )


def merging_s(costs: Costs, site: Site, model_bytes: float, num_sums: int) -> float:
    """Return what it takes to hand the model to ``num_sums`` sites, and to fetch and add their partial sums.

    A partial sum is float64 and goes through the broker of the site that merges; there it is fetched and added by one
    process. Each step begins when the one before is over, as all partial sums come at the same time.
    """
    sums_bytes = num_sums * SUM_BYTES * model_bytes
    model_out_s = num_sums * model_bytes * max(1 / site.line_bytes_s, costs.broker_out_s)
    sums_in_s = sums_bytes * max(1 / site.line_bytes_s, costs.broker_in_s)
    return model_out_s + sums_in_s + sums_bytes * (costs.worker_byte_s + costs.adding_byte_s)


def tree_round_s(costs: Costs, site: Site, model_bytes: float, fans: Sequence[int]) -> float:
    """Return how long a round lasts in a tree of sites, without training.

    Args:
        costs: Unit costs.
        site: What there is at every node of the tree: a broker, and processes that add up.
        model_bytes: Bytes of the model, and of an update.
        fans: How many each node adds up, from the leaves to the root: ``[1000]`` is one site with 1,000 clients,
            ``[100, 10]`` ten sites with 100 each, whose sums an eleventh merges.
    """
    leaves = max(round_s(costs, site, model_bytes, fans[0]).values())
    return leaves + sum(merging_s(costs, site, model_bytes, fan) for fan in fans[1:])


def best_tree(costs: Costs, site: Site, model_bytes: float, num_clients: int, depth: int) -> tuple[int, ...]:
    """Return the fans, from leaves to root, with which a round is shortest; see :func:`tree_round_s`.

    Args:
        costs: Unit costs.
        site: What there is at every node.
        model_bytes: Bytes of the model, and of an update.
        num_clients: Clients in all; a leaf has as many, rounded up, as others.
        depth: Levels that add up, 1 to 3.
    """
    if depth == 1:
        return (num_clients,)
    candidates = ((math.ceil(num_clients / math.prod(upper)), *upper) for upper in _fans(num_clients, depth - 1))
    return min(candidates, key=lambda fans: tree_round_s(costs, site, model_bytes, fans))


def _fans(num_clients: int, levels: int) -> list[tuple[int, ...]]:
    """Return fans of the levels above the leaves: ones that grow by a tenth or so, as the best is flat."""
    ones = sorted({round(1.1**power) for power in range(2, math.ceil(math.log(num_clients + 1, 1.1)))} | {2})
    tuples: list[tuple[int, ...]] = [()]
    for _ in range(levels):
        tuples = [(*upper, fan) for upper in tuples for fan in ones if math.prod(upper) * fan <= num_clients]
    return tuples


def num_sites(fans: Sequence[int]) -> int:
    """Return how many nodes add up in a tree; see :func:`tree_round_s`."""
    above = list(accumulate(reversed(fans[1:]), initial=1, func=lambda product, fan: product * fan))
    return sum(above)
