"""The order to keep a model."""

from __future__ import annotations

from tasks.blobs.blob import BlobRef
from tasks.messages import Order


class SetParametersOrder(Order):
    """Keep the given parameters as the client's model."""

    name = "set_parameters"

    parameters: BlobRef
