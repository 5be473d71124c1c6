"""Clients that are given orders, and the orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tasks import arrays
from tasks.arrays import Arrays
from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.blobs.chunks import MemoryChunks
from tasks.context import Context
from tasks.messages import Status, Study, TrainOptions
from tasks.orders.evaluate import EvaluateOrder
from tasks.orders.train import TrainOrder
from tasks.scope import ClientScope
from tasks.workload import TrainResult
from tests.support import Pull, evaluate_order, train_order
from worker.client import Client
from worker.connection import Connection
from worker.serving import Serving

ASKING_FIRST = "tests.support:ASKING_FIRST"

ORDER_ID = ClientScope("anna").order_id("run", 1, "train")


MODEL = {"point": np.array([1, 2, 3], np.float32), "steps": np.array(10)}


TRAIN = np.array([[3, 2, 1], [5, 2, 1]], np.float32)


TEST = np.array([[1, 2, 6], [1, 2, 3], [4, 2, 3]], np.float32)


class Noting(Connection):
    """A connection that notes how many seconds the client was told to stay away for, and knows what is answered."""

    def __init__(self) -> None:
        self.left: list[float] = []
        self.answered: set[str] = set()

    def leave(self, client_id: str, incarnation: str, seconds: float, run_id: str) -> None:
        assert (client_id, incarnation, run_id) == ("anna", "second", "run")
        self.left.append(seconds)

    def is_answered(self, order_id: str) -> bool:
        return order_id in self.answered


class Acting(Pull):
    """Does at training what it is made with, and evaluates as it is told to."""

    def __init__(
        self, act: Callable[[Arrays], Any] = lambda p: TrainResult(p, 2, 1, 1.0), evaluation: Any = None
    ) -> None:
        self.act, self.evaluation = act, evaluation

    def train(self, parameters: Arrays, *_: Any, **__: Any) -> Any:
        return self.act(parameters)

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Any:
        return self.evaluation


def acting(client: Client, act: Callable[[Arrays], Any]) -> Client:
    """A client whose workload does this where it is to train."""
    return replace(client, workload=Acting(act))


def evaluating(client: Client, evaluation: Any) -> Client:
    """A client whose workload returns this where it is to evaluate."""
    return replace(client, workload=Acting(evaluation=evaluation))


def to_evaluate(chunks: MemoryChunks) -> EvaluateOrder:
    return evaluate_order(parameters=published(chunks))


def published(chunks: MemoryChunks, parameters: Arrays = MODEL) -> BlobRef:
    return blob.publish(chunks, "fl:blob:model/run/0", arrays.encode(parameters))


def to_train(chunks: MemoryChunks, **changes: Any) -> TrainOrder:
    study = Study(num_rounds=3, options=TrainOptions(epochs=1, learning_rate=0.5))
    return train_order(**{"parameters": published(chunks), "study": study, **changes})


def reason(act: Any) -> str:
    """Carry out what must fail, as the tasks do, for the first time; return the reason that is given."""
    response = Serving().carry_out(act, ORDER_ID, "anna")
    assert (response.order_id, response.client_id) == (ORDER_ID, "anna")
    assert (response.status, response.update) == (Status.FAILED, None)
    return response.reason
