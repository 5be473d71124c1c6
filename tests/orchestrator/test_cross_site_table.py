from __future__ import annotations

from orchestrator.cross_site_table import MANY, table_of
from orchestrator.store.records import CrossSiteMatrix, CrossSiteRow
from tasks.metrics import Metric


def row(model_of: str | None, **accuracies: float) -> CrossSiteRow:
    metrics = {client_id: {"accuracy": value, "loss": 1.0} for client_id, value in accuracies.items()}
    missing = {name: "no luck" for name in ("anna", "bert") if len(accuracies) < MANY and name not in accuracies}
    return CrossSiteRow(model_of=model_of, round_number=3, metrics=metrics, not_evaluated=missing)


def test_a_few_clients_have_a_column_each() -> None:
    matrix = CrossSiteMatrix(rows=[row(None, anna=0.9, bert=0.8), row("anna", anna=0.95)])
    assert list(table_of(matrix, {})) == [
        "accuracy of the model of    anna    bert",
        "all (global)              0.9000  0.8000",
        "anna                      0.9500       -",
    ]


def test_many_clients_are_told_by_their_range() -> None:
    values = {f"client-{number}": number / 10 for number in range(MANY)}
    matrix = CrossSiteMatrix(rows=[row(None, **values), CrossSiteRow(model_of="x", round_number=1, metrics={})])
    assert list(table_of(matrix, {})) == [
        "accuracy of the model of   least    mean  greatest",
        "all (global)              0.0000  0.3500    0.7000",
        "x                              -       -         -",
    ]


def test_without_an_accuracy_it_is_the_loss_or_what_there_is() -> None:
    for metrics, name in (({"f1": 0.5, "loss": 2.0}, "loss"), ({"f1": 0.5}, "f1")):
        matrix = CrossSiteMatrix(rows=[CrossSiteRow(model_of=None, round_number=1, metrics={"anna": metrics})])
        assert next(iter(table_of(matrix, {}))).startswith(f"{name} of the model of")
        # And what a workload declares comes first
        declared = {"size": Metric(), "f1": Metric("higher")}
        assert next(iter(table_of(matrix, declared))).startswith("f1 of the model of")
