from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celeriac.compressors import load_compressor
from celeriac.compressors.models import pack_model
from celeriac.compressors.updates import unpack_update
from tasks import arrays
from tasks.blobs import blob
from tasks.blobs.chunks import MemoryChunks
from tasks.errors import ArraysError, ConfigurationError
from tasks.messages import Response
from tasks.names import update_name
from tasks.orders.train import TrainOrder
from tasks.workload import ClientData, TrainResult
from tests.support import PULL, Pull, train_order
from worker.client import Client
from worker.compressing import KIND
from worker.handlers import train
from worker.local_state import LocalState
from worker.settings import Allowed

OWN = "tests.support:HalfPrecision"
SIZE = 1000
MODEL = {"w": np.zeros(SIZE, np.float32)}


class Slope(Pull):
    """Adds a slope to the model, on which no two values are equal."""

    def train(self, parameters: arrays.Arrays, *_: Any, **__: Any) -> TrainResult:
        return TrainResult({"w": parameters["w"] + np.linspace(-1, 2, SIZE, dtype=np.float32)}, 2, 1, 1.0)


@pytest.fixture
def client(chunks: MemoryChunks, tmp_path: Path) -> Client:
    return Client("anna", PULL, Slope(), ClientData(None, None, 2), chunks, tmp_path, "first")


def trained(client: Client, chunks: MemoryChunks, compression: str, **changes: Any) -> tuple[Response, arrays.Arrays]:
    """Have the client train; return its answer and what it has sent."""
    order = order_of(chunks, compression, **changes)
    response = train.handle(client, order)
    assert response.update is not None
    return response, arrays.decode(chunks.get(response.update))


def order_of(chunks: MemoryChunks, compression: str, **changes: Any) -> TrainOrder:
    packed = pack_model(load_compressor(compression), MODEL)
    model = blob.publish(chunks, "fl:blob:model/run/0", arrays.encode(packed))
    values = {"parameters": model, "compression": compression}
    return train_order(**{**values, **changes})


def name_of(response: Response, round_number: int) -> str:
    assert response.update is not None
    return update_name(round_number, response.update.digest)


def decoded(sent: arrays.Arrays) -> arrays.Array:
    """Return the change that an update says."""
    zero = {"w": np.zeros(SIZE, np.float32)}
    compressor = load_compressor("topk:0.01")
    assert compressor is not None
    return dict(unpack_update(compressor, sent, zero, arrays.spec_of(zero)))["w"]


def owed(client: Client, accepted: str) -> arrays.Arrays:
    return LocalState(client.folder, "run", KIND).load(accepted)[KIND]


def test_what_an_accepted_update_lost_is_in_the_next(client: Client, chunks: MemoryChunks) -> None:
    # Given a client that sends some of the largest of 1000 changes, in 40 bytes
    response, sent = trained(client, chunks, "topk:0.01")
    first = name_of(response, 1)
    assert sorted(sent) == ["delta:moves", "delta:sizes"]
    # When its next order says that the update was accepted
    response, more = trained(client, chunks, "topk:0.01", round_number=2, accepted=first)
    # Then the second has changes that the first left out
    once, twice = decoded(sent), decoded(more)
    assert np.flatnonzero(once).tolist() == list(range(967, 1000))
    assert 0 < np.count_nonzero(twice[:967]) <= 40
    # And both together, with what is still owed, are both changes
    change = np.linspace(-1, 2, SIZE, dtype=np.float32)
    np.testing.assert_allclose(once + twice + owed(client, name_of(response, 2))["w"], 2 * change, atol=1e-6)


def test_what_a_rejected_update_lost_is_gone(client: Client, chunks: MemoryChunks) -> None:
    # Given an update that was accepted, and one after it that wasn't
    accepted, _ = trained(client, chunks, "int8")
    name = name_of(accepted, 1)
    _, rejected = trained(client, chunks, "int8", round_number=2, accepted=name)
    # When the next order still names the first, then the third update is as the second was
    _, third = trained(client, chunks, "int8", round_number=3, accepted=name)
    assert {key: values.tobytes() for key, values in third.items()} == {
        key: values.tobytes() for key, values in rejected.items()
    }
    # And with none accepted it is as the first: nothing is owed
    first, anew = (trained(client, chunks, "int8", round_number=number)[1] for number in (1, 4))
    assert {key: values.tobytes() for key, values in anew.items()} == {
        key: values.tobytes() for key, values in first.items()
    }


def test_without_compression_nothing_is_kept_and_parameters_are_sent(
    client: Client, chunks: MemoryChunks, tmp_path: Path
) -> None:
    _, sent = trained(client, chunks, "none")
    assert sent["w"].tolist() == np.linspace(-1, 2, SIZE, dtype=np.float32).tolist()
    assert list(tmp_path.iterdir()) == []


def test_a_compression_of_ones_own_is_used_only_if_the_operator_says_so() -> None:
    # Given a compression that isn't built in
    assert Allowed().find_compressor("none") is None
    assert Allowed().find_compressor("topk:0.1") is not None
    # When an order names it, then it isn't even imported unless this client's operator has named it too
    for allowed in (None, "another:ONE"):
        with pytest.raises(ConfigurationError) as caught:
            Allowed(compression=allowed).find_compressor(f"{OWN}:x")
        assert str(caught.value) == (
            f"the run's compression '{OWN}:x' is not allowed here: set CLIENT_COMPRESSION={OWN}"
        )
    # And with whatever parameter
    for allowed in (OWN, f"{OWN}:y"):
        assert Allowed(compression=allowed).find_compressor(f"{OWN}:x") is not None


def test_a_model_that_isnt_compressed_as_the_order_says_is_told(client: Client, chunks: MemoryChunks) -> None:
    order = order_of(chunks, "bf16").model_copy(update={"compression": "int8"})
    with pytest.raises(ArraysError, match="isn't packed by the compression that the order names"):
        train.handle(client, order)
