"""The order to train."""

from __future__ import annotations

from tasks.blobs.blob import BlobRef
from tasks.messages import Status, UpdateOrder


class TrainOrder(UpdateOrder):
    """Train from the given parameters and send the update."""

    name = "train"
    allowed = frozenset({Status.TRAINED, Status.TIMED_OUT, Status.FAILED})

    surveyed: BlobRef | None = None
    """The aggregate of what the round's clients sent in its first exchange; None where there was none."""
    wants_parameters: bool = True
    """Whether the update is to carry parameters, or results alone."""
