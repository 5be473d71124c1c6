from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ConfigurationError, LoadError
from verification import ScoringError
from verification.thresholds import (
    DEFAULT_THRESHOLDS,
    Absolute,
    Best,
    ButHostile,
    Outliers,
    Relative,
    check_threshold,
    default_threshold,
    kept,
    load_threshold,
    parse_threshold,
)

SCORES = st.dictionaries(st.text("abcdef", min_size=1), st.floats(-1e6, 1e6), max_size=12)


def keep_even(scores: Mapping[str, float], global_score: float | None) -> list[str]:
    """Keep those whose score is even, and above the global model's."""
    return [client_id for client_id, score in scores.items() if score % 2 == 0 and score > (global_score or 0)]


def keep_stranger(scores: Mapping[str, float], global_score: float | None) -> Collection[str]:
    """Keep somebody who has no score."""
    return ["stranger"]


def keep_text(scores: Mapping[str, float], global_score: float | None) -> Collection[str]:
    """Return a name instead of names."""
    return "a"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("0.9", Absolute(0.9)),
        (" -1.5e3 ", Absolute(-1500.0)),
        (".5", Absolute(0.5)),
        ("global", Relative("global", 1.0, 0.0)),
        ("global-0.02", Relative("global", 1.0, -0.02)),
        ("global + 0.1", Relative("global", 1.0, 0.1)),
        ("global*0.9", Relative("global", 0.9, 0.0)),
        ("median*1.2", Relative("median", 1.2, 0.0)),
        ("median - 1", Relative("median", 1.0, -1.0)),
        ("mad:3", Outliers(3.0, two_sided=False)),
        ("mad2:3.5", Outliers(3.5, two_sided=True)),
        ("best:70%", Best(Fraction(7, 10))),
        ("best:12.5%", Best(Fraction(1, 8))),
        ("best:n-f", ButHostile()),
    ],
)
def test_a_threshold_is_what_its_text_says(text: str, rule: object) -> None:
    # Given a text, when it is read, then this is the rule, and the text is kept for the record
    threshold = parse_threshold(text)
    assert threshold.rule == rule
    assert str(threshold) == text.strip()
    assert load_threshold(text) == threshold


WRONG = (
    "nan inf 1e999 0,9 90% global/2 global- global--1 global*-1 globe mad mad:0 mad:-3 mad:x mad3:3 best:0% best:101%"
)


TOO_LARGE = ["9" * 400, "1e" + "9" * 400, "global*" + "9" * 400, "mad:" + "9" * 400]


@pytest.mark.parametrize(
    "text", ["", *WRONG.split(), "best:7", "best:n-2", "median0.9", "1_000", "٣", "own:rule", *TOO_LARGE]
)
def test_any_other_text_is_refused_with_what_is_allowed(text: str) -> None:
    # Given a text that says nothing, or a number that no float holds, when it is read, then the message names it and
    # what is allowed
    with pytest.raises(ConfigurationError) as caught:
        parse_threshold(text)
    assert str(caught.value).startswith(f"threshold {text!r}: allowed are a number (0.9), global or median")


def test_an_absolute_threshold_keeps_what_reaches_it() -> None:
    # Given scores around 0.9, when those of at least 0.9 are kept, then 0.9 is
    assert kept({"a": 0.9, "b": 0.89, "c": 1.0, "d": -1.0}, parse_threshold("0.9")) == {"a", "c"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("global", {"c"}), ("global-0.1", {"b", "c"}), ("global*0.5", {"a", "b", "c"}), ("global+0.3", set())],
)
def test_a_threshold_relative_to_the_global_model_moves_with_it(text: str, expected: set[str]) -> None:
    # Given the global model's score 0.8, when 0.8, 0.7, 0.4 and 1.1 are the least, then these are kept
    assert kept({"a": 0.4, "b": 0.7, "c": 0.8}, parse_threshold(text), 0.8) == expected


def test_rounding_decides_nothing() -> None:
    # Given the global score 0.3 less 0.1, which in float64 is 0.19999999999999998, and 3 times 0.1, which is more
    assert kept({"a": 0.2}, parse_threshold("global-0.1"), 0.3) == {"a"}
    assert 0.1 * 3 > 0.3
    assert kept({"a": 0.3}, parse_threshold("global*3"), 0.1) == {"a"}
    # And a score that misses by more than a billionth is dropped
    assert kept({"a": 0.299999999}, parse_threshold("global*3"), 0.1) == set()


