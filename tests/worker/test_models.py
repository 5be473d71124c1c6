from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks import arrays
from tasks.arrays import Arrays, copied
from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.blobs.chunks import MemoryChunks
from worker.local_training import Fetched
from worker.models import Models

MODEL = {"point": np.array([1, 2, 3], np.float32)}
OTHER = {"point": np.array([4, 5, 6], np.float32)}


def fetching(value: float, fetched: list[float]) -> Callable[[], Fetched]:
    def fetch() -> Fetched:
        fetched.append(value)
        arrays = {"w": np.full(2, value)}
        return Fetched(arrays, lambda: copied(arrays))

    return fetch


def test_a_model_is_fetched_once_for_all_clients_and_the_last_is_kept() -> None:
    # Given a process that was asked for two models and a broadcast
    models = Models()
    fetched: list[float] = []
    first = models.get("model", "a", fetching(1, fetched))
    assert models.get("model", "a", fetching(2, fetched)) is first
    models.get("broadcast", "x", fetching(3, fetched))
    # When it is asked again, then a broadcast and a model stand beside each other
    assert models.get("model", "a", fetching(4, fetched)) is first
    # And a new model takes the old one's place
    assert models.get("model", "b", fetching(5, fetched)).arrays["w"].tolist() == [5, 5]
    models.get("model", "a", fetching(6, fetched))
    models.get("broadcast", "x", fetching(7, fetched))
    assert fetched == [1, 3, 5, 6]


def test_what_could_not_be_fetched_is_not_kept() -> None:
    # Given a model that can't be fetched
    def fail() -> Fetched:
        raise OSError("the network is down")

    models = Models()
    with pytest.raises(OSError, match="down"):
        models.get("model", "a", fail)
    # When it is asked for again, then it is fetched
    fetched: list[float] = []
    models.get("model", "a", fetching(1, fetched))
    assert fetched == [1]


class Process:
    """A process that writes models into files of its clients, and counts how often one was read.

    Args:
        folder: Where the clients have their folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models = Models()
        self.blobs = Counted()

    def path(self, client_id: str) -> Path:
        """Where a client keeps its model."""
        (self.folder / client_id).mkdir(exist_ok=True)
        return self.folder / client_id / "model.safetensors"

    def write(self, client_id: str, model: Arrays = MODEL) -> None:
        """Give a client a model."""
        ref = blob.publish(self.blobs, "fl:blob:model/run/1", arrays.encode(model))
        self.models.write(self.blobs, ref, self.path(client_id))

    def point(self, client_id: str) -> list[float]:
        """Return what a client has."""
        values: list[float] = arrays.map_file(self.path(client_id))["point"].tolist()
        return values


class Counted(MemoryChunks):
    """Blobs of which it is counted how often one is read."""

    num_read = 0

    def get(self, ref: BlobRef) -> memoryview:
        self.num_read += 1
        return super().get(ref)


@pytest.fixture
def process(tmp_path: Path) -> Process:
    return Process(tmp_path)


def test_clients_that_keep_one_model_share_its_bytes(process: Process) -> None:
    # Given a client that has kept a model
    process.write("anna")
    # When others of the same worker are given the same, one of them twice
    for client_id in ("bert", "carl", "carl"):
        process.write(client_id)
    # Then it was read once, each has a file, which is the same one, and nothing else is left
    assert process.blobs.num_read == 1
    assert [process.point(client_id) for client_id in ("anna", "bert", "carl")] == [[1.0, 2.0, 3.0]] * 3
    assert process.path("carl").samefile(process.path("anna"))
    assert list(process.path("carl").parent.iterdir()) == [process.path("carl")]


def test_a_client_that_is_given_another_model_changes_nobody_elses(process: Process) -> None:
    # Given two clients that share a file
    for client_id in ("anna", "bert"):
        process.write(client_id)
    # When one of them is given another model
    process.write("bert", OTHER)
    # Then the other's is as it was
    assert process.point("anna") == [1.0, 2.0, 3.0]
    assert process.point("bert") == [4.0, 5.0, 6.0]


@pytest.mark.parametrize("change", ["replaced", "written to", "removed"])
def test_a_file_that_somebody_has_changed_is_not_shared(process: Process, change: str) -> None:
    # Given a client that has kept a model, whose file somebody changes
    process.write("anna")
    path = process.path("anna")
    if change == "replaced":
        arrays.write_file(path, OTHER)
    elif change == "written to":
        path.write_bytes(b"something else")
    else:
        path.unlink()
    # When another client is given that model, then it is read again
    process.write("bert")
    assert process.blobs.num_read == 2
    assert process.point("bert") == [1.0, 2.0, 3.0]
    assert list(process.path("bert").parent.iterdir()) == [process.path("bert")]


def test_a_file_system_without_links_gets_copies(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file system that knows no links
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    # When two clients are given the same model, then each has its own
    for client_id in ("anna", "bert"):
        process.write(client_id)
    assert process.point("bert") == [1.0, 2.0, 3.0]
    assert not process.path("bert").samefile(process.path("anna"))
