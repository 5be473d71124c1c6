"""Flower's current way: a ServerApp and a ClientApp, which both its deployment and its simulation run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

from benchmarks.flower.rounds import TIMEOUT_S, Record, Task, trained

server_app = ServerApp()
client_app = ClientApp()


class TimedFedAvg(FedAvg):
    """Federated averaging that notes when rounds are over."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.record = Record()

    def configure_train(self, *arguments: Any) -> Any:
        """Begin a round, when as many clients are there as it needs."""
        configured = super().configure_train(*arguments)
        self.record.begin()
        return configured

    def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> Any:
        """End a round."""
        replies = list(replies)
        aggregated = super().aggregate_train(server_round, replies)
        self.record.end(sum(not reply.has_error() for reply in replies))
        return aggregated


@server_app.main()
def serve(grid: Any, _: Any) -> None:
    """Carry out the rounds."""
    task = Task.of_environment()
    strategy = TimedFedAvg(
        fraction_train=1.0,
        fraction_evaluate=0.0,
        min_train_nodes=task.num_clients,
        min_available_nodes=task.num_clients,
    )
    result = strategy.start(grid, ArrayRecord(task.initial()), num_rounds=task.num_rounds, timeout=TIMEOUT_S)
    strategy.record.write(task, result.arrays.to_numpy_ndarrays())


@client_app.train()
def train(message: Any, context: Any) -> Any:
    """Train."""
    arrays = trained(message.content["arrays"].to_numpy_ndarrays(), int(context.node_config["partition-id"]))
    content = {"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)
