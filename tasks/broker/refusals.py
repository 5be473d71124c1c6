"""What a server refuses for a while only: a failover is under way, a disk is full, a file is being loaded.

Each is taken for a lost connection, by redis-py, kombu and Celery alike: what was asked for is asked for again, on a
new connection, which after a failover may lead to another server.
"""

from __future__ import annotations

import re

from redis.connection import DefaultParser
from redis.exceptions import BusyLoadingError

CODES = {
    "READONLY": "it has become a replica",
    "UNBLOCKED": "it has become a replica",
    "MASTERDOWN": "a replica without its primary",
    "MISCONF": "it can't write to its disk",
    "NOREPLICAS": "too few replicas follow it (min-replicas-to-write)",
    "BUSY": "a script keeps it busy",
    "CLUSTERDOWN": "its cluster is down",
    "LOADING": "it loads its data",
}
"""First word of a server's error -> what it means."""


_IN_SCRIPT = re.compile(rf"running script.*-({'|'.join(CODES)}) ")
"""How servers before Redis 7 tell of it in a script."""


class RefusedForNowError(BusyLoadingError):
    """Raised when the server refuses what it may soon take."""


class Parser(DefaultParser):  # type: ignore[misc,valid-type]  # one of two classes
    """Reads what a server answers, and tells refusals that pass from others."""

    @classmethod
    def parse_error(cls, response: str) -> Exception:
        """Return the exception for an error that the server tells."""
        code = response.partition(" ")[0]
        if code == "ERR" and (inner := _IN_SCRIPT.search(response)):
            code = inner[1]
        if code in CODES:
            return RefusedForNowError(f"{CODES[code]}: {response}")
        error: Exception = super().parse_error(response)
        return error


def away(error: Exception) -> str:
    """Return in words why the broker does nothing at the moment."""
    return f"the broker refuses for now: {error}" if is_refusal(error) else f"the broker can't be reached: {error}"


def is_refusal(error: BaseException | None) -> bool:
    """Say whether an error, or what it came of, is a server's answer and no lost connection."""
    while error is not None:
        if isinstance(error, RefusedForNowError):
            return True
        error = error.__cause__ or error.__context__
    return False
