from __future__ import annotations

import numpy as np
import pytest

from tasks.arrays import Array
from tests.celeriac.aggregators.cohorts import aggregate, random_rows, updates_of


def bulyan_by_hand(rows: Array, num_byzantine: int) -> Array:
    """El Mhamdi et al. 2018, section 4: Krum again and again, then the values nearest to the median."""
    received: list[Array] = list(rows)
    selected: list[Array] = []
    while len(selected) < len(rows) - 2 * num_byzantine:
        num_near = max(1, len(received) - num_byzantine - 2)
        sums = [sum(sorted(float(np.sum((a - b) ** 2)) for b in received if b is not a)[:num_near]) for a in received]
        selected.append(received.pop(int(np.argmin(sums))))
    chosen, num_kept = np.array(selected), len(selected) - 2 * num_byzantine
    result = []
    for column in chosen.T:
        nearest = sorted(column, key=lambda value: (abs(value - np.median(column)), value))[:num_kept]
        result.append(np.mean(nearest))
    return np.array(result)


def test_of_seven_with_one_hostile_five_are_chosen_and_three_values_kept() -> None:
    # Given clients at 0, 1, 2, 4, 7, 11 and 100, of which one may be hostile
    updates = updates_of([0.0], [1.0], [2.0], [4.0], [7.0], [11.0], [100.0])
    # When Krum chooses five. Of seven the four nearest count: 2 is first, with 4 + 1 + 4 + 25 = 34 (1 has 1 + 1 + 9
    # + 36 = 47). Of 0, 1, 4, 7, 11, 100 three count: 1 has 1 + 9 + 36 = 46, 4 has 9 + 9 + 16 = 34: 4 is next. Of 0, 1,
    # 7, 11, 100 two: 0 has 1 + 49, 1 has 1 + 36, 7 has 16 + 36, 11 has 16 + 100: 1 is next. Of 0, 7, 11, 100 one:
    # 7 and 11 have 16: 7, being first. Of 0, 11, 100 one: 0 and 11 have 121: 0
    # Then of 0, 1, 2, 4, 7 the three that are nearest to 2 are 1, 2 and 0, which is as near as 4 and smaller
    assert aggregate("bulyan", updates, num_byzantine=1).tolist() == [1.0]


def test_with_six_or_fewer_it_is_the_plain_mean() -> None:
    # Given six clients: 4 * 1 + 3 = 7 would be needed for one that is hostile; one weighs more than the others
    rows = random_rows(6)
    # When Bulyan stands as many as it can, nobody, then it is the mean, and weights don't count
    bulyan = aggregate("bulyan", updates_of(*rows, weights=[7.0, 1.0, 1.0, 1.0, 1.0, 1.0]))
    assert np.allclose(bulyan, rows.mean(axis=0), rtol=1e-14)


@pytest.mark.parametrize(("num_updates", "num_byzantine"), [(1, 0), (2, 0), (7, 1), (8, 1), (10, 1), (11, 2), (16, 3)])
def test_it_is_the_papers(num_updates: int, num_byzantine: int) -> None:
    # Given random updates, when Bulyan works on them, then it is what the paper says
    rows = random_rows(num_updates)
    bulyan = aggregate("bulyan", updates_of(*rows), num_byzantine=num_byzantine)
    assert np.allclose(bulyan, bulyan_by_hand(rows, num_byzantine), rtol=1e-13)


def test_what_is_far_off_in_one_place_alone_is_seen_there() -> None:
    # Given eleven updates of a thousand elements; the two hostile are in the midst of the others but for one place,
    # where they are off by as much as honest ones are from each other
    rows = random_rows(11, 1000)
    honest = rows[2:].copy()
    rows[:2] = honest.mean(axis=0)
    rows[:2, 0] += 30
    # When Krum and Bulyan work on them
    krum, bulyan = (aggregate(name, updates_of(*rows), num_byzantine=2) for name in ("krum", "bulyan"))
    # Then Krum takes a hostile one, and Bulyan stays within the honest values
    assert krum[0] == rows[0, 0]
    assert honest[:, 0].min() <= bulyan[0] <= honest[:, 0].max()