def test_without_the_global_models_score_nothing_is_relative_to_it() -> None:
    # Given no score of the global model, when one is needed, then the message says so
    with pytest.raises(ScoringError, match="relative to the global model's score, and there is none"):
        kept({"a": 0.5}, parse_threshold("global"))


def test_a_threshold_relative_to_the_median_follows_the_cohort() -> None:
    # Given accuracies with the median 0.8: nine tenths of it are 0.72
    assert kept({"a": 0.9, "b": 0.8, "c": 0.72, "d": 0.8, "e": 0.71}, parse_threshold("median*0.9")) == set("abcd")
    # And squared distances, negative, with the median -10: at most 1.2 times as far is 12
    assert kept({"a": -8.0, "b": -10.0, "c": -12.0, "d": -12.1, "e": -9.0}, parse_threshold("median*1.2")) == set(
        "abce"
    )


def test_outliers_are_three_deviations_below_the_median() -> None:
    # Given scores with the median 6, distances 4, 1, 1, 0, 0, 1, 4, 94: sorted 0, 0, 1, 1, 1, 4, 4, 94, so MAD 1
    scores = {"a": 2.0, "b": 5.0, "c": 5.0, "d": 6.0, "e": 6.0, "f": 7.0, "g": 10.0, "h": 100.0}
    # When outliers are dropped, then 3 * 1.4826 = 4.4478 below 6 is 1.5522, and above it 10.4478
    assert kept(scores, parse_threshold("mad:3")) == set("abcdefgh")
    assert kept(scores, parse_threshold("mad2:3")) == set("abcdefg")
    # And 2.6 * 1.4826 = 3.8548 to each side are 2.1452 and 9.8548
    assert kept(scores, parse_threshold("mad:2.6")) == set("bcdefgh")
    assert kept(scores, parse_threshold("mad2:2.6")) == set("bcdef")


def test_where_more_than_half_are_equal_all_below_are_outliers() -> None:
    # Given four equal scores of six: MAD is 0
    scores = {"a": 0.7, "b": 0.7, "c": 0.7 - 1e-12, "d": 0.7, "e": 0.6999, "f": 0.8}
    # When outliers are dropped, then equal is kept, to rounding, and what is below is not
    assert kept(scores, parse_threshold("mad:3")) == set("abcdf")
    assert kept(scores, parse_threshold("mad2:3")) == set("abcd")
    # And all equal are all kept, 0 included
    assert kept(dict.fromkeys("abc", 0.0), parse_threshold("mad2:3")) == set("abc")


@pytest.mark.parametrize("scores", [{"a": -5.0}, {"a": 0.1, "b": 1e6}])
@pytest.mark.parametrize("text", ["mad:1", "mad:3", "mad2:3"])
def test_of_one_or_two_scores_none_is_an_outlier(scores: dict[str, float], text: str) -> None:
    # Given one or two scores, when outliers are dropped, then there are none
    assert kept(scores, parse_threshold(text)) == set(scores)


def test_the_best_are_counted_upwards_and_equals_stay_together() -> None:
    # Given ten scores, when seven tenths are kept, then seven are
    ten = {f"c{index}": float(index) for index in range(10)}
    assert kept(ten, parse_threshold("best:70%")) == {f"c{index}" for index in range(3, 10)}
    # And of four it is 2.8, rounded up to 3
    assert kept({"a": 1, "b": 2, "c": 3, "d": 4}, parse_threshold("best:70%")) == set("bcd")
    # And those that are equal to the last are kept, too
    assert kept({"a": 1, "b": 2, "c": 2, "d": 4}, parse_threshold("best:50%")) == set("bcd")
    assert kept({"a": 1}, parse_threshold("best:1%")) == {"a"}


@pytest.mark.parametrize(
    ("num_byzantine", "expected"), [(0, "abcd"), (1, "bcd"), (2, "bcd"), (3, "d"), (4, ""), (9, "")]
)
def test_all_but_as_many_as_may_be_hostile_are_kept_and_equals_stay_together(num_byzantine: int, expected: str) -> None:
    # Given four scores, of which the second and third are equal
    scores = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 4.0}
    # When the best n - f are kept, then those are, with who is equal to the last; if all may be hostile, nobody is
    assert kept(scores, parse_threshold("best:n-f"), num_byzantine=num_byzantine) == set(expected)


