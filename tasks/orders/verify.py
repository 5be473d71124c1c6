"""The order to score another client's update."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasks.messages import Status, StudyOrder


class VerifyOrder(StudyOrder):
    """Score another client's update on one's own examples."""

    name = "verify"
    allowed = frozenset({Status.SCORED, Status.FAILED})

    attempt: Annotated[int, Field(ge=1, le=10)] = 1
    """Which time this is that a client is asked in this round: each is an order of its own."""
