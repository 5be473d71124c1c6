"""The order to say what the algorithm asks before anybody trains."""

from __future__ import annotations

from tasks.messages import Status, UpdateOrder
from tasks.scope import ClientScope


class SurveyOrder(UpdateOrder):
    """Send what the algorithm wants to know of the given parameters before anybody trains from them."""

    name = "survey"
    allowed = frozenset({Status.SURVEYED, Status.FAILED})

    @property
    def update_blob(self) -> str:
        """Name of the blob that the client puts those arrays into which come with its answer."""
        return ClientScope(self.client_id).survey(self.run_id, self.round_number)
