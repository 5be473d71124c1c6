"""Which store of blobs a process uses."""

from __future__ import annotations

import os
from pathlib import Path

from tasks.blobs.blob import BlobStore
from tasks.blobs.in_files import LocalBlobs
from tasks.blobs.in_redis import PATIENCE_S, RedisChunks
from tasks.broker import connection

FOLDER_VARIABLE = "FEDERATION_BLOBS"
"""Names the folder of blobs, where all processes are on one machine; the orchestrator sets it for those it starts."""


def given_folder() -> Path | None:
    """Return the folder of blobs that the environment names, or None."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder else None


def open_store(broker_url: str, folder: Path | None) -> BlobStore:
    """Return the store of blobs: ``folder``, or without one the Redis at ``broker_url``."""
    if folder is not None:
        return LocalBlobs(folder)
    return RedisChunks(connection.connect(broker_url, timeout_s=connection.CHUNK_TIMEOUT_S), patience_s=PATIENCE_S)
