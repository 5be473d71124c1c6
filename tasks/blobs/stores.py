"""Which store of blobs a URL names: a file each, found by the URL's scheme.

A new kind of store is a module with ``open_store(url)``, which returns a :class:`tasks.blobs.blob.BlobStore`, and a
line in ``STORES``.
"""

from __future__ import annotations

from tasks.blobs.blob import BlobStore
from tasks.broker.url import SCHEMES, masked
from tasks.errors import ConfigurationError
from tasks.plugins import load_function

_REDIS = "tasks.blobs.in_redis:open_store"
STORES = {
    **dict.fromkeys(SCHEMES, _REDIS),
    "file": "tasks.blobs.in_files:open_store",
    "s3": "tasks.blobs.in_s3:open_store",
}
"""Scheme of a URL -> what opens the store."""


def open_store(url: str) -> BlobStore:
    """Return the store of blobs at ``url``.

    Raises:
        ConfigurationError: If there can be none.
    """
    opened: BlobStore = load_function("blob store", _scheme(url), STORES)(url)
    return opened


def is_anywhere(url: str) -> bool:
    """Say whether a store is the same by its URL on whichever machine."""
    return _scheme(url) == "s3"


def check_named(url: str) -> None:
    """Check that a user's URL names a store that can be used.

    Raises:
        ConfigurationError: If it doesn't, or names a Redis: that is the broker's to be, whose losses are looked after.
    """
    if STORES[_scheme(url)] == _REDIS:
        raise ConfigurationError(
            f"blobs {masked(url)!r}: of all Redis servers only the broker may hold them: leave this out for the "
            "broker, or name a folder, like file:///mnt/shared, or a bucket, like s3://bucket/prefix"
        )
    open_store(url)


def _scheme(url: str) -> str:
    scheme = url.partition(":")[0]
    if scheme not in STORES or scheme == url:
        raise ConfigurationError(
            f"blobs {masked(url)!r}: write a URL that begins with one of {', '.join(STORES)}, like file:///mnt/shared "
            "or s3://bucket/prefix"
        )
    return scheme
