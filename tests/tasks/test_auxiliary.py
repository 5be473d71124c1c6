from __future__ import annotations

import numpy as np
import pytest

from tasks import auxiliary
from tasks.arrays import ArraySpec, spec_of
from tasks.errors import ArraysError

MODEL = {"w": np.ones((2, 3), np.float32), "n": np.array(4)}


def test_what_is_joined_is_split_again() -> None:
    # Given parameters and two sets beside them
    beside = {"c": {"w": np.zeros((2, 3), np.float32)}, "m": {"w": np.ones((2, 3), np.float32)}}
    # When they are joined, then the sets' names tell them apart
    joined = auxiliary.join(MODEL, beside)
    assert sorted(joined) == ["@c/w", "@m/w", "n", "w"]
    # And splitting gives back both
    parameters, found = auxiliary.split(joined)
    assert parameters == MODEL
    assert found == beside


def test_a_name_with_slashes_stays_whole() -> None:
    assert auxiliary.split(auxiliary.join({}, {"c": {"a/b": MODEL["n"]}})) == ({}, {"c": {"a/b": MODEL["n"]}})


def test_the_name_of_an_array_tells_its_set_and_its_parameter() -> None:
    assert auxiliary.parts_of("a/b") == ("", "a/b")
    assert auxiliary.parts_of("@c/a/b") == ("c", "a/b")


def test_a_set_has_the_models_floats_and_nothing_else() -> None:
    # Given a model with a counter, when a set goes with it, then the set has no counter
    assert auxiliary.spec_of_sets(spec_of(MODEL), ["c"]) == {"@c/w": ArraySpec("F32", (2, 3))}


def test_a_parameter_cant_be_named_as_if_it_were_a_sets() -> None:
    with pytest.raises(ArraysError, match="'@w'"):
        auxiliary.join({"@w": MODEL["w"]}, {})
