"""A bucket of an object store that speaks S3: how it is reached, whether it will do, and what obstore says of it.

Its URL says bucket and prefix, and nothing else: it is written down with a run. Where the server is and who asks say
``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID`` and the like, which obstore reads (docs/blobs.md has them).

As a command it says what tells a bucket from others. It imports nothing of ours, so that it takes a tenth of a second.
"""

from __future__ import annotations

import re
import secrets
import sys
from contextlib import suppress
from datetime import timedelta
from typing import Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError
from obstore.store import S3Store

URL: Final = re.compile(
    r"s3://(?P<bucket>[A-Za-z0-9][\w.-]{1,61}[A-Za-z0-9])(?P<prefix>(?:/(?!\.\.?(?:/|$))[\w.=-]+)*)/?", re.ASCII
)
"""What a bucket's URL looks like."""
ERRORS: Final = (FileNotFoundError, BaseError, ValueError)
"""What obstore raises; a ``ValueError`` is of a name that no key can have."""
CONNECT_S = 5
"""Seconds to wait for a connection."""
LOOK_S = 5
"""Seconds that a request may take which looks whether a bucket will do, and in which it is tried again."""
NO_BUCKET = "NoSuchBucket"
_IDENTITY = ".identity"
_IDENTITY_BYTES = 8
_MAX_REASON = 300


def connect(url: str, *, outage_s: float, silence_s: float, request_s: float) -> S3Store:
    """Return obstore's bucket, which nobody has asked anything yet.

    Args:
        url: What :data:`URL` matches.
        outage_s: Seconds in which what fails for the server's or the network's sake is tried again.
        silence_s: Seconds without a byte after which a request is given up.
        request_s: Seconds that a request may take in all.
    """
    bucket, _, prefix = url.removeprefix("s3://").rstrip("/").partition("/")
    return S3Store(
        bucket,
        prefix=prefix or None,
        client_options={
            "allow_http": True,  # who names a server by http:// means it
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "read_timeout": timedelta(seconds=silence_s),
            "timeout": timedelta(seconds=request_s),
        },
        retry_config={
            "max_retries": 1000,
            "retry_timeout": timedelta(seconds=outage_s),
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
        },
    )


def look(url: str) -> str:
    """Return what tells a bucket's prefix from others: a word that the first user left there.

    Raises:
        FileNotFoundError: If there is no such bucket.
        BaseError: If it can't be read or written to.
    """
    store = connect(url, outage_s=LOOK_S, silence_s=LOOK_S, request_s=LOOK_S)
    try:
        return _word(store)
    except FileNotFoundError as error:
        if NO_BUCKET in str(error):
            raise
    with suppress(AlreadyExistsError):  # another was faster
        obstore.put(store, _IDENTITY, secrets.token_hex(_IDENTITY_BYTES // 2).encode(), mode="create")
    return _word(store)


def _word(store: S3Store) -> str:
    word = next(iter(obstore.get(store, _IDENTITY).stream(min_chunk_size=_IDENTITY_BYTES)), b"")
    return f"s3:{word[:_IDENTITY_BYTES].decode('ascii', 'replace')}"


def may_pass(error: Exception) -> bool:
    """Say whether it may be the network, or the server for a while: what isn't there, or isn't allowed, stays so."""
    return isinstance(error, GenericError) and NO_BUCKET not in str(error)


def reason(error: Exception) -> str:
    """Return what the server says, or what became of the request, in a line and without addresses."""
    text, _, details = str(error).partition("Debug source:")
    if "/latest/api/token" in text:
        return "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    said = [found[1] for tag in ("Code", "Message") if (found := re.search(rf"<{tag}>([^<]+)</{tag}>", text))]
    happened = text.strip(" :\n").rpartition(" - ")[2]
    causes = re.findall(r'(?:message|error): "([^"]+)"', details) or re.findall(r"\b[A-Z][A-Za-z]+\b", details)
    return " ".join(": ".join(said or [happened, *causes[-1:]]).split())[:_MAX_REASON]


def main(url: str) -> None:
    """Write what tells a bucket from others; or end with what is wrong with it."""
    try:
        sys.stdout.write(look(url))
    except ERRORS as error:
        sys.exit(reason(error))


if __name__ == "__main__":
    main(sys.argv[1])
