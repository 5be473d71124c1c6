from __future__ import annotations

import pytest

from celeriac.schedules import load_schedule
from tasks.errors import ConfigurationError, UnknownNameError


def constant(round_number: int, num_rounds: int) -> float:
    return round_number / num_rounds


def test_a_cosine_goes_from_its_first_value_to_its_last() -> None:
    # Given a cosine over five rounds, then it is half a wave: flat at both ends, half way in the middle
    values = [load_schedule("cosine:1:0")(number, 5) for number in range(1, 6)]
    assert values == pytest.approx([1, 0.8535534, 0.5, 0.1464466, 0])
    # And a run of one round has the first value
    assert load_schedule("cosine:0.1:0.001")(1, 1) == 0.1


def test_a_step_is_multiplied_after_every_so_many_rounds() -> None:
    values = [load_schedule("step:8:0.5:2")(number, 5) for number in range(1, 6)]
    assert values == [8, 8, 4, 4, 2]


def test_a_function_of_ones_own_is_a_schedule() -> None:
    assert load_schedule(f"{__name__}:constant")(1, 4) == 0.25


@pytest.mark.parametrize("spec", ["cosine", "cosine:1", "cosine:1:2:3", "cosine:a:b", "cosine:nan:1", "step:1:2"])
def test_what_isnt_its_form_is_refused_with_the_form(spec: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write (cosine:FIRST:LAST|step:FIRST:FACTOR:EVERY), all of them"):
        load_schedule(spec)


@pytest.mark.parametrize("every", ["0", "1.5", "-2"])
def test_a_step_of_no_whole_rounds_is_refused(every: str) -> None:
    with pytest.raises(ConfigurationError, match="a whole number of rounds from 1 is needed"):
        load_schedule(f"step:1:0.5:{every}")


def test_a_slip_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'cosine'"):
        load_schedule("cosin:1:0")
