from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celeriac.algorithms import Algorithm, LocalResult, LocalTask
from tasks import arrays
from tasks.arrays import Arrays
from tasks.blobs import blob
from tasks.blobs.chunks import MemoryChunks
from tasks.context import Context
from tasks.messages import Status, Study, TrainOptions
from tasks.workload import TrainResult
from tests.support import PULL, Diverging, Pull, added_in_place
from tests.worker.asked import (
    ASKING_FIRST,
    MODEL,
    acting,
    reason,
    to_train,
)
from worker.client import Client
from worker.handlers import evaluate, set_parameters, train
from worker.models import Models
from worker.serving import Serving
from worker.settings import Allowed


def test_training_puts_an_update_into_the_store_and_says_what_was_done(client: Client, chunks: MemoryChunks) -> None:
    # Given an order to pull (1, 2, 3) towards (3, 2, 1) and (5, 2, 1) with rate 1/2, in whatever order
    order = to_train(chunks)
    # When it is carried out
    response = train.handle(client, order)
    # Then it is at (3.5, 2, 1.5) or, the other way round, at (3, 2, 1.5), after two steps
    assert (response.order_id, response.client_id, response.status) == (order.order_id, "anna", Status.TRAINED)
    assert (response.num_examples, response.num_steps, response.num_epochs) == (2, 2, 1.0)
    assert response.update is not None
    assert response.update.name == "fl:blob:update/anna/run/1"
    update = arrays.decode(chunks.get(response.update))
    assert update["point"].tolist() in ([3.5, 2.0, 1.5], [3.0, 2.0, 1.5])
    assert update["steps"].item() == 12
    # And the loss is the mean distance to the examples: at (3.5, 2, 1.5), (0.5 + 0.5)/3 and (1.5 + 0.5)/3
    expected = 0.5 if update["point"][0] == 3.5 else (0.5 / 3 + 2.5 / 3) / 2
    assert response.metrics == {"train_loss": pytest.approx(expected)}


def test_what_came_of_the_first_exchange_comes_with_the_order_to_train(client: Client, chunks: MemoryChunks) -> None:
    # Given an order to train, and the mean loss of all clients
    mean = {"@loss/point": np.full(3, 7.5, np.float32)}
    surveyed = blob.publish(chunks, "fl:blob:model/run/1/surveyed", arrays.encode(mean))
    order = to_train(chunks, algorithm=ASKING_FIRST, surveyed=surveyed)
    # When it is carried out, then the algorithm has it
    assert train.handle(replace(client, allowed=Allowed(ASKING_FIRST)), order).metrics["told"] == 7.5


def test_one_seed_gives_one_update_and_others_give_others(client: Client, chunks: MemoryChunks) -> None:
    # Given orders with equal and other seeds
    digests = []
    for seed in (1, 1, 2, 3, 4, 5, 6):
        # When they are carried out
        response = train.handle(client, to_train(chunks, seed=seed))
        assert response.update is not None
        digests.append(response.update.digest)
    # Then equal seeds give equal updates, and the others give both of the two that there are
    assert digests[0] == digests[1]
    assert len(set(digests)) == 2


def test_the_orders_parameters_stay_as_they_are(client: Client, chunks: MemoryChunks) -> None:
    # Given a model in the store, when it is trained from, then it is there still, for the others
    order = to_train(chunks)
    train.handle(client, order)
    assert arrays.decode(chunks.get(order.parameters))["point"].tolist() == [1.0, 2.0, 3.0]


def test_a_client_that_had_no_time_for_a_step_fails(client: Client, chunks: MemoryChunks) -> None:
    # Given a workload that looks at the clock before its first step, and hardly any time
    class Asking(Pull):
        def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
            assert context.budget.is_over()
            return TrainResult(parameters, 2, 0, 0.0)

    client = replace(client, workload=Asking())
    order = to_train(chunks, timeout_s=1e-9)
    # When it is to train
    response = train.handle(client, order)
    # Then there is no update
    assert (response.status, response.update) == (Status.FAILED, None)
    assert response.reason == "no step was done in the time that was given"
    assert len(chunks.chunks) == 1


