from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tasks import arrays
from tasks.blobs.chunks import MemoryChunks
from tasks.messages import Status
from tasks.orders.survey import SurveyOrder
from tests.support import survey_order
from tests.worker.asked import (
    ASKING_FIRST,
    published,
    reason,
    to_train,
)
from worker.client import Client
from worker.handlers import survey, train
from worker.settings import Allowed
from worker.update_orders import TOO_LATE


def to_survey(chunks: MemoryChunks, **changes: Any) -> SurveyOrder:
    return survey_order(**{"parameters": published(chunks), "algorithm": ASKING_FIRST, **changes})


def test_what_an_algorithm_asks_first_is_put_into_the_store(client: Client, chunks: MemoryChunks) -> None:
    # Given an order to say what the loss is at (1, 2, 3), for examples (3, 2, 1) and (5, 2, 1)
    order = to_survey(chunks)
    # When it is carried out
    response = survey.handle(replace(client, allowed=Allowed(ASKING_FIRST)), order)
    # Then it is (4/3 + 6/3) / 2 = 5/3, of two examples, and no step was done
    assert (response.status, response.num_examples, response.num_steps) == (Status.SURVEYED, 2, 0)
    assert response.update is not None
    assert response.update.name == "fl:blob:update/anna/run/1/survey"
    sent = arrays.decode(chunks.get(response.update))
    assert {name: values.tolist() for name, values in sent.items()} == {"@loss/point": [float(np.float32(5 / 3))] * 3}


def test_the_model_is_fetched_once_for_both_exchanges(client: Client, chunks: MemoryChunks) -> None:
    # Given a client that has sent what it was asked for first
    client = replace(client, allowed=Allowed(ASKING_FIRST))
    surveyed = survey.handle(client, to_survey(chunks)).update
    # When it is to train, and the model isn't in the store any more
    order = to_train(chunks, algorithm=ASKING_FIRST, surveyed=surveyed)
    chunks.discard([order.parameters.name], order.parameters.size_bytes)
    # Then it still has it
    assert train.handle(client, order).status is Status.TRAINED


def test_an_algorithm_that_asks_nothing_first_is_not_asked(client: Client, chunks: MemoryChunks) -> None:
    # Given an order that asks what the algorithm doesn't know, or whose time is over, when it is carried out, then the
    # reason is told
    assert reason(lambda: survey.handle(client, to_survey(chunks, algorithm="fedavg"))) == (
        "UnfitOrderError: algorithm 'fedavg' has no exchange before training"
    )
    assert survey.handle(client, to_survey(chunks, deadline=1.0)).reason == TOO_LATE
