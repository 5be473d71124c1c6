from __future__ import annotations

from pathlib import Path

import pytest

import tests.support
from celeriac.compressors import COMPRESSORS, Compressor, load_compressor
from tasks.errors import ConfigurationError, LoadError
from tasks.plugins import split_spec
from tests.support import HalfPrecision


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_every_one_that_is_listed_can_be_loaded(name: str) -> None:
    assert isinstance(load_compressor(name), Compressor)


def test_none_is_none() -> None:
    assert load_compressor("none") is None


@pytest.mark.parametrize("name", ["none", "bf16", "int8"])
def test_a_parameter_where_there_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_compressor(f"{name}:4")
    assert str(caught.value) == f"compression '{name}:4': {name} has no parameter, write {name}"


def test_ones_own_is_found_with_its_parameter() -> None:
    assert split_spec("my.module:name:0.1:x", COMPRESSORS) == ("my.module:name", "0.1:x")
    assert split_spec("topk:0.1", COMPRESSORS) == ("topk", "0.1")
    own = load_compressor("tests.support:HalfPrecision:loudly")
    assert isinstance(own, Compressor)


def test_ones_own_that_returns_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a function that says it returns a compressor, and returns a text
    def lying(parameter: str) -> Compressor:
        return parameter  # type: ignore[return-value]

    monkeypatch.setattr(tests.support, "lying", lying, raising=False)
    # When it is named, then that is an error
    with pytest.raises(LoadError, match=r"'tests.support:lying' returned str, not a compressors\.Compressor"):
        load_compressor("tests.support:lying")


def test_a_function_that_says_which_compressor_it_returns_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a function of a text to a compressor of one's own
    def half(parameter: str) -> HalfPrecision:
        return HalfPrecision(parameter)

    monkeypatch.setattr(tests.support, "half", half, raising=False)
    # When it is named, then it is called with the text
    own = load_compressor("tests.support:half:loudly")
    assert isinstance(own, HalfPrecision)
    assert own.parameter == "loudly"


@pytest.mark.parametrize("spec", ["subprocess:getoutput", "builtins:exec", "joblib:load", "tests.support:points"])
def test_a_function_that_doesnt_say_that_it_returns_a_compressor_isnt_called(spec: str, tmp_path: Path) -> None:
    # Given functions of a text out of a run's folder: of Python itself, of a package that is installed, of one's own
    # When one is named as a compression with a file to make, then it is refused, and there is no such file
    with pytest.raises(LoadError, match=r"of Python's standard library|doesn't say that it returns a Compressor"):
        load_compressor(f"{spec}:touch {tmp_path}/made")
    assert list(tmp_path.iterdir()) == []
