from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ConfigurationError
from tasks.metrics import MAX_METRICS, Averages, Metric, averaged, in_words, metric_of, out_of_range, spread_of


def test_averages_follow_what_is_declared() -> None:
    # Given a client with 10 examples and one with 30
    told = [
        (10, {"auc": 1.0, "rmse": 1.0, "epsilon": 2.0, "seconds": 4.0}),
        (30, {"auc": 0.5, "rmse": 3.0, "epsilon": 1.0, "seconds": 5.0}),
    ]
    declared = {"rmse": Metric("lower", "clients"), "epsilon": Metric(average="max"), "seconds": Metric(average="sum")}
    # When their metrics are averaged, then they are (10 + 15) / 40, (1 + 3) / 2, the larger one, and 4 + 5
    found = averaged(told, declared)
    assert found == Averages({"auc": 0.625, "rmse": 2.0, "epsilon": 2.0, "seconds": 9.0}, {})
    assert list(found.metrics) == ["auc", "epsilon", "rmse", "seconds"]


def test_a_metric_that_some_report_is_theirs_alone_and_says_of_how_many() -> None:
    # Given three clients of which two report an AUC, and one a metric that becomes no number
    told = [(10, {"loss": 1.0, "auc": 1.0}), (30, {"loss": 1.0, "auc": 0.5}), (60, {"loss": 2.0, "odd": math.inf})]
    # When they are averaged, then the AUC is (10 + 15) / 40 and of two
    assert averaged(told, {}) == Averages({"auc": 0.625, "loss": 1.6}, {"auc": 2})


def test_a_value_that_a_metric_cant_have_is_nobodys() -> None:
    # Given three clients, one of which reports an accuracy of 42, though the workload declares no range for it
    told = [(10, {"accuracy": 0.5, "r2": -3.0}), (10, {"accuracy": 1.0, "r2": 1.0}), (9, {"accuracy": 42, "r2": 9.0})]
    declared = {"accuracy": Metric("higher", "clients"), "r2": Metric("higher", most=1)}
    # When they are averaged, then it counts for nothing, and neither does it in the spread
    assert averaged(told, declared) == Averages({"accuracy": 0.75, "r2": -1.0}, {"accuracy": 2, "r2": 2})
    assert spread_of([metrics for _, metrics in told], declared)["accuracy"].worst == 0.5
    # And what is allowed is told
    assert out_of_range(told[2][1], declared) == "accuracy is 42: 0 to 1 is allowed"
    assert out_of_range({"r2": 9.0}, declared) == "r2 is 9: up to 1 is allowed"
    assert out_of_range({"rmse": -1.0}, {"rmse": Metric("lower", least=0)}) == "rmse is -1: from 0 on is allowed"
    assert out_of_range(told[0][1], declared) == ""


def test_names_that_one_client_makes_up_crowd_out_nobodys() -> None:
    # Given two clients with a metric of their own, and ninety who report as many others as they may
    told = [(1, {"zeal": 1.0, "auc": 0.5})] * 2
    told += [(1, {f"a{client}-{number}": 0.0 for number in range(MAX_METRICS)}) for client in range(90)]
    # When they are averaged, then there are a hundred, those that are declared or more report among them
    found = averaged(told, {"auc": Metric("higher")}).metrics
    assert len(found) == MAX_METRICS
    assert (found["zeal"], found["auc"]) == (1.0, 0.5)


def test_without_examples_or_clients_there_is_no_average() -> None:
    assert averaged([], {}) == Averages({}, {})
    assert averaged([(0, {"loss": 1.0})], {}) == Averages({}, {})


@given(st.lists(st.tuples(st.integers(0, 10**12), st.floats(allow_nan=False, allow_infinity=False)), max_size=4))
def test_averages_are_finite_whatever_clients_report(told: list[tuple[int, float]]) -> None:
    # Given any finite losses, when they are averaged, then there is a number that JSON holds, or none
    losses = [(number, {"loss": value, "sum": value}) for number, value in told]
    found = averaged(losses, {"sum": Metric(average="sum")})
    assert all(math.isfinite(value) for value in found.metrics.values())


def test_what_is_known_of_a_metric_is_what_is_declared_or_what_its_name_says() -> None:
    declared = {"auc": Metric("higher"), "accuracy": Metric("none", "clients")}
    assert metric_of("auc", declared) == Metric("higher")
    assert metric_of("loss", declared) == Metric("lower")
    assert metric_of("accuracy", declared) == Metric("none", "clients")
    assert metric_of("own", declared) == Metric("none", "examples")


def test_a_wrong_declaration_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ConfigurationError, match=r"^Metric\(better='more'\): one of higher, lower, none is allowed$"):
        Metric("more")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"^Metric\(average='mean'\): one of examples, clients, sum, max is"):
        Metric(average="mean")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"^Metric\(least=1, most=0\): numbers, the least first, or None are"):
        Metric(least=1, most=0)
    with pytest.raises(ConfigurationError, match=r"^Metric\(least=nan, most=None\): numbers"):
        Metric(least=math.nan)


def test_metrics_are_told_to_four_decimals_where_these_tell_something() -> None:
    # Given metrics, when they are told, then they are in their own order, and say of how many clients they are
    assert in_words({"b": 1.0, "a": 0.25, "none": 0.0}) == "b 1.0000, a 0.2500, none 0.0000"
    assert in_words({"small": 0.00005, "large": 12345678.9}) == "small 5e-05, large 1.235e+07"
    assert in_words({"loss": 0.5, "auc": 0.75}, {"auc": 2}, 3) == "loss 0.5000, auc 0.7500 (2 of 3 clients)"
    # And how far clients are from each other, and who is worst off
    spread = spread_of([{"auc": 0.5, "n": 1.0}, {"auc": 0.9, "n": 3.0}], {"auc": Metric("higher")})
    told = in_words({"auc": 0.7, "n": 2.0}, {"n": 2}, 3, spread)
    assert told == "auc 0.7000 (worst 0.5000, deviation 0.2000), n 2.0000 (2 of 3 clients, deviation 1.0000)"


def test_one_client_alone_has_no_spread() -> None:
    assert spread_of([{"loss": 0.5}], {}) == {}
