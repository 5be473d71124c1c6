from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tasks import arrays
from tasks.blobs.chunks import MemoryChunks
from tasks.messages import Status
from tasks.orders.set_parameters import SetParametersOrder
from tests.support import evaluate_order
from tests.worker.asked import (
    published,
)
from worker.client import Client
from worker.handlers import set_parameters


def test_set_parameters_are_kept_in_the_clients_folder(
    client: Client, chunks: MemoryChunks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an order to keep a model
    common = evaluate_order(parameters=published(chunks)).model_dump(exclude={"study", "seed", "accepted"})
    with caplog.at_level(logging.INFO, "worker.handlers.set_parameters"):
        response = set_parameters.handle(client, SetParametersOrder.model_validate(common))
    # When it is carried out, then the model is a file there
    assert response.status is Status.DONE
    assert arrays.map_file(tmp_path / "model.safetensors")["point"].tolist() == [1.0, 2.0, 3.0]
    # And its log says where it is
    assert [record.getMessage() for record in caplog.records] == [
        f"client anna: the model after round 1 is in {tmp_path / 'model.safetensors'}"
    ]
