from __future__ import annotations

import pytest

from celeriac.mixers import FORMS, MIXERS, load_mixer
from celeriac.mixers.bucketing import Bucketing
from celeriac.mixers.nnm import mix_nearest
from tasks.errors import ConfigurationError
from tests.celeriac.mixers.mixes import mixing_by


def test_mixers_are_found_by_name_or_are_the_users_own() -> None:
    # Given the registry, when names are looked for, then each is a mixer, by default buckets of two
    assert sorted(MIXERS) == ["bucketing", "nnm"]
    assert set(FORMS) <= set(MIXERS)
    assert load_mixer("nnm") is mix_nearest
    assert load_mixer("bucketing") == Bucketing(2)
    assert load_mixer("bucketing:3") == Bucketing(3)
    mixer: object = load_mixer("tests.celeriac.mixers.mixes:mixing_by")
    assert mixer is mixing_by


@pytest.mark.parametrize("size", ["1", "0", "-2", "2.5", "two", "1000000", "²", " 2"])
def test_a_bucket_has_a_whole_number_of_updates_from_two(size: str) -> None:
    # Given what is no such number, when it is loaded, then the message says what is
    with pytest.raises(ConfigurationError) as raised:
        load_mixer(f"bucketing:{size}")
    assert str(raised.value) == (
        f"mixer 'bucketing:{size}': after the colon stands how many updates are in a bucket, a whole number from 2 to "
        "999999, like bucketing:2"
    )
