from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import ConfigurationError
from tasks.names import check_client_id
from tests.support import modes_under, with_umask
from worker.identity import Identity, client_folders, take_identity, take_worker_identity
from worker.local_state import LocalState


@contextmanager
def taken(
    state: Path, client_id: str | None, take: Callable[[Path, str | None], Identity] = take_identity
) -> Iterator[Identity]:
    """An identity, as long as its worker lives."""
    identity = take(state, client_id)
    try:
        yield identity
    finally:
        identity.lock.close()


def test_a_named_client_has_a_folder_of_its_name(tmp_path: Path) -> None:
    # Given a folder for state that isn't there yet
    with taken(tmp_path / "deep" / "state", "anna") as identity:
        # When an identity is taken, then it has a folder, and a file that says whose
        assert (identity.client_id, identity.folder) == ("anna", tmp_path / "deep" / "state" / "anna")
        assert (identity.folder / "client_id").read_text() == "anna\n"


def test_a_second_worker_with_the_same_id_is_refused(tmp_path: Path) -> None:
    # Given a worker with an id
    with taken(tmp_path, "anna"):
        # When another asks for it, then the message names it
        with pytest.raises(ConfigurationError, match="CLIENT_ID=anna: a worker with this id is running here"):
            take_identity(tmp_path, "anna")
        # And other ids are free
        with taken(tmp_path, "bert") as other:
            assert other.client_id == "bert"


def test_an_id_is_free_again_when_its_worker_has_ended(tmp_path: Path) -> None:
    # Given a worker that ended, with a model in its folder
    with taken(tmp_path, "anna") as identity:
        (identity.folder / "model.safetensors").write_bytes(b"model")
    # When another asks for its id, then it has it, and what is in the folder
    with taken(tmp_path, "anna") as again:
        assert (again.folder / "model.safetensors").read_bytes() == b"model"
        assert (again.folder / "client_id").read_text() == "anna\n"


def test_an_unnamed_client_makes_up_an_id_and_finds_it_again(tmp_path: Path) -> None:
    # Given a worker that was asked for no id
    with taken(tmp_path, None) as first:
        assert first.client_id.startswith("client-")
        assert check_client_id(first.client_id) == first.client_id
    # When it comes back, then it is the same client
    with taken(tmp_path, None) as again:
        assert (again.client_id, again.folder) == (first.client_id, first.folder)


def test_unnamed_clients_at_once_have_ids_of_their_own_and_take_the_first_that_is_free(tmp_path: Path) -> None:
    # Given three workers at once
    with taken(tmp_path, None) as one, taken(tmp_path, None) as two, taken(tmp_path, None) as three:
        ids = sorted({one.client_id, two.client_id, three.client_id})
        assert len(ids) == 3
    # When they come back one after the other, then they take the ids in order, and a fourth makes one up
    with taken(tmp_path, None) as one, taken(tmp_path, None) as two:
        assert [one.client_id, two.client_id] == ids[:2]
        with taken(tmp_path, None) as three, taken(tmp_path, None) as four:
            assert three.client_id == ids[2]
            assert four.client_id not in ids
            one.lock.close()
            with taken(tmp_path, None) as again:
                assert again.client_id == ids[0]


def test_a_named_client_isnt_taken_for_an_unnamed_one(tmp_path: Path) -> None:
    # Given a named client that ended
    with taken(tmp_path, "anna"):
        pass
    # When an unnamed one comes, then it has another id
    with taken(tmp_path, None) as unnamed:
        assert unnamed.client_id != "anna"


@pytest.mark.parametrize("client_id", ["anna", None])
def test_a_folder_that_cant_be_made_is_told_with_the_variable(tmp_path: Path, client_id: str | None) -> None:
    # Given a file where the folder would have to be
    (tmp_path / "file").write_text("")
    # When an identity is taken, then the message says which variable names it
    with pytest.raises(ConfigurationError, match="set CLIENT_STATE"):
        take_identity(tmp_path / "file", client_id)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_what_a_client_keeps_is_its_users_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    # Given a folder of clients that another version has made for all to read
    (tmp_path / "anna").mkdir(mode=0o755)
    # When one takes its identity, and keeps something of a round
    with with_umask(umask), taken(tmp_path, "anna") as identity:
        LocalState(identity.folder, "run").save("0001-ab", {"c": {"weight": np.ones(1)}})
    # Then nobody else may look at any of it
    assert modes_under(tmp_path / "anna") == {
        ".": 0o700,
        "client_id": 0o600,
        "runs": 0o700,
        "runs/run": 0o700,
        "runs/run/after-round-0001-ab.safetensors": 0o600,
    }


def test_each_of_many_clients_has_a_folder_of_its_id(tmp_path: Path) -> None:
    # Given a worker of three clients
    with taken(tmp_path, "ward", take_worker_identity):
        # When their folders are taken, then each is the one that a worker for it alone would have
        folders = client_folders(tmp_path, "ward", 3)
    assert folders == {f"ward-{number}": tmp_path / f"ward-{number}" for number in (1, 2, 3)}
    with taken(tmp_path, "ward-2") as alone:
        assert alone.folder == folders["ward-2"]
    assert (tmp_path / "ward-3" / "client_id").read_text() == "ward-3\n"


def test_two_workers_of_many_clients_dont_go_by_one_prefix(tmp_path: Path) -> None:
    # Given a worker of many clients, when another asks for its prefix, then the message names it; a client may have it
    with taken(tmp_path, "ward", take_worker_identity), taken(tmp_path, "ward"):
        with pytest.raises(ConfigurationError, match="CLIENT_ID=ward: a worker with this id is running here"):
            take_worker_identity(tmp_path, "ward")
        # And one that asks for none gets one that is free
        with taken(tmp_path, None, take_worker_identity) as other:
            assert other.client_id.startswith("client-")


def test_a_client_that_has_a_worker_of_its_own_is_not_taken_by_one_of_many(tmp_path: Path) -> None:
    # Given a worker of one client, when another would serve it among others, then the message names it
    with (
        taken(tmp_path, "ward-2"),
        pytest.raises(ConfigurationError, match="CLIENT_ID=ward-2: a worker with this id is running here"),
    ):
        client_folders(tmp_path, "ward", 3)


def test_what_a_killed_worker_was_writing_is_removed_when_its_client_is_started_anew(tmp_path: Path) -> None:
    # Given a client's folder with files that were being written, beside others
    folder = tmp_path / "anna"
    (folder / "runs" / "run").mkdir(parents=True)
    kept = [folder / "model.safetensors", folder / "notes.tmp"]
    left = [folder / "model.safetensors.123.tmp", folder / "runs" / "run" / "after-round-0001-ab.safetensors.77.tmp"]
    for path in (*kept, *left):
        path.write_bytes(b"bytes")
    # When the client is started anew
    with taken(tmp_path, "anna"):
        # Then what was being written is gone, and nothing else
        assert [path.exists() for path in (*kept, *left)] == [True, True, False, False]
