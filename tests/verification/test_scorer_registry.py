from __future__ import annotations

import pytest

from tasks.errors import LoadError
from verification import SCORERS, load_scorer
from verification.cosine import score_cosine
from verification.fltrust import score_fltrust
from verification.holdout import score_holdout
from verification.krum import score_krum
from verification.norm import score_norm
from verification.thresholds import DEFAULT_THRESHOLDS


def test_scorers_are_found_by_name_or_are_the_users_own() -> None:
    # Given the registry, when names are looked for, then these are there
    found = {name: load_scorer(name) for name in sorted(SCORERS)}
    assert found == {
        "cosine": score_cosine,
        "fltrust": score_fltrust,
        "holdout": score_holdout,
        "krum": score_krum,
        "norm": score_norm,
    }
    assert load_scorer("verification.norm:score_norm") is score_norm


def test_each_scorer_and_the_peers_have_a_default_threshold() -> None:
    # Given the registry and the defaults, then they go together
    assert sorted(DEFAULT_THRESHOLDS) == sorted([*SCORERS, "peers"])


def test_what_cant_be_called_is_no_scorer() -> None:
    # Given a module's number, when it is loaded as a scorer, then it is refused
    with pytest.raises(LoadError, match=r"scorer 'celeriac\.geometry:BLOCK' is int, not a function"):
        load_scorer("celeriac.geometry:BLOCK")
