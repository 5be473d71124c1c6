"""The dashboard for Grafana: it asks for what is told, and Grafana's own models read it whole."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.orchestrator.observers.test_prometheus import STORY, samples

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "docs" / "grafana" / "celeriac.json").read_text(encoding="utf-8")
)
OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus itself gives to what it fetches."""


def queries() -> list[str]:
    """What panels and variables ask Prometheus."""
    variables = [each["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    return variables + [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Name of each figure as Prometheus knows it -> its labels."""
    return {sample.name: set(sample.labels) for sample in samples(tmp_path_factory.mktemp("run"), *STORY)}


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_for_figures_and_labels_that_are_told(query: str, told: dict[str, set[str]]) -> None:
    # Given a query, when its figures and labels are looked up, then they are told, or Prometheus' own
    names = set(re.findall(r"celeriac_\w+", query))
    assert names
    assert names <= told.keys()
    known = OF_PROMETHEUS.union(*(told[name] for name in names))
    asked = {label for group in re.findall(r"by \((.*?)\)", query) for label in group.split(", ")}
    asked |= set(re.findall(r"(\w+)(?:=~|=)\"", query))
    assert asked <= known


def test_no_label_is_one_that_prometheus_gives_itself(told: dict[str, set[str]]) -> None:
    # Given what is told, when it is fetched, then Prometheus has no reason to call a label exported_something
    assert not [name for name, labels in told.items() if labels & {"job", "instance"}]


def test_grafanas_own_models_read_all_of_it() -> None:
    # Given Grafana's models of a dashboard, when they read it and write it again, then nothing is lost
    register_default_plugins()
    assert not lost(DASHBOARD, json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD))), "dashboard")


def lost(value: Any, other: Any, path: str) -> list[str]:
    """Where in a value there is what the other lacks; it may have more, as what is so by default."""
    if isinstance(value, dict) and isinstance(other, dict):
        return [each for name in value for each in lost(value[name], other.get(name), f"{path}.{name}")]
    if isinstance(value, list) and isinstance(other, list) and len(value) == len(other):
        return [
            each
            for index, pair in enumerate(zip(value, other, strict=True))
            for each in lost(*pair, f"{path}[{index}]")
        ]
    return [] if value == other else [path]


def test_no_panel_lies_over_another() -> None:
    # Given where panels are, when each two are compared, then they share no cell of the grid
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
