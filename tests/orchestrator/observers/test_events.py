"""What is told of clients that have connected."""

from __future__ import annotations

from orchestrator.observers.events import MAX_LABELS, ClientsJoined
from tests.support import announcement


def test_the_labels_with_the_most_examples_are_told_where_a_client_announced_any() -> None:
    # Given a client that announced more labels than are told, one that announced one, and one that announced none
    many = {f"label-{number}": number for number in range(MAX_LABELS + 5)}
    said = [announcement("anna", labels=many), announcement("bert", labels={"3": 7}), announcement("carl")]
    # When it is told that they have connected
    told = ClientsJoined.of(said)
    # Then those with the most come first, and of a client without labels there is nothing
    assert list(told.clients) == ["anna", "bert", "carl"]
    assert list(told.labels["anna"].items())[:2] == [("label-24", 24), ("label-23", 23)]
    assert len(told.labels["anna"]) == MAX_LABELS
    assert told.labels["bert"] == {"3": 7}
    assert "carl" not in told.labels
