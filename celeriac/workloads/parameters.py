"""Parameters that several built-in workloads have, read from the text of a spec."""

from __future__ import annotations

from tasks.errors import ConfigurationError


def read_share(text: str) -> float:
    """Read ``test-share``, the share of its examples that a client tests on.

    Raises:
        ConfigurationError: If it is no number from 0 to under 1.
    """
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise ConfigurationError(f"test-share={text}: numbers from 0 to under 1 are allowed")
    return share


def read_seed(text: str | None, default: int) -> int:
    """Read ``split-seed``; without one it is the default.

    Raises:
        ConfigurationError: If it is no whole number from 0 to 2**63 - 1.
    """
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63):
        raise ConfigurationError(f"split-seed={text}: whole numbers from 0 to {2**63 - 1} are allowed")
    return int(text)
