"""The protocol that orchestrator and clients speak: either may be of a newer version, as where one is upgraded first.

What they send says its protocol. A field that the reader doesn't know is passed over, so whoever adds one gives it a
default by which a message means what it meant before. What a reader has to know raises ``PROTOCOL``. Then the two don't
work together, and say so with both versions.
"""

from __future__ import annotations

import functools
import tomllib
from importlib import metadata
from pathlib import Path

PROTOCOL = 2


def installed_version() -> str:
    """Return the installed version; of a checkout that isn't installed, its own."""
    try:
        return metadata.version("celeriac")
    except metadata.PackageNotFoundError:
        pyproject = Path(__file__).parents[1] / "pyproject.toml"
        return str(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"])


version = functools.cache(installed_version)
"""The same, looked up once."""


def difference(protocol: object, its_version: str = "") -> str:
    """Return that who speaks this protocol isn't understood here; empty if it is.

    Args:
        protocol: What was said; None, as by versions that said nothing, stands for the first.
        its_version: The version that said it, where that is known.
    """
    if (1 if protocol is None else protocol) == PROTOCOL:
        return ""
    of = f" (celeriac {its_version})" if its_version else ""
    return f"it speaks protocol {protocol}{of}, here it is {PROTOCOL} (celeriac {version()}): upgrade the older one"
