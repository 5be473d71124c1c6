"""SCAFFOLD: control variates correct each client's drift from the others.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh: SCAFFOLD: Stochastic Controlled Averaging for Federated Learning, ICML
2020 (https://arxiv.org/abs/1910.06378), Algorithm 1, with x the global model, N clients, S of them in the round, K
local steps at the learning rate eta_l:

    y_i <- y_i - eta_l (g_i(y_i) - c_i + c)                     (line 10, client)
    c_i+ = c_i - c + (x - y_i) / (K eta_l)                      (line 12, option II, client)
    x <- x + eta_g / |S| sum (y_i - x)                          (lines 16 and 17, orchestrator)
    c <- c + 1 / N sum (c_i+ - c_i)                             (lines 16 and 17, orchestrator)

c_i stays at the client; its change comes with the update, and is dropped with it. The client adds the change as the
orchestrator receives it, so c stays the mean of all c_i under lossy compression.

N is the number of clients known so far. Because N grows as clients join, the orchestrator keeps and sends the sum
C = N c. A client that leaves keeps its share of C, like a client that isn't drawn.

In the first round all variates are zero, so clients train as in FedAvg. Option II is meant for plain SGD: with another
optimiser (x - y_i) / (K eta_l) is no mean of gradients, so the run is refused.
"""

from __future__ import annotations

from celeriac.algorithms import Algorithm, LocalResult, LocalTask, ServerRound, State, equally
from celeriac.algorithms.tree_util import combine, zeros_like
from tasks.arrays import Arrays
from tasks.workload import Step


def local(task: LocalTask) -> LocalResult:
    """Train along g_i(y) - c_i + c; send the change of c_i, keep the new one."""
    start = task.parameters
    own = task.state.get("c") or zeros_like(start)
    total = task.broadcast.get("sum_c") or zeros_like(start)
    common = combine(lambda c: c / task.num_clients, total)
    correction = combine(lambda c, c_i: c - c_i, common, own)

    def direction(step: Step) -> Arrays:
        return {name: gradient + correction[name] for name, gradient in step.gradients.items()}

    trained = task.train(direction)
    if trained.num_steps == 0:
        return LocalResult(trained)
    per_step = 1 / (trained.num_steps * task.options.learning_rate)
    change = combine(lambda c, x, y: per_step * (x - y) - c, common, start, trained.parameters)

    def kept(arrived: State) -> State:
        return {"c": combine(lambda c_i, change: c_i + change, own, arrived["c"])}

    return LocalResult(trained, sent={"c": change}, state=kept)


def step(server: ServerRound) -> tuple[Arrays, State]:
    """Return x + eta_g (mean - x), and C + |S| times the mean change."""
    eta = server.settings["server_learning_rate"]
    before = server.state.get("sum_c") or zeros_like(server.parameters)
    total = combine(lambda c, change: c + server.num_updates * change, before, server.sent["c"])
    moved = combine(lambda x, mean: (1 - eta) * x + eta * mean, server.parameters, server.target)
    return {**server.target, **moved}, {"sum_c": total}


SCAFFOLD = Algorithm(
    name="scaffold",
    local=local,
    weigh=equally,
    step=step,
    settings={"server_learning_rate": 1.0},
    sent=("c",),
    broadcast=("sum_c",),
    keeps=("sum_c",),
    needs=("train_along", "plain_sgd"),
)
