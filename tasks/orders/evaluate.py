"""The order to evaluate a model."""

from __future__ import annotations

from tasks.blobs.blob import BlobRef
from tasks.messages import Order, Status


class EvaluateOrder(Order):
    """Evaluate the given parameters on the client's own held-out examples."""

    name = "evaluate"
    allowed = frozenset({Status.EVALUATED, Status.FAILED})

    parameters: BlobRef
