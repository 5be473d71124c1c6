"""Large models: what lies in Redis while a run goes on, and what is left after it."""

from __future__ import annotations

from pathlib import Path

from redis import Redis

from tasks.blobs.blob import CHUNK_BYTES
from tests.integration import harness
from tests.integration.harness import Field, history, part, wait_until, watched

MB = 10**6


class Watch:
    """Samples what lies in a server."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.most_models = 0
        self.most_updates = 0
        self.peak_bytes = 0

    def sample(self) -> None:
        names = {key.decode().rsplit(":", 1)[0].removeprefix("fl:blob:") for key in self._client.scan_iter("fl:blob:*")}
        updates = {name for name in names if name.startswith("update/client-")}
        self.most_updates = max(self.most_updates, len(updates))
        self.most_models = max(self.most_models, len(names - updates))
        self.peak_bytes = max(self.peak_bytes, self._client.info("memory")["used_memory"])


def test_redis_holds_the_global_model_once_and_is_empty_after_the_run(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given 40 MB of parameters and two clients
    size = {"MODEL_ELEMENTS": str(10 * MB)}
    before = broker.info("memory")["used_memory"]
    run_dir = tmp_path / "run"
    field.clients(broker, 2, **size)

    # When they train three rounds
    watch = Watch(Redis(unix_socket_path=broker.connection_pool.connection_kwargs["path"]))
    with watched(watch.sample):
        program = field.run(run_dir, "--rounds 3", broker=broker, **size)
        program.succeeds()

    # Then the model was there once at a time, with no more than the two updates beside it
    assert watch.most_models == 1
    assert 1 <= watch.most_updates <= 2
    # Beside the three the server has, for each connection that carries a chunk, a buffer as long: two clients, the
    # orchestrator, its worker. It keeps one for some seconds after the chunk has passed.
    assert 40 * MB < watch.peak_bytes - before < 3 * 40 * MB + 4 * CHUNK_BYTES + 2 * MB

    # And afterwards there is (nearly) nothing, once those buffers are given back
    assert not list(broker.scan_iter("fl:blob:*"))
    wait_until(lambda: broker.info("memory")["used_memory"] - before < 2 * MB, "the server has given the memory back")
    assert all(record["bytes_up"] > 80 * MB for record in history(run_dir))


def test_an_array_of_600_mb_passes(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given one array larger than a value of Redis may be, which is 512 MB
    size = {"MODEL_ELEMENTS": str(150 * MB)}
    run_dir = tmp_path / "run"
    field.client(broker, "client-1", **part(1, 1), **size)

    # When a client trains it
    program = field.run(run_dir, "--rounds 1 --clients 1 --epochs 1 --no-evaluate-clients", broker=broker, **size)

    # Then it is trained, and on disk
    program.succeeds(500)
    assert history(run_dir)[0]["responses"]["client-1"]["status"] == "trained"
    assert len(harness.checkpoint(run_dir, 1)) > 600 * MB
