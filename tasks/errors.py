"""Every error this project raises, under one root.

``exit_code`` is what a command line ends with: 2 where the input was wrong, 1 where the work itself failed.
"""

from __future__ import annotations


class FederationError(Exception):
    """Root of all errors raised on purpose."""

    exit_code = 1


class ConfigurationError(FederationError):
    """Raised when an option, a setting or a name is wrong: the message says what is allowed."""

    exit_code = 2


class UnknownNameError(ConfigurationError):
    """Raised when a registry (algorithms, selectors, workloads, …) doesn't know a name."""

    def __init__(self, kind: str, name: str, hint: str) -> None:
        super().__init__(f"unknown {kind} {name!r}: {hint}")
        self.kind = kind
        self.name = name


class LoadError(ConfigurationError):
    """Raised when ``module:name`` can't be imported or is of the wrong kind."""


class BrokerUnreachableError(ConfigurationError):
    """Raised when no Redis answers at the broker's URL."""


class BrokerUnfitError(ConfigurationError):
    """Raised when the broker answers, and is of no use for a run."""


class NotAnsweredError(FederationError):
    """Raised when nobody has answered a request to enrol."""


class DataMissingError(ConfigurationError):
    """Raised when a workload's data isn't where it should be, or isn't what it should be."""


class RunFolderError(ConfigurationError):
    """Raised when a run's folder is taken, isn't one, or is damaged."""


class FederationBusyError(ConfigurationError):
    """Raised when no more runs may be on at a broker."""


class TooFewClientsError(FederationError):
    """Raised when fewer clients than needed connected within the wait timeout."""

    def __init__(self, num_connected: int, num_needed: int, timeout_s: float) -> None:
        super().__init__(
            f"{num_connected} of {num_needed} clients connected within {timeout_s:g} s (--wait-timeout): "
            "start more clients, wait longer, or ask for fewer with --clients or --min-updates"
        )
        self.num_connected = num_connected
        self.num_needed = num_needed
        self.timeout_s = timeout_s


class SelectionError(FederationError):
    """Raised when a selector returns something else than a non-empty subset of the connected clients."""


class TooFewFitError(SelectionError):
    """Raised by a selector when too few of the connected clients are what it looks for; others may yet come."""

    def __init__(self, num_fit: int, num_connected: int, wanted: str, num_needed: int) -> None:
        super().__init__(f"{num_fit} of {num_connected} connected clients fit {wanted!r}, {num_needed} are needed")
        self.num_fit = num_fit
        self.num_needed = num_needed


class NothingToldError(FederationError):
    """Raised when no client that is asked for statistics tells any."""


class ArraysError(FederationError):
    """Raised when named arrays can't be encoded, or bytes aren't a well-formed set of named arrays."""


class BlobError(FederationError):
    """Raised when a blob is missing, truncated, too large, or doesn't match its digest."""


class BlobMissingError(BlobError):
    """Raised when a blob, or a part of it, isn't there."""


class StoreAwayError(FederationError):
    """Raised when a store of blobs stays away: whose blob was asked for has no part in it."""


class MessageError(FederationError):
    """Raised when an order or an answer isn't what the contract says."""


class UnfitOrderError(ConfigurationError):
    """Raised when a client isn't set up for what an order asks; the message tells of nothing else that a client has."""


class RunFailedError(FederationError):
    """Raised when a run can't go on: too many failed rounds in a row, or its own worker is of no help."""
