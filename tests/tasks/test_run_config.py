from __future__ import annotations

import pytest

from tasks.errors import ConfigurationError
from tasks.run_config import RunSetting, parse_run_config, with_defaults

DECLARED: dict[str, RunSetting] = {"momentum": 0.9, "hidden": [64, 32], "depth": 2, "net": "cnn", "deep": False}


def test_values_are_those_of_toml_and_else_text() -> None:
    text = 'momentum=0.9, depth=3,hidden=[64,32],names=["a,b","c"],deep=true,net=cnn,day=2026-11-29'
    assert parse_run_config(text) == {
        "momentum": 0.9,
        "depth": 3,
        "hidden": [64, 32],
        "names": ["a,b", "c"],
        "deep": True,
        "net": "cnn",
        "day": "2026-11-29",
    }


@pytest.mark.parametrize("text", ["momentum", "=3", "a=", "two words=1", "a=1,,b=2", "größe=1"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write NAME=VALUE"):
        parse_run_config(text)


@pytest.mark.parametrize("value", ["nan", "-inf", "[[1], [2]]", "[1, 2", "[cnn, mlp]", "[1, nan]"])
def test_what_is_no_value_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--run-config a=.* or a list of these is allowed; texts in a list"):
        parse_run_config(f"a={value}")


def test_a_setting_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="depth is given twice"):
        parse_run_config("depth=1,depth=2")


def test_a_declared_setting_has_its_default_until_it_is_given() -> None:
    assert with_defaults(DECLARED, {"depth": 5}) == {**DECLARED, "depth": 5}
    # And a whole number will do for any
    assert with_defaults(DECLARED, {"momentum": 0})["momentum"] == 0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"momentun": 0.5}, "--run-config momentun: the workload has no such setting; did you mean 'momentum'"),
        ({"depth": 0.5}, "--run-config depth=0.5: its default is 2, so int is allowed"),
        ({"depth": True}, "--run-config depth=True: its default is 2, so int is allowed"),
        ({"hidden": 3}, r"its default is \[64, 32\], so list is allowed"),
    ],
)
def test_what_a_workload_doesnt_declare_is_refused(given: dict[str, RunSetting], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        with_defaults(DECLARED, given)


def test_a_workload_that_declares_nothing_takes_all_and_one_that_declares_none_takes_none() -> None:
    assert with_defaults(None, {"any": [1]}) == {"any": [1]}
    with pytest.raises(ConfigurationError, match="it has none"):
        with_defaults({}, {"any": 1})
