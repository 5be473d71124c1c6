"""Flower's older way: a server and clients that call it by gRPC, a process each (``start_server``, ``start_client``).

Run as ``python -m benchmarks.flower.legacy server ADDRESS``, or ``client ADDRESS INDEX``.
"""

from __future__ import annotations

import sys
from typing import Any

import flwr
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.strategy import FedAvg

from benchmarks.drift import Values
from benchmarks.flower.rounds import TIMEOUT_S, Record, Task, trained

MAX_MESSAGE_BYTES = 2**31 - 1


class TimedFedAvg(FedAvg):
    """Federated averaging that notes when rounds are over."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.record = Record()
        self.final: Any = None

    def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
        """Begin a round, when as many clients are there as it needs."""
        configured = super().configure_fit(server_round, parameters, client_manager)
        self.record.begin()
        return configured

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        """End a round."""
        aggregated = super().aggregate_fit(server_round, results, failures)
        self.final = aggregated[0]
        self.record.end(len(results))
        return aggregated


class Client(flwr.client.NumPyClient):
    """Client number ``index``, from 0."""

    def __init__(self, index: int) -> None:
        self._index = index

    def fit(self, parameters: list[Values], config: Any) -> tuple[list[Values], int, dict[str, Any]]:
        """Train."""
        return trained(parameters, self._index), 1, {}


def serve(address: str, task: Task) -> None:
    """Carry out the rounds."""
    strategy = TimedFedAvg(
        fraction_fit=1.0,
        fraction_evaluate=0.0,
        min_fit_clients=task.num_clients,
        min_available_clients=task.num_clients,
        initial_parameters=ndarrays_to_parameters(task.initial()),
    )
    flwr.server.start_server(
        server_address=address,
        config=flwr.server.ServerConfig(num_rounds=task.num_rounds, round_timeout=TIMEOUT_S),
        strategy=strategy,
        grpc_max_message_length=MAX_MESSAGE_BYTES,
    )
    strategy.record.write(task, parameters_to_ndarrays(strategy.final))


def main() -> None:
    """Be the server or a client, as the command line says."""
    role, address, *index = sys.argv[1:]
    if role == "server":
        serve(address, Task.of_environment())
        return
    flwr.client.start_client(
        server_address=address,
        client=Client(int(index[0])).to_client(),
        grpc_max_message_length=MAX_MESSAGE_BYTES,
        insecure=True,
    )


if __name__ == "__main__":
    main()
