from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks import arrays
from tasks.arrays import Arrays
from worker.keeping import keep

MODEL = {"point": np.array([1, 2, 3], np.float32)}
OTHER = {"point": np.array([4, 5, 6], np.float32)}


class Source:
    """Gives a model, and counts how often it was asked to."""

    def __init__(self, model: Arrays = MODEL) -> None:
        self.model = model
        self.num_asked = 0

    def __call__(self) -> Arrays:
        self.num_asked += 1
        return self.model


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember nothing of other tests."""
    monkeypatch.setattr("worker.keeping._kept", {})


def point(path: Path) -> list[float]:
    return arrays.map_file(path)["point"].tolist()


@pytest.fixture
def path(tmp_path: Path) -> Callable[[str], Path]:
    """Where a client keeps its model."""

    def of(client_id: str) -> Path:
        (tmp_path / client_id).mkdir(exist_ok=True)
        return tmp_path / client_id / "model.safetensors"

    return of


def test_clients_that_keep_one_model_share_its_bytes(path: Callable[[str], Path]) -> None:
    # Given a client that has kept a model
    source = Source()
    keep(path("anna"), "one", source)
    # When others of the same worker are given the same, one of them twice
    for client_id in ("bert", "carl", "carl"):
        keep(path(client_id), "one", source)
    # Then it was read once, each has a file, which is the same one, and nothing else is left
    assert source.num_asked == 1
    assert [point(path(client_id)) for client_id in ("anna", "bert", "carl")] == [[1.0, 2.0, 3.0]] * 3
    assert path("carl").samefile(path("anna"))
    assert list(path("carl").parent.iterdir()) == [path("carl")]


def test_a_client_that_is_given_another_model_changes_nobody_elses(path: Callable[[str], Path]) -> None:
    # Given two clients that share a file
    for client_id in ("anna", "bert"):
        keep(path(client_id), "one", Source())
    # When one of them is given another model
    keep(path("bert"), "other", Source(OTHER))
    # Then the other's is as it was
    assert point(path("anna")) == [1.0, 2.0, 3.0]
    assert point(path("bert")) == [4.0, 5.0, 6.0]


@pytest.mark.parametrize("change", ["replaced", "written to", "removed"])
def test_a_file_that_somebody_has_changed_is_not_shared(path: Callable[[str], Path], change: str) -> None:
    # Given a client that has kept a model, whose file somebody changes
    keep(path("anna"), "one", Source())
    if change == "replaced":
        arrays.write_file(path("anna"), OTHER)
    elif change == "written to":
        path("anna").write_bytes(b"something else")
    else:
        path("anna").unlink()
    # When another client is given that model, then it is read again
    source = Source()
    keep(path("bert"), "one", source)
    assert source.num_asked == 1
    assert point(path("bert")) == [1.0, 2.0, 3.0]
    assert list(path("bert").parent.iterdir()) == [path("bert")]


def test_a_file_system_without_links_gets_copies(path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file system that knows no links
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    # When two clients are given the same model, then each has its own
    for client_id in ("anna", "bert"):
        keep(path(client_id), "one", Source())
    assert point(path("bert")) == [1.0, 2.0, 3.0]
    assert not path("bert").samefile(path("anna"))