def test_a_client_whose_time_ran_out_returns_what_it_has(client: Client, chunks: MemoryChunks) -> None:
    # Given an order of 5 epochs with time for hardly anything; the workload does a step before it asks
    order = to_train(
        chunks, timeout_s=1e-9, study=Study(num_rounds=1, options=TrainOptions(epochs=5, learning_rate=0.5))
    )
    # When it is carried out
    response = train.handle(client, order)
    # Then the update holds the one step of ten
    assert response.status is Status.TIMED_OUT
    assert (response.num_steps, response.num_epochs) == (1, 0.5)
    assert response.update is not None
    assert arrays.decode(chunks.get(response.update))["steps"].item() == 11


@pytest.mark.parametrize("method", [train.handle, evaluate.handle, set_parameters.handle])
def test_an_order_of_another_workload_is_a_failed_answer(client: Client, chunks: MemoryChunks, method: Any) -> None:
    # Given an order of a run that trains something else
    order = to_train(chunks, workload="mnist")
    # When it is carried out, then both are named, with what to do
    assert reason(lambda: method(client, order)) == (
        f"UnfitOrderError: the run trains the workload 'mnist', client anna has '{PULL}': set CLIENT_WORKLOAD"
    )
    assert len(chunks.chunks) == 1


def leave(_: Arrays) -> None:
    sys.exit("the data set is broken")


def claim_nothing(_: Arrays) -> None:
    assert not MODEL


def complain_at_length(_: Arrays) -> None:
    raise ValueError("device-side assert\nline two\n" + "x" * 5000)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (
            leave,
            r"train\(\): SystemExit: the data set is broken \(test_train\.py, line \d+, in leave\); see the log of",
        ),
        (claim_nothing, r"train\(\): AssertionError: assert not .*test_train\.py, line \d+, in claim_nothing"),
        (complain_at_length, r"train\(\): ValueError: device-side assert \(test_train\.py, line"),
        (lambda p: (p, 10, {}), r"train\(\) returned tuple: a TrainResult\(parameters, num_examples,"),
        (
            lambda p: TrainResult([1.0], 2, 1, 1.0),  # type: ignore[arg-type]
            r"returned parameters that are list: a dict of NumPy arrays by name is",
        ),
        (lambda p: TrainResult(dict.fromkeys(p), 2, 1, 1.0), "of which 'point' is NoneType: a dict of NumPy arrays"),  # type: ignore[arg-type]
        (lambda p: TrainResult(p, 2, 1, 1.0, {"a": {"f1": 0.5}}), r"metric 'a' of train\(\): dict is no number"),  # type: ignore[dict-item]
        (lambda p: TrainResult(p, None, 1, 1.0), "returned num_examples is NoneType: a whole number is needed"),  # type: ignore[arg-type]
        (
            lambda p: TrainResult(p, 10, 0, 1.0),
            r"^train\(\) returned num_steps=0: the number of the optimiser's steps is",
        ),
        (lambda p: TrainResult(p, 0, 0, 0.0), "^it has no training examples$"),
        (lambda p: TrainResult(p, 2, -1, 1.0), "num_steps"),
        (
            lambda p: TrainResult({"point": np.array(["text"])}, 2, 1, 1.0),
            r"^train\(\) returned parameters: array 'point' has dtype <U4",
        ),
    ],
)
def test_whatever_the_workload_raises_or_returns_is_told_as_it_was(
    client: Client, chunks: MemoryChunks, act: Callable[[Arrays], Any], expected: str
) -> None:
    # Given a workload that does something else than to train, when it is to, then the answer says what
    told = reason(lambda: train.handle(acting(client, act), to_train(chunks)))
    assert re.search(expected, told), told
    assert len(told) < 400
    # And no update is in the store, beside the model
    assert list(chunks.chunks) == ["fl:blob:model/run/0:0"]


@pytest.mark.parametrize(
    "metrics", [None, {"f32": np.float32(0.5), "i64": np.int64(3), "0d": np.array(2.0), "yes": True}]
)
def test_numbers_of_any_kind_are_metrics(client: Client, chunks: MemoryChunks, metrics: Any) -> None:
    # Given a workload whose metrics are NumPy's numbers, or none at all, when it trains, then they are in the answer
    response = train.handle(acting(client, lambda p: TrainResult(p, 2, 1, 1.0, metrics)), to_train(chunks))
    assert response.metrics == ({} if metrics is None else {"f32": 0.5, "i64": 3.0, "0d": 2.0, "yes": 1.0})


