"""What holds for every algorithm, and how they reduce to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.algorithms import ALGORITHMS, ServerRound, UpdateInfo, load_algorithm
from tests.celeriac.algorithms.quadratics import OPTIONS, ROUNDS, Federation, Quadratic, Smooth, Vector, clients

START = np.array([2.0, -1.0, 0.5])
SAME_STEPS = (3,)
NAMES = sorted(ALGORITHMS)


def path(name: str, some: list[Quadratic] | None = None, **changes: float) -> list[Vector]:
    """Where the model is after each of six rounds."""
    federation = Federation(load_algorithm(name), some or clients(), START, changes)
    return [federation.round(cohort) for cohort in ROUNDS]


def assert_same(one: list[Vector], other: list[Vector], rtol: float = 1e-12) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


def test_fedprox_without_mu_is_fedavg_to_the_last_bit() -> None:
    for a, b in zip(path("fedprox", mu=0.0), path("fedavg"), strict=True):
        assert a.tobytes() == b.tobytes()


def test_fedavgm_without_momentum_and_with_rate_1_is_fedavg_to_the_last_bit() -> None:
    for a, b in zip(path("fedavgm", momentum=0.0, server_learning_rate=1.0), path("fedavg"), strict=True):
        assert a.tobytes() == b.tobytes()


def test_fednova_with_equal_steps_is_fedavg() -> None:
    same = clients(num_steps=SAME_STEPS)
    assert_same(path("fednova", same), path("fedavg", same))


def test_qfedavg_with_q_0_is_fedavg() -> None:
    assert_same(path("qfedavg", q=0.0), path("fedavg"))


def test_mimelite_without_momentum_is_fedavg_with_equal_weights() -> None:
    equal = [replace(client, num_examples=7) for client in clients()]
    assert_same(path("mimelite", equal, momentum=0.0), path("fedavg", equal))


@pytest.mark.parametrize("name", ["scaffold", "feddyn"])
def test_the_first_round_knows_no_correction_yet(name: str) -> None:
    # Given clients with as many examples each, all of them in the first round
    equal = [replace(client, num_examples=7) for client in clients()]

    # Then SCAFFOLD's first round is FedAvg's; FedDyn's is FedProx's with mu = alpha, less h / alpha = x - mean
    first = path(name, equal)[0]
    if name == "scaffold":
        np.testing.assert_allclose(first, path("fedavg", equal)[0], rtol=1e-12)
    else:
        prox = path("fedprox", equal, mu=0.1)[0]
        np.testing.assert_allclose(first, prox + (prox - START), rtol=1e-6)


def test_mimelites_first_round_is_a_step_of_one_less_beta() -> None:
    # Given equal clients that do one step: from x, they end at x - eta (1 - beta) g
    one_step = [replace(client, num_examples=7, num_steps=1) for client in clients()]
    first = path("mimelite", one_step, momentum=0.9)[0]
    fedavg = path("fedavg", one_step)[0]
    np.testing.assert_allclose(first - START, 0.1 * (fedavg - START), rtol=1e-6)


def test_mimes_clients_that_do_one_step_each_do_that_of_full_gradients_with_momentum() -> None:
    # Given clients that do one step from x: g_i(y) = g_i(x), so each of them goes along (1 - beta) c + beta s
    one_step = [replace(client, num_steps=1) for client in clients()]

    # When rounds are carried out
    x, s = START, np.zeros_like(START)
    for cohort, found in zip(ROUNDS, path("mime", one_step, momentum=0.5), strict=True):
        s = 0.5 * np.mean([one_step[k].gradient(x) for k in cohort], axis=0) + 0.5 * s

        # Then that is what the model does, whatever their batches say
        np.testing.assert_allclose(found, x - 0.1 * s, rtol=1e-6)
        x = found


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_clients_makes_no_difference(name: str) -> None:
    # Given the same cohorts in another order
    one, other = (Federation(load_algorithm(name), clients(), START) for _ in range(2))
    for cohort in ROUNDS:
        # When they carry out a round, then the model is the same but for rounding
        np.testing.assert_allclose(one.round(cohort), other.round(cohort[::-1]), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(number=st.integers(1, 4), seed=st.integers(0, 1000))
def test_clients_that_are_all_equal_are_as_one(name: str, number: int, seed: int) -> None:
    # Given several clients that have the same data, and one alone
    [single] = clients(1, seed=seed)
    one = Federation(load_algorithm(name), [single], START)
    many = Federation(load_algorithm(name), [single] * number, START)

    # When all take part in four rounds, then they go the same way
    for _ in range(4):
        np.testing.assert_allclose(many.round(range(number)), one.round([0]), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_client_at_its_optimum_stays_there(name: str) -> None:
    # Given a client whose loss is least where the model is
    federation = Federation(load_algorithm(name), [Quadratic(np.eye(3), START, 5, 3)], START)
    # Then nothing moves
    for _ in range(3):
        np.testing.assert_allclose(federation.round([0]), START, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_rejected_update_leaves_no_trace(name: str) -> None:
    # Given a client whose updates are rejected, and a federation in which it isn't in the cohort
    with_it, without = (Federation(load_algorithm(name), clients(), START) for _ in range(2))
    for _ in range(2):
        with_it.round([0, 1, 2], accepted=lambda k: k != 2)
        without.round([0, 1])

    # When it is accepted again, then all is as if it had not been there
    assert with_it.round([0, 1, 2]).tobytes() == without.round([0, 1, 2]).tobytes()


@pytest.mark.parametrize("name", ["scaffold", "feddyn", "mime"])
def test_where_clients_differ_it_ends_near_the_optimum_of_all_and_fedavg_does_not(name: str) -> None:
    # Given equal weights and clients whose optima differ, each of which does many steps
    some = [replace(client, num_examples=7, num_steps=20) for client in clients()]
    hessian = sum(client.matrix.T @ client.matrix for client in some)
    optimum = np.linalg.solve(hessian, sum(client.gradient(np.zeros(3)) for client in some) * -1)

    # When all take part in many rounds
    ends = {}
    for algorithm in ("fedavg", name):
        federation = Federation(load_algorithm(algorithm), some, START)
        for _ in range(300):
            federation.round(range(5))
        ends[algorithm] = np.linalg.norm(federation.w - optimum)

    # Then it is at the optimum but for the batches' noise, and FedAvg has stopped far from it
    assert ends[name] < 0.05 * ends["fedavg"], ends


JOINING = {
    "all from the start": lambda _: range(5),
    "three join after the first round": lambda r: range(2) if r == 0 else range(5),
    "one after the other": lambda r: range(min(5, 1 + r // 4)),
    "two leave and return": lambda r: range(3) if 10 <= r < 30 else range(5),
    "two join, leave and return": lambda r: range(3) if r < 5 or 15 <= r < 25 else range(5),
}


@pytest.mark.parametrize("cohorts", JOINING.values(), ids=JOINING)
@pytest.mark.parametrize(("name", "changes"), [("scaffold", {}), ("feddyn", {"alpha": 1.0})])
def test_it_ends_at_the_optimum_of_all_whenever_they_join_leave_and_return(
    name: str, changes: dict[str, float], cohorts: Callable[[int], Sequence[int]]
) -> None:
    # Given clients whose optima differ, not all of which are there in all rounds
    some = [Smooth(client.matrix, client.optimum, 7, 10) for client in clients()]
    federation = Federation(load_algorithm(name), some, START, changes, known=set())
    # When they have been at it for 200 rounds, in the last of which all take part
    for number in range(200):
        federation.round(cohorts(number))
    # Then the gradient of the sum of their losses is gone
    gradient = sum(client.gradient(federation.w) for client in some)
    assert np.linalg.norm(gradient) < 1e-10 * np.linalg.norm(sum(client.gradient(START) for client in some))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_of_a_model_of_float16_is_float32(name: str) -> None:
    # Given a model of float16 that moves by 2^-13, whose square no float16 holds
    algorithm = load_algorithm(name)
    x = {"w": np.zeros(2, np.float16)}
    target = {"w": np.full(2, 2.0**-13, np.float16)}
    # When the orchestrator's part is carried out
    kinds = (*algorithm.sent, *algorithm.surveyed)
    came = {kind: {"w": np.full(2, 2.0**-20, np.float32)} for kind in kinds}
    settings = dict(algorithm.settings)
    server = ServerRound(x, target, came, {}, num_updates=2, num_clients=2, settings=settings, surveyed=came)
    parameters, state = algorithm.step(server)
    # Then the model is of float16, and all that is kept of float32
    assert parameters["w"].dtype == np.float16
    assert all(arrays["w"].dtype == np.float32 for arrays in state.values())
    # And v = beta_2 tau² + (1 - beta_2) d² is what it is in float32
    if name == "fedadam":
        np.testing.assert_allclose(state["v"]["w"], 0.99e-6 + 0.01 * 2.0**-26, rtol=1e-6)


@pytest.mark.parametrize("loss", [0.0, 1e-300, 1e100, 1e308])
@pytest.mark.parametrize("q", [0.1, 1.0, 5.0, 40.0])
def test_a_loss_that_a_client_makes_up_neither_breaks_qfedavg_nor_decides_alone(loss: float, q: float) -> None:
    # Given honest clients with a loss of 1, and one that claims another and is far away
    algorithm = load_algorithm("qfedavg")
    honest = [UpdateInfo(str(k), 10, 5, {"start_loss": 1.0}, lambda: 0.01) for k in range(4)]
    liar = UpdateInfo("liar", 10, 5, {"start_loss": loss}, lambda: 1e12)
    # When they are weighed
    weights = algorithm.weigh([*honest, liar], OPTIONS, {"q": q})
    # Then the numbers are numbers, and the step isn't longer than to where the updates point
    assert np.isfinite([*weights.weights, weights.scale]).all()
    assert 0 <= weights.scale <= 1
