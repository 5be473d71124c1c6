"""Where the broker is, and whether its clients are enrolled: what ``--broker`` names."""

from __future__ import annotations

from pathlib import Path

from orchestrator.trust.authority import Authority
from tasks.broker.connection import check_url
from tasks.files import is_folder


def reach(broker: str) -> tuple[str, Authority | None]:
    """Return the URL of the broker that is named, and by whose credentials, if by any.

    Args:
        broker: A URL, or the operator's folder.

    Raises:
        ConfigurationError: If it is neither.
    """
    if "://" in broker or not is_folder(Path(broker).expanduser()):
        return check_url(broker), None
    authority = Authority(Path(broker))
    return authority.broker_url, authority