def write_and_train(task: LocalTask) -> LocalResult:
    """Write to all that the algorithm is given, and train."""
    added_in_place(task.parameters["point"])
    for arrays_of_set in task.broadcast.values():
        added_in_place(arrays_of_set["point"])
    return LocalResult(task.train(None))


WRITING = Algorithm("writing", local=write_and_train, broadcast=("c",))


STATELESS = Algorithm("stateless", local=lambda task: LocalResult(task.train(None), state={}))  # type: ignore[arg-type]


BARE = Algorithm("bare", local=lambda task: task.train(None))  # type: ignore[arg-type,return-value]


def test_an_algorithm_of_ones_own_that_writes_to_what_it_is_given_changes_nobody_elses(
    client: Client, chunks: MemoryChunks, tmp_path: Path
) -> None:
    # Given two clients of one process, and an algorithm of one's own that writes to model and broadcast
    name = f"{__name__}:WRITING"
    names, serving, models = ("anna", "bert"), Serving(), Models(are_shared=True)
    for client_id in names:
        folder, allowed = tmp_path / client_id, Allowed(name)
        serving.add(replace(client, client_id=client_id, folder=folder, allowed=allowed, models=models))
    broadcast = blob.publish(chunks, "b", arrays.encode({"@c/point": np.zeros(3, np.float32)}))
    order = to_train(chunks, algorithm=name, broadcast=broadcast, seed=5)
    # When both train with one seed, then they come to the same, and what was sent is what it was
    updates = []
    for client_id in names:
        response = train.handle(serving.find(client_id), order.model_copy(update={"client_id": client_id}))
        assert response.update is not None
        updates.append(arrays.decode(chunks.get(response.update))["point"].tolist())
    assert updates[0] == updates[1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "STATELESS",
            "returned a state that is dict: a function is needed, from what arrives of the sets that are sent",
        ),
        ("BARE", "returned TrainResult: a LocalResult is needed"),
    ],
)
def test_what_an_algorithm_of_ones_own_returns_wrongly_is_told(
    client: Client, chunks: MemoryChunks, name: str, expected: str
) -> None:
    # Given an algorithm that returns something else, when a client carries it out, then the answer says what is needed
    spec = f"{__name__}:{name}"
    assert expected in reason(
        lambda: train.handle(replace(client, allowed=Allowed(spec)), to_train(chunks, algorithm=spec))
    )


def test_parameters_that_are_gone_or_damaged_are_a_failed_answer(client: Client, chunks: MemoryChunks) -> None:
    # Given orders whose parameters are no arrays, and then are gone
    order = to_train(chunks, parameters=blob.publish(chunks, "fl:blob:model/run/1", [memoryview(b"nonsense")]))
    assert reason(lambda: train.handle(client, order)).startswith("ArraysError: ")
    chunks.chunks.clear()
    # When they are carried out, then the answers say so
    assert (
        reason(lambda: train.handle(client, order))
        == "BlobMissingError: blob 'fl:blob:model/run/1': chunk 1 of 1 is missing"
    )


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_left_out_and_said(client: Client, chunks: MemoryChunks, loss: float) -> None:
    # Given a workload whose loss is no number, which no answer can hold, when it trains, then the others are there
    metrics = {"train_loss": loss, "norm": 2.0}
    response = train.handle(acting(client, lambda p: TrainResult(p, 2, 1, 1.0, metrics)), to_train(chunks))
    assert (response.status, response.metrics) == (Status.TRAINED, {"norm": 2.0})
    assert response.reason == f"its metric train_loss is {loss}"


def test_an_update_that_is_no_number_is_sent_all_the_same(client: Client, chunks: MemoryChunks) -> None:
    # Given a workload that diverges, when it trains, then it is the orchestrator that judges
    assert train.handle(replace(client, workload=Diverging()), to_train(chunks)).status is Status.TRAINED
