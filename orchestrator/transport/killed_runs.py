"""What runs that were killed have left among the blobs: they may be taken up again, and find it there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from redis import Redis

from celeriac.algorithms import MAX_SENT
from orchestrator.store.updates import most_of_client
from tasks.scope import RunScope, index_in_update, owner_of_blob, run_of_blob


def left_by_killed(client: Redis, chunks: Mapping[bytes, str], run_ids: Collection[str]) -> set[bytes]:
    """Return which chunks are of runs that were killed: models, and of each client what updates of these may take.

    What updates may take goes by the model that is there: between two rounds there is none, and no update either.

    Args:
        client: A client for the broker.
        chunks: Keys of chunks, as they are and as texts.
        run_ids: The runs.
    """
    left = {key: (run_of_blob(text), _owner(text)) for key, text in chunks.items() if run_of_blob(text) in run_ids}
    with client.pipeline(transaction=False) as pipe:
        for key in left:
            pipe.memory_usage(key)
        sizes = pipe.execute()
    held: Counter[tuple[str, str]] = Counter()
    for whose, size_bytes in zip(left.values(), sizes, strict=True):
        held[whose] += size_bytes or 0  # it may have expired
    most = {run_id: most_of_client(held[run_id, ""], MAX_SENT, 0) for run_id in run_ids}
    return {
        key
        for key, (run_id, owner) in left.items()
        if not owner or (index_in_update(chunks[key]) is not None and held[run_id, owner] <= most[run_id])
    }


def _owner(chunk: str) -> str:
    """Return the client whose a chunk of a run is; empty if it is the run's own."""
    return "" if chunk.startswith(RunScope(run_of_blob(chunk)).own_blobs) else owner_of_blob(chunk)
