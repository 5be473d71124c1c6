"""Each algorithm against a transcription of its paper's pseudocode, several rounds, some clients missing in some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import pytest

from celeriac.algorithms import load_algorithm
from tests.celeriac.algorithms.quadratics import RATE, ROUNDS, Federation, Quadratic, Vector, clients, sgd

START = np.array([2.0, -1.0, 0.5])
Cohorts = tuple[tuple[int, ...], ...]
Paper = Callable[[list[Quadratic], Vector], Iterator[Vector]]


def plain(_w: Vector, gradient: Vector, _number: int) -> Vector:
    return gradient


def total(vectors: Iterable[Vector]) -> Vector:
    found: Vector = np.sum(list(vectors), axis=0)
    return found


def mean_by_examples(all_clients: list[Quadratic], cohort: tuple[int, ...], ends: list[Vector]) -> Vector:
    n = np.array([all_clients[k].num_examples for k in cohort], float)
    return total(share * end for share, end in zip(n / n.sum(), ends, strict=True))


def fedavg(all_clients: list[Quadratic], w: Vector) -> Iterator[Vector]:
    for cohort in ROUNDS:
        w = mean_by_examples(all_clients, cohort, [sgd(all_clients[k], w, plain) for k in cohort])
        yield w


def proximal(mu: float, x: Vector, y: Vector, g: Vector, _number: int) -> Vector:
    return g + mu * (y - x)


def fedprox(all_clients: list[Quadratic], w: Vector, mu: float = 0.3) -> Iterator[Vector]:
    for cohort in ROUNDS:
        ends = [sgd(all_clients[k], w, partial(proximal, mu, w)) for k in cohort]
        w = mean_by_examples(all_clients, cohort, ends)
        yield w


def fedavgm(all_clients: list[Quadratic], w: Vector, beta: float = 0.8, eta: float = 0.5) -> Iterator[Vector]:
    v = np.zeros_like(w)
    for cohort in ROUNDS:
        pseudo_gradient = w - mean_by_examples(all_clients, cohort, [sgd(all_clients[k], w, plain) for k in cohort])
        v = beta * v + pseudo_gradient
        w = w - eta * v
        yield w


def adaptive(name: str) -> Paper:
    eta, beta_1, beta_2, tau = 0.05, 0.7, 0.9, 0.01

    def paper(all_clients: list[Quadratic], x: Vector) -> Iterator[Vector]:
        m, v = np.zeros_like(x), np.full_like(x, tau**2)
        for cohort in ROUNDS:
            delta = mean_by_examples(all_clients, cohort, [sgd(all_clients[k], x, plain) for k in cohort]) - x
            m = beta_1 * m + (1 - beta_1) * delta
            if name == "fedadagrad":
                v = v + delta**2
            elif name == "fedyogi":
                v = v - (1 - beta_2) * delta**2 * np.sign(v - delta**2)
            else:
                v = beta_2 * v + (1 - beta_2) * delta**2
            x = x + eta * m / (np.sqrt(v) + tau)
            yield x

    return paper


def fednova(all_clients: list[Quadratic], x: Vector) -> Iterator[Vector]:
    for cohort in ROUNDS:
        n = np.array([all_clients[k].num_examples for k in cohort], float)
        p, tau = n / n.sum(), np.array([all_clients[k].num_steps for k in cohort])
        d = [(x - sgd(all_clients[k], x, plain)) / (RATE * all_clients[k].num_steps) for k in cohort]
        x = x - (p @ tau) * RATE * total(p_k * d_k for p_k, d_k in zip(p, d, strict=True))
        yield x


def feddyn(all_clients: list[Quadratic], theta: Vector, alpha: float = 0.4) -> Iterator[Vector]:
    h, gradients = np.zeros_like(theta), [np.zeros_like(theta) for _ in all_clients]

    def direction(own: Vector, start: Vector, y: Vector, g: Vector, _number: int) -> Vector:
        return g - own + alpha * (y - start)

    for cohort in ROUNDS:
        ends = []
        for k in cohort:
            end = sgd(all_clients[k], theta, partial(direction, gradients[k], theta))
            gradients[k] = gradients[k] - alpha * (end - theta)
            ends.append(end)
        h = h - alpha / len(all_clients) * total(end - theta for end in ends)
        theta = total(ends) / len(ends) - h / alpha
        yield theta


def scaffold(all_clients: list[Quadratic], x: Vector, eta_g: float = 0.7) -> Iterator[Vector]:
    c, c_of = np.zeros_like(x), [np.zeros_like(x) for _ in all_clients]

    def corrected(c_k: Vector, c: Vector, _y: Vector, g: Vector, _number: int) -> Vector:
        return g - c_k + c

    for cohort in ROUNDS:
        moves, changes = [], []
        for k in cohort:
            y = sgd(all_clients[k], x, partial(corrected, c_of[k], c))
            c_plus = c_of[k] - c + (x - y) / (all_clients[k].num_steps * RATE)
            moves.append(y - x)
            changes.append(c_plus - c_of[k])
            c_of[k] = c_plus
        x = x + eta_g * total(moves) / len(cohort)
        c = c + len(cohort) / len(all_clients) * total(changes) / len(cohort)
        yield x


def mimelite(all_clients: list[Quadratic], x: Vector, beta: float = 0.6) -> Iterator[Vector]:
    s = np.zeros_like(x)

    def direction(s: Vector, _y: Vector, g: Vector, _number: int) -> Vector:
        return (1 - beta) * g + beta * s

    for cohort in ROUNDS:
        full = total(all_clients[k].gradient(x) for k in cohort) / len(cohort)
        ends = [sgd(all_clients[k], x, partial(direction, s)) for k in cohort]
        s = (1 - beta) * full + beta * s
        x = total(ends) / len(cohort)
        yield x


def mime(all_clients: list[Quadratic], x: Vector, beta: float = 0.6) -> Iterator[Vector]:
    s = np.zeros_like(x)
    for cohort in ROUNDS:
        c = total(all_clients[k].gradient(x) for k in cohort) / len(cohort)
        ends = []
        for k in cohort:

            def direction(_y: Vector, g: Vector, j: int, k: int = k, x: Vector = x, c: Vector = c) -> Vector:
                return (1 - beta) * (g - all_clients[k].batch_gradient(x, j) + c) + beta * s  # noqa: B023

            ends.append(sgd(all_clients[k], x, direction))
        x, s = total(ends) / len(cohort), (1 - beta) * c + beta * s
        yield x


def qfedavg(all_clients: list[Quadratic], w: Vector, q: float = 1.5) -> Iterator[Vector]:
    lipschitz = 1 / RATE
    for cohort in ROUNDS:
        deltas, hs = [], []
        for k in cohort:
            client = all_clients[k]
            loss, dw = client.loss(w), lipschitz * (w - sgd(client, w, plain))
            # Drawn by examples in the paper, counted by examples here.
            deltas.append(client.num_examples * loss**q * dw)
            hs.append(client.num_examples * (q * loss ** (q - 1) * (dw @ dw) + lipschitz * loss**q))
        w = w - total(deltas) / sum(hs)
        yield w


ADAPTIVE = {"server_learning_rate": 0.05, "beta_1": 0.7, "beta_2": 0.9, "tau": 0.01}
CASES: dict[str, tuple[Paper, dict[str, float]]] = {
    "fedavg": (fedavg, {}),
    "fedprox": (fedprox, {"mu": 0.3}),
    "fedavgm": (fedavgm, {"momentum": 0.8, "server_learning_rate": 0.5}),
    "fedadagrad": (adaptive("fedadagrad"), {k: v for k, v in ADAPTIVE.items() if k != "beta_2"}),
    "fedadam": (adaptive("fedadam"), ADAPTIVE),
    "fedyogi": (adaptive("fedyogi"), ADAPTIVE),
    "fednova": (fednova, {}),
    "feddyn": (feddyn, {"alpha": 0.4}),
    "scaffold": (scaffold, {"server_learning_rate": 0.7}),
    "mimelite": (mimelite, {"momentum": 0.6}),
    "mime": (mime, {"momentum": 0.6}),
    "qfedavg": (qfedavg, {"q": 1.5}),
}


@pytest.mark.parametrize("name", CASES)
def test_it_does_what_its_paper_says_round_after_round(name: str) -> None:
    # Given five clients that differ, and a transcription of the paper's algorithm
    paper, settings = CASES[name]
    federation = Federation(load_algorithm(name), clients(), START, settings)

    # When both carry out six rounds with the same cohorts
    for cohort, expected in zip(ROUNDS, paper(clients(), START), strict=True):
        # Then they are at the same place after each
        np.testing.assert_allclose(federation.round(cohort), expected, rtol=1e-6, atol=1e-7)

    # And have gone somewhere, while what isn't a float stayed with the updates
    assert np.linalg.norm(federation.w - START) > 0.1
    assert federation.model["count"] == 0


def test_every_algorithm_has_a_transcription() -> None:
    from celeriac.algorithms import ALGORITHMS

    assert CASES.keys() == ALGORITHMS.keys()
