from __future__ import annotations

import pytest

from compressors import COMPRESSORS, Compressor, load_compressor, split_spec
from tasks.errors import ConfigurationError, LoadError, UnknownNameError


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_every_one_that_is_listed_can_be_loaded(name: str) -> None:
    assert isinstance(load_compressor(name), Compressor)


def test_none_is_none() -> None:
    assert load_compressor("none") is None


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_compressor("int9")
    assert str(caught.value) == (
        "unknown compression 'int9': did you mean 'int8'? known are bf16, int8, none, topk, or your own as module:name"
    )


@pytest.mark.parametrize("name", ["none", "bf16", "int8"])
def test_a_parameter_where_there_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_compressor(f"{name}:4")
    assert str(caught.value) == f"compression '{name}:4': {name} has no parameter, write {name}"


def test_ones_own_is_found_with_its_parameter() -> None:
    assert split_spec("my.module:name:0.1:x") == ("my.module:name", "0.1:x")
    assert split_spec("topk:0.1") == ("topk", "0.1")
    own = load_compressor("tests.support:HalfPrecision:loudly")
    assert isinstance(own, Compressor)


def test_ones_own_that_is_none_is_refused() -> None:
    with pytest.raises(LoadError, match=r"compression 'builtins:str' returned str, not a compressors\.Compressor"):
        load_compressor("builtins:str")
