"""Updates in the blob store, where clients put them: where that is, how much is there of one, how to remove it."""

from __future__ import annotations

from collections.abc import Iterable

from celeriac.algorithms import MAX_SENT
from orchestrator.config import RunConfig
from orchestrator.store.run_folder import RunFolder
from tasks.blobs.blob import BlobStore
from tasks.blobs.in_files import linked_url

HEADER_SLACK_BYTES = 2**16
"""How much longer than the model's an update's encoding may be: another writer may lay out its header otherwise."""


def blobs_url(config: RunConfig, folder: RunFolder, broker_url: str) -> str:
    """Return where a run's blobs are: where ``--blobs`` says, else in its folder if it is local, else at the broker."""
    return config.blobs or (linked_url(folder.blobs) if config.local else broker_url)


def discard_updates(store: BlobStore, updates: Iterable[str], model_bytes: int, results_bytes: int) -> None:
    """Take updates out of the blob store, whatever their clients say of their length.

    Args:
        store: The blob store.
        updates: Their names.
        model_bytes: How long the model is.
        results_bytes: How long an update's results may be.
    """
    store.discard(updates, _most_bytes(model_bytes, results_bytes))


def bytes_sent(store: BlobStore, update: str, model_bytes: int, results_bytes: int) -> int:
    """Return how much of an update is in the blob store by now; see :func:`discard_updates`."""
    return store.num_bytes(update, _most_bytes(model_bytes, results_bytes))


def most_of_client(model_bytes: int, num_sets: int, results_bytes: int) -> int:
    """Return how much a client may have in the blob store: an update on its way, one that is late, and as much again.

    A server may take a quarter more for what it keeps. An update's sets are as wide as float32 even if the model isn't,
    and small arrays that are compressed have a longer header.

    Args:
        model_bytes: How long the model is.
        num_sets: Sets of arrays that come with an update.
        results_bytes: How long an update's results may be.
    """
    return 4 * (model_bytes * (1 + 2 * num_sets) + results_bytes + HEADER_SLACK_BYTES)


def _most_bytes(model_bytes: int, results_bytes: int) -> int:
    """Return how long an update may be: model, results, and as many sets of arrays as an algorithm sends at most."""
    return model_bytes * (1 + MAX_SENT) + results_bytes + HEADER_SLACK_BYTES
