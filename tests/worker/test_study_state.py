"""What a study keeps at its client: ``context.state``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.arrays import Arrays
from tasks.blobs.chunks import MemoryChunks
from tasks.context import Context, State
from tasks.evaluation import Evaluation
from tasks.messages import Response, Status
from tasks.names import update_name
from tasks.user_code import UserCodeError
from tasks.workload import TrainResult
from tests.support import Pull
from tests.worker.asked import to_evaluate, to_train
from worker.client import Client
from worker.handlers import evaluate, train


class Keeping(Pull):
    """Does something to its state in each round, and tells what it found there."""

    def __init__(self, act: Callable[[State], object]) -> None:
        self.act = act

    def train(self, parameters: Arrays, data: Any, context: Context) -> TrainResult:
        found = float(context.state.get("count", 0))
        self.act(context.state)
        return TrainResult(parameters, 2, 1, 1.0, {"found": found})

    def evaluate(self, parameters: Arrays, data: Any, context: Context) -> Evaluation:
        found = float(context.state.get("count", -1))
        context.state["count"] = 100
        return Evaluation(found, 1)


def count(state: State) -> None:
    state["count"] = state.get("count", 0) + 1
    state["sums"] = state.get("sums", np.zeros(2)) + 0.5


def asked(client: Client, chunks: MemoryChunks, number: int, accepted: Response | None = None) -> Response:
    return train.handle(client, to_train(chunks, round_number=number, accepted=name_of(accepted)))


def name_of(accepted: Response | None, number: int = 1) -> str:
    if accepted is None:
        return ""
    assert accepted.update is not None
    return update_name(number, accepted.update.digest)


def test_what_counts_is_what_belongs_to_the_last_accepted_update(client: Client, chunks: MemoryChunks) -> None:
    # Given a client that counts its rounds, and whose first update was accepted
    client = replace(client, workload=Keeping(count))
    first = asked(client, chunks, 1)
    # When its second isn't, then the third begins where the second did
    second = asked(client, chunks, 2, accepted=first)
    third = asked(client, chunks, 3, accepted=first)
    assert [each.metrics["found"] for each in (first, second, third)] == [0.0, 1.0, 1.0]
    assert (second.reason, third.reason) == ("", "")


def test_arrays_and_values_come_back_as_they_were(client: Client, chunks: MemoryChunks) -> None:
    # Given a round that left an array, a number of NumPy's and whatever JSON has
    left = {"a": np.arange(6, dtype=np.int16).reshape(2, 3), "n": np.float64(0.1), "v": {"x": [1, None, "ü"], "y": 0.5}}
    client = replace(client, workload=Keeping(lambda state: state.update(left)))
    first = asked(client, chunks, 1)
    # When the next round looks, then all of it is there, in memory that may be written to
    found: State = {}
    client = replace(client, workload=Keeping(found.update))
    asked(client, chunks, 2, accepted=first)
    assert found["v"] == left["v"]
    assert (found["a"].dtype, found["a"].tolist()) == (np.int16, [[0, 1, 2], [3, 4, 5]])
    assert float(found["n"]) == 0.1
    found["a"][0, 0] = 7


def test_evaluation_reads_it_and_changes_nothing(client: Client, chunks: MemoryChunks) -> None:
    # Given a client that has counted one round
    client = replace(client, workload=Keeping(count))
    accepted = name_of(asked(client, chunks, 1))
    order = to_evaluate(chunks).model_copy(update={"accepted": accepted})
    # When it evaluates twice, then it finds that count both times
    responses = [evaluate.handle(client, order) for _ in range(2)]
    assert [each.metrics["loss"] for each in responses] == [1.0, 1.0]


def test_a_round_that_doesnt_look_at_it_leaves_it_as_it_was(client: Client, chunks: MemoryChunks) -> None:
    # Given a client that has counted one round
    first = asked(replace(client, workload=Keeping(count)), chunks, 1)
    # When the next round has no use for the state, then the one after it finds the count, and nothing is missed
    second = asked(client, chunks, 2, accepted=first)
    order = to_train(chunks, round_number=3, accepted=name_of(second, 2))
    third = train.handle(replace(client, workload=Keeping(count)), order)
    assert third.metrics["found"] == 1.0
    assert third.reason == ""


def test_who_keeps_nothing_has_no_file(client: Client, chunks: MemoryChunks) -> None:
    # Given a workload that has no use for its state, when it has trained, then nothing was written
    assert asked(client, chunks, 1).status is Status.TRAINED
    assert list(client.folder.glob("state/**/*.safetensors")) == []


def test_a_state_that_is_gone_is_told(client: Client, chunks: MemoryChunks) -> None:
    # Given an accepted round whose state is on a disk that is gone
    client = replace(client, workload=Keeping(count))
    first = asked(client, chunks, 1)
    for path in client.folder.glob("state/**/*.safetensors"):
        path.unlink()
    # When it trains again, then it begins anew and says so
    second = asked(client, chunks, 2, accepted=first)
    assert second.metrics["found"] == 0.0
    assert "began anew" in second.reason


@pytest.mark.parametrize(
    ("left", "told"),
    [
        ({"what": object()}, "Object of type object is not JSON serializable"),
        ({"a": np.zeros(2, np.complex128)}, "array 'a' has dtype complex128"),
        ({3: "three"}, "the name 3 is int, a text is needed"),
    ],
)
def test_what_cant_be_kept_is_told_and_sends_no_update(
    client: Client, chunks: MemoryChunks, left: dict[Any, Any], told: str
) -> None:
    # Given a round that leaves something else in its state, when it trains, then that is told
    client = replace(client, workload=Keeping(lambda state: state.update(left)))
    with pytest.raises(UserCodeError, match=f"train.. left in context.state what can't be kept: {told}"):
        asked(client, chunks, 1)
