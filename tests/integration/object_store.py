"""A real object store for tests: rclone, out of its wheel, serves a folder as S3, a bucket each folder in it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.integration.harness import PASSWORD, PATIENCE_S, free_port, wait_until

BUCKET = "models"
KEY = "AKIATESTER"


class ObjectStore:
    """A server with one bucket, that can be stopped, killed and started again.

    Args:
        folder: Where its buckets are, a folder each, with its objects as files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bucket.mkdir(parents=True)
        self._address = "127.0.0.1", free_port()
        self._command = [
            str(Path(sysconfig.get_path("scripts")) / "rclone"), "serve", "s3", str(folder), "--config", "",
            "--addr", ":".join(map(str, self._address)), "--auth-key", f"{KEY},{PASSWORD}", "--etag-hash", "",
        ]  # fmt: skip
        self.start()

    @property
    def bucket(self) -> Path:
        """The folder of the bucket."""
        return self.folder / BUCKET

    @property
    def environment(self) -> Mapping[str, str]:
        """What says to who uses it where it is, and who asks."""
        return {
            "AWS_ENDPOINT_URL": "http://{}:{}".format(*self._address),
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
        }

    def url(self, prefix: str = "") -> str:
        """The URL of the bucket, or of what begins with a prefix there."""
        return f"s3://{BUCKET}/{prefix}"

    def objects(self) -> list[str]:
        """The keys of all objects."""
        return sorted(str(path.relative_to(self.bucket)) for path in self.bucket.rglob("*") if path.is_file())

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._listens, "the object store listens")

    def kill(self) -> None:
        """Kill it without notice; who is connected is told."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self) -> None:
        """Have it go silent: who is connected hears nothing more."""
        self.process.send_signal(signal.SIGSTOP)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(self._address):
            return True
        return False


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """A server that ends with the block."""
    started = ObjectStore(folder)
    try:
        yield started
    finally:
        started.kill()
