"""Models and updates in a folder that all machines mount, beside the broker."""

from __future__ import annotations

from pathlib import Path

from redis import Redis

from tests.integration import harness
from tests.integration.harness import Field, check_trained_once, history, part, wait_until, watched


def test_a_folder_that_all_mount_carries_models_and_updates(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a folder that the clients have mounted elsewhere, and a client that looks for models at the broker
    shared, mounted = tmp_path / "shared", tmp_path / "mounted"
    shared.mkdir()
    mounted.symlink_to(shared)
    clients = field.clients(broker, 3, CLIENT_BLOBS=mounted.as_uri())
    other = field.client(broker, "other", **part(1, 1))
    wait_until(lambda: "other" in harness.present(broker), "it is there")
    # When they train with it, and no two of their updates fit into what may be on its way at a time
    options = "--rounds 2 --clients 3 --in-flight-mb 0.0001"
    run_dir, seen = tmp_path / "run", set[bytes]()
    with watched(lambda: seen.update(broker.scan_iter("fl:blob:*"))):
        program = field.run(run_dir, options, f"--blobs {shared.as_uri()}", broker=broker)
        program.succeeds()
    # Then nothing of it was at the broker, nor word of a client's turn, and the model is that of clients in one process
    check_trained_once(clients, 2)
    assert seen == set()
    assert harness.checkpoint(run_dir, 2) == harness.checkpoint(harness.undisturbed(tmp_path, rounds=2, clients=3), 2)
    # And nothing of the run is left in the folder
    assert [path.name for path in shared.iterdir()] == [".identity"]
    # And the client that looks elsewhere took no part, and both sides say which settings don't agree
    assert history(run_dir)[0]["cohort"] == ["client-1", "client-2", "client-3"]
    identity = f"file:{(shared / '.identity').read_text()}"
    why = f"its models and updates are in broker (CLIENT_BLOBS), the run's in {identity} (--blobs)"
    assert f"client other passed over: {why}" in program.output
    assert f"client other: passed over by the run: {why}" in other.output


def test_a_client_whose_folder_isnt_there_ends_and_says_so(field: Field, broker: Redis) -> None:
    # Given a client whose folder of blobs isn't mounted, when it is started, then it ends with what is wrong
    client = field.client(broker, "client-1", **part(1, 1), CLIENT_BLOBS="file:///nowhere/at/all")
    assert client.wait() == 2
    assert "error: blobs 'file:///nowhere/at/all': there is no such folder here" in client.output