@pytest.mark.parametrize("text", ["0.5", "global", "median*0.9", "mad:3", "mad2:3", "best:70%", "best:n-f"])
@given(scores=SCORES, data=st.data())
def test_the_order_of_scores_makes_no_difference(text: str, scores: dict[str, float], data: st.DataObject) -> None:
    # Given scores in two orders, when a threshold is laid on them, then the same are kept, and nobody else
    threshold = parse_threshold(text)
    shuffled = dict(data.draw(st.permutations(list(scores.items()))))
    found = kept(scores, threshold, 0.5, num_byzantine=2)
    assert kept(shuffled, threshold, 0.5, num_byzantine=2) == found <= scores.keys()
    # And whoever scores higher than one who is kept is kept too, if there is no upper side
    if text != "mad2:3" and found:
        least = min(scores[client_id] for client_id in found)
        assert found == {client_id for client_id, score in scores.items() if score >= least}


@pytest.mark.parametrize("scorer", ["norm", "krum", "cosine", "fltrust", "peers"])
def test_the_global_model_has_no_score_with_what_looks_at_changes(scorer: str) -> None:
    # Given a scorer of deltas, when its threshold is to be relative to the global model, then it is refused
    with pytest.raises(
        ConfigurationError, match=f"'global-0.02' is relative to .*, and scorer '{scorer}' gives it none"
    ):
        check_threshold(scorer, parse_threshold("global-0.02"))
    # And its default and others do
    check_threshold(scorer, default_threshold(scorer))
    check_threshold(scorer, parse_threshold("mad2:3"))


@pytest.mark.parametrize("scorer", ["holdout", "mine:score"])
def test_holdout_and_the_users_own_may_score_the_global_model(scorer: str) -> None:
    # Given scorers of whole models, when a threshold is relative to the global one, then it is fine, and needs it
    threshold = parse_threshold("global*0.9")
    check_threshold(scorer, threshold)
    assert threshold.needs_global
    assert not parse_threshold("median*0.9").needs_global


def test_each_default_can_be_read_and_the_users_own_scorer_has_none() -> None:
    # Given the defaults, when they are read, then they are what is written
    assert {scorer: str(default_threshold(scorer)) for scorer in DEFAULT_THRESHOLDS} == DEFAULT_THRESHOLDS
    # And a user's scorer needs one
    with pytest.raises(ConfigurationError, match="scorer 'mine:score' needs a --threshold: a number"):
        default_threshold("mine:score")


def test_a_users_own_threshold_gets_the_scores_and_the_global_one() -> None:
    # Given a function that keeps even scores above the global model's
    threshold = load_threshold(f"{__name__}:keep_even")
    # When it is asked, then it decides
    assert kept({"a": 2.0, "b": 3.0, "c": 4.0}, threshold, 2.0) == {"c"}
    assert kept({"a": 2.0, "b": 3.0, "c": 4.0}, threshold) == {"a", "c"}
    assert kept({}, threshold) == set()
    assert str(threshold) == f"{__name__}:keep_even"


@pytest.mark.parametrize(("name", "told"), [("keep_stranger", r"\['stranger'\]"), ("keep_text", "'a'")])
def test_a_users_own_threshold_keeps_those_that_are_scored_alone(name: str, told: str) -> None:
    # Given a function that returns something else, when it is asked, then the message says what
    with pytest.raises(ScoringError, match=rf":{name}' kept {told}: some of \['a', 'b'\] are allowed"):
        kept({"a": 1.0, "b": 2.0}, load_threshold(f"{__name__}:{name}"))


def test_a_users_own_threshold_that_isnt_there_is_refused() -> None:
    # Given a name that isn't there, or is no function, when it is loaded, then the message says so
    with pytest.raises(LoadError, match="threshold 'nowhere:rule': there is no module 'nowhere'"):
        load_threshold("nowhere:rule")
    with pytest.raises(LoadError, match="has no 'rule'"):
        load_threshold("verification.thresholds:rule")
    with pytest.raises(LoadError, match=r"threshold 'verification\.thresholds:ALLOWED' is str, not a function"):
        load_threshold("verification.thresholds:ALLOWED")
