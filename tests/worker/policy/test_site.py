"""A client with a policy: what an orchestrator that oversteps it is told, and what it isn't."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tasks import arrays
from tasks.announcement import Announcement, Hardware
from tasks.arrays import Arrays
from tasks.auxiliary import Sets
from tasks.blobs.chunks import MemoryChunks
from tasks.errors import ConfigurationError
from tasks.evaluation import Evaluation
from tasks.messages import Order, Response, Status, Study, TrainOptions
from tasks.names import update_name
from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.statistics import StatisticsOrder
from tasks.orders.train import TrainOrder
from tasks.workload import TrainResult
from tests.support import PULL, Pull, train_order
from tests.worker.asked import MODEL, acting, evaluating, to_evaluate, to_train
from worker.client import Client
from worker.handlers import KINDS
from worker.policy.protection import NotProtectedError
from worker.policy.rules import pinned
from worker.policy.site import SitePolicy
from worker.settings import Allowed

KEY = "AAAAAA-BBBBBB-CCCCCC-DDDDDD"
TRAINS = 'orders = ["train"]\nalgorithms = ["fedavg"]\n'


def ask(client: Client, path: Path, order: Order) -> Response:
    """Carry an order out at a client of a site with this policy."""
    bound = replace(client, allowed=Allowed(policy=SitePolicy(path)))
    return SitePolicy(path).carry_out(order, bound, lambda: KINDS[order.name].handle(bound, order))


def trains(**options: Any) -> Study:
    return Study(options=TrainOptions(**{"epochs": 1, **options}))


LIMITED = f"""
orders = ["train"]
orchestrators = ["{{key}}"]
workloads = ["{pinned("tests.support:Pull")}", "{pinned(PULL.partition(",")[0])}"]
algorithms = ["fedavg"]
max_epochs = 1
max_timeout_s = inf
max_orders_per_day = 1000
min_examples = 2
tells.examples_rounded_to = 1
"""
OVERREACH: list[tuple[str, str, dict[str, Any], str]] = [
    ("orders", 'orders = ["evaluate"]', {}, "orders = [evaluate], and this is train"),
    (
        "algorithm",
        'orders = ["train"]\nalgorithms = ["fedprox"]',
        {},
        "algorithms = [fedprox], and the run's is fedavg",
    ),
    ("unlisted code", TRAINS, {"algorithm": "os:RULE"}, "algorithms = [fedavg], and the run's is os:RULE"),
    ("compression", TRAINS, {"compression": "int8"}, "compressions = [none], and the run's is int8"),
    ("epochs", f"{TRAINS}max_epochs = 2", {"study": trains(epochs=3)}, "max_epochs = 2, and the order asks for 3"),
    # the client has two examples, of which nothing is told: five steps of one are two and a half passes, six of two six
    ("steps", f"{TRAINS}max_epochs = 2", {"study": trains(max_steps=5, batch_size=1)}, "the order asks for 5 steps"),
    ("batches", f"{TRAINS}max_epochs = 2", {"study": trains(max_steps=6, batch_size=2)}, "the order asks for 6 steps"),
    ("seconds", f"{TRAINS}max_timeout_s = 5", {"timeout_s": 6.0}, "max_timeout_s = 5, and the order may take 6 s"),
    (
        "another workload",
        f'{TRAINS}workloads = ["digits"]',
        {},
        "workloads = [digits], and the client has tests.",
    ),
    (
        "a setting of its own",
        f'{TRAINS}run_config = ["hidden"]',
        {"study": Study(run_config={"hidden": 64, "field": "name"})},
        "run_config = [hidden], and the run gives field",
    ),
    # a step of one example has an update that is that example's gradient
    (
        "few steps",
        f"{TRAINS}min_examples = 2",
        {"study": trains(max_steps=1, batch_size=1)},
        "min_examples = 2, and the order asks for 1 steps of 1",
    ),
    ("unsigned", f'{TRAINS}orchestrators = ["{KEY}"]', {}, f"orchestrators = [{KEY}], and the client is not enrolled"),
    ("few examples", f"{TRAINS}min_examples = 3", {}, "min_examples = 3, and the client has fewer"),
]


@pytest.mark.parametrize(("rules", "changes", "said"), [case[1:] for case in OVERREACH], ids=[c[0] for c in OVERREACH])
def test_an_order_that_oversteps_the_policy_is_refused_with_the_rule(
    client: Client, chunks: MemoryChunks, tmp_path: Path, rules: str, changes: dict[str, Any], said: str
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(rules)
    response = ask(client, path, to_train(chunks, **changes))
    assert (response.status, response.update) == (Status.FAILED, None)
    assert response.reason.startswith("refused by the site: its policy has ")
    assert said in response.reason


def test_what_the_policy_allows_is_done_and_told_without_the_rest(
    client: Client, chunks: MemoryChunks, tmp_path: Path
) -> None:
    # Given a site that tells of no metric, and of its examples in fives
    path = tmp_path / "policy.toml"
    path.write_text(f"{TRAINS}max_epochs = 1\n[tells]\nexamples_rounded_to = 2")
    data = replace(client.data, train=np.ones((3, 3), np.float32), num_train=3)
    # When it trains
    response = ask(replace(client, data=data), path, to_train(chunks))
    # Then that is what its answer has
    assert (response.status, response.num_examples, response.metrics) == (Status.TRAINED, 2, {})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        # Five of seven examples are told: two passes of one example a step are ten steps, not fourteen
        ({"epochs": 2, "batch_size": 1}, (5, 10, 2.0)),
        # Six steps are six, and the passes that they would be over five examples, not seven
        ({"max_steps": 6, "batch_size": 1}, (5, 6, 1.2)),
        ({"epochs": 3}, (5, 3, 3.0)),
    ],
)
def test_steps_and_passes_dont_tell_how_many_examples_there_are(
    client: Client, chunks: MemoryChunks, tmp_path: Path, options: dict[str, int], told: tuple[int, int, float]
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f"{TRAINS}[tells]\nexamples_rounded_to = 5")
    num_steps = options.get("max_steps") or options["epochs"] * -(-7 // options.get("batch_size", 32))
    seven = acting(client, lambda model: TrainResult(model, 7, num_steps, num_steps / 7))
    seven = replace(seven, data=replace(client.data, num_train=7))
    response = ask(seven, path, to_train(chunks, study=trains(**options)))
    assert (response.num_examples, response.num_steps, response.num_epochs) == told


def test_no_reason_names_a_metric_that_may_not_be_told(client: Client, chunks: MemoryChunks, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f'{TRAINS}[tells]\nmetrics = ["epsilon"]')
    metrics = {"epsilon": np.inf, "deaths": np.nan}
    response = ask(acting(client, lambda model: TrainResult(model, 2, 1, 1.0, metrics)), path, to_train(chunks))
    assert (response.status, response.reason) == (Status.TRAINED, "its metric epsilon is inf")


def test_few_examples_are_too_few_for_statistics_too(client: Client, chunks: MemoryChunks, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('orders = ["statistics", "disconnect"]\nmin_examples = 3')
    common = {name: getattr(to_train(chunks), name) for name in Order.model_fields}
    assert "min_examples = 3" in ask(client, path, StatisticsOrder(**common)).reason
    leave = DisconnectOrder(**common, incarnation="another", message="bye")
    assert ask(client, path, leave).status is Status.DONE


def test_metrics_that_are_named_are_told(client: Client, chunks: MemoryChunks, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('orders = ["evaluate"]\n[tells]\nmetrics = ["loss"]')
    response = ask(client, path, to_evaluate(chunks))
    assert (response.status, list(response.metrics)) == (Status.EVALUATED, ["loss"])


def test_a_policy_holds_as_soon_as_it_is_changed(client: Client, chunks: MemoryChunks, tmp_path: Path) -> None:
    # Given a site that trains
    path = tmp_path / "policy.toml"
    path.write_text(TRAINS)
    policy = SitePolicy(path)

    def status() -> tuple[Status, str]:
        order = to_train(chunks)
        response = policy.carry_out(order, client, lambda: order.respond(Status.FAILED, reason="carried out"))
        return response.status, response.reason

    assert status()[1] == "carried out"
    # When its owner forbids it, breaks the file, removes it, then nothing is done, until it is right again
    for text in ('orders = ["evaluate"]', "orders = [", None):
        path.unlink() if text is None else path.write_text(text)
        assert status()[1].startswith("refused by the site: its policy")
    path.write_text(f"{TRAINS}\n# again")
    assert status()[1] == "carried out"


def test_a_day_has_so_many_orders_and_no_more(client: Client, chunks: MemoryChunks, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f"{TRAINS}max_orders_per_day = 2")
    # When three orders come, one more of them after the worker was started anew, then the third is refused
    told = [ask(client, path, to_train(chunks)) for _ in range(3)]
    assert [response.status for response in told] == [Status.TRAINED, Status.TRAINED, Status.FAILED]
    assert told[2].reason.endswith("max_orders_per_day = 2")
    # And another day has its own
    count = client.folder / "orders_of_the_day.json"
    count.write_text(json.dumps({"day": "2001-01-01", "count": 2}))
    assert ask(client, path, to_train(chunks)).status is Status.TRAINED


def test_a_day_has_no_more_orders_if_they_come_at_the_same_time(client: Client, tmp_path: Path) -> None:
    # Given a limit of 50, when 100 orders come to four processes of a worker, here threads, then 50 are done
    path = tmp_path / "policy.toml"
    path.write_text(f"{TRAINS}max_orders_per_day = 50")
    order = train_order()

    def told(_: int) -> str:
        done = lambda: order.respond(Status.FAILED, reason="done")  # noqa: E731
        return SitePolicy(path).carry_out(order, client, done).reason

    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(told, range(100))].count("done") == 50


def test_a_client_may_leave_when_its_day_is_over(client: Client, chunks: MemoryChunks, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('orders = ["train", "disconnect"]\nalgorithms = ["fedavg"]\nmax_orders_per_day = 1')
    common = {name: getattr(to_train(chunks), name) for name in Order.model_fields}
    assert ask(client, path, to_train(chunks)).status is Status.TRAINED
    leave = DisconnectOrder(**common, incarnation=client.incarnation, message="bye")
    assert ask(client, path, leave).status is Status.DONE


def test_an_update_leaves_no_longer_than_the_policy_lets_it(
    client: Client, chunks: MemoryChunks, tmp_path: Path
) -> None:
    # Given an order whose training moves a model by one at least, at a site that lets it move by a hundredth
    path = tmp_path / "policy.toml"
    path.write_text(f"{TRAINS}[protects]\nclip = 0.01\nnoise = 0")
    response = ask(client, path, to_train(chunks))
    assert response.update is not None
    sent = arrays.decode(chunks.get(response.update))
    assert np.linalg.norm(sent["point"] - MODEL["point"]) == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize(
    ("trained", "beside", "results"),
    [(MODEL, {"control": MODEL}, {}), (MODEL, {}, {"counts": np.ones(2)}), ({}, {"gradients": MODEL}, {})],
)
def test_a_site_that_clips_sends_nothing_that_it_can_t_clip(
    tmp_path: Path, trained: Arrays, beside: Sets, results: Arrays
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("orders = []\n[protects]\nclip = 1\nnoise = 0")
    with pytest.raises(NotProtectedError, match="sends more than the trained model"):
        SitePolicy(path).protected(MODEL, trained, beside, results)


def test_a_policy_that_breaks_while_a_client_trains_lets_nothing_leave_and_isnt_told(
    client: Client, chunks: MemoryChunks, tmp_path: Path
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(TRAINS)

    def train(model: Arrays) -> TrainResult:
        path.write_text("orders = [")
        return TrainResult(model, 2, 1, 1.0)

    with pytest.raises(NotProtectedError, match=r"^this site's policy can't be read$"):
        ask(acting(client, train), path, to_train(chunks))


def test_what_compression_lost_of_an_update_that_wasnt_clipped_never_leaves_with_one_that_is(
    client: Client, chunks: MemoryChunks, tmp_path: Path
) -> None:
    # Given a client whose compression has lost much of an update
    path, rules = tmp_path / "policy.toml", f'{TRAINS}compressions = ["topk"]\n'
    path.write_text(rules)

    def order(**changes: Any) -> TrainOrder:
        return to_train(chunks, compression="topk:0.08", **changes)  # one of three values

    def far(model: Arrays) -> TrainResult:
        return TrainResult({**model, "point": model["point"] + np.array([9, 8, 7], np.float32)}, 2, 1, 1.0)

    first = ask(acting(client, far), path, order())
    assert first.update is not None
    # When its owner has updates clipped, and the next order asks for what comes after that update
    path.write_text(f"{rules}[protects]\nclip = 1\nnoise = 0")
    second = ask(acting(client, far), path, order(accepted=update_name(1, first.update.digest)))
    # Then nothing of what was lost is in what is sent
    assert second.update is not None
    assert np.abs(arrays.decode(chunks.get(second.update))["delta:sizes"]).max() < 1


def test_an_announcement_has_what_may_be_told(tmp_path: Path) -> None:
    whole = Announcement(
        client_id="anna", incarnation="i", workload="digits", num_examples=57, num_held_out=19, labels={"1": 57},
        hardware=Hardware(num_cpus=64, memory_bytes=2**40, accelerator="H100"),
    )  # fmt: skip
    path = tmp_path / "policy.toml"
    assert SitePolicy(None).announced(whole) == whole
    path.write_text("orders = []\n[tells]\nexamples_rounded_to = 10")
    told = SitePolicy(path).announced(whole)
    assert (told.num_examples, told.num_held_out, told.labels) == (50, 10, {})
    assert told.hardware == Hardware(num_cpus=1, memory_bytes=0)
    path.write_text("orders = []\n[tells]\nlabels = true\nhardware = true")
    assert SitePolicy(path).announced(whole) == whole


def test_nothing_is_told_of_fewer_examples_than_the_policy_has(
    client: Client, chunks: MemoryChunks, tmp_path: Path
) -> None:
    # Given a site that holds three examples out
    path = tmp_path / "policy.toml"
    path.write_text('orders = ["evaluate"]\nmin_examples = 4\n[tells]\nmetrics = ["loss"]')
    many = replace(client, data=replace(client.data, num_train=9))
    # When fewer are held out than the policy has, then nobody looks at them
    assert "min_examples = 4, and the client holds out fewer" in ask(many, path, to_evaluate(chunks)).reason
    # And when the workload alone knows how many there are, then it isn't told what it found
    unknown = replace(many, data=replace(many.data, test=0.0, num_test=None))
    response = ask(evaluating(unknown, Evaluation(0.5, 3)), path, to_evaluate(chunks))
    assert (response.status, response.metrics) == (Status.FAILED, {})
    assert response.reason.endswith("min_examples = 4, and these are fewer")
    assert ask(evaluating(unknown, Evaluation(0.5, 4)), path, to_evaluate(chunks)).metrics == {"loss": 0.5}


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (TrainResult(MODEL, 2, 1, 0.5), "min_examples = 2, and it trained on fewer"),
        (TrainResult(MODEL, 2, 1, 1.0, results={"rows": np.ones(3)}), "tells.results = [ages], and there is rows"),
    ],
    ids=["cut short after a step of one example", "results of another name"],
)
def test_an_update_that_tells_more_than_the_policy_allows_doesnt_leave(
    client: Client, chunks: MemoryChunks, tmp_path: Path, result: TrainResult, said: str
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f'{TRAINS}min_examples = 2\n[tells]\nresults = ["ages"]')
    with pytest.raises(NotProtectedError) as caught:
        SitePolicy(path).check_result(to_train(chunks, study=trains(batch_size=1)), result)
    assert said in str(caught.value)
    SitePolicy(path).check_result(to_train(chunks), TrainResult(MODEL, 2, 1, 1.0, results={"ages": np.ones(3)}))


def test_a_setting_that_is_the_workload_s_own_isnt_one_that_the_run_gives(
    client: Client, chunks: MemoryChunks, tmp_path: Path
) -> None:
    class Settled(Pull):
        run_config: ClassVar = {"hidden": 64}

    path = tmp_path / "policy.toml"
    path.write_text(TRAINS)
    settled = replace(client, workload=Settled())
    assert ask(settled, path, to_train(chunks, study=Study(run_config={"hidden": 64}))).status is Status.TRAINED
    other = ask(settled, path, to_train(chunks, study=Study(run_config={"hidden": 65})))
    assert other.reason.endswith("run_config = [], and the run gives hidden")


def test_an_enrolled_client_takes_its_own_orchestrators_orders_for_so_long(
    client: Client, chunks: MemoryChunks, tmp_path: Path
) -> None:
    # Given a policy that names a key, at a client that enrolled with it, and at one that enrolled with another
    path, now = tmp_path / "policy.toml", client.connection.time()
    path.write_text(LIMITED.format(key=KEY))
    order = to_train(chunks, workload=client.workload_name, deadline=now + 60)

    def told(key: str, order: TrainOrder) -> str:
        done = lambda: order.respond(Status.FAILED, reason="done")  # noqa: E731
        return SitePolicy(path, key).carry_out(order, client, done).reason

    # When an order comes, then one of them does it, and nobody if it holds for ever
    assert told(KEY, order) == "done"
    assert told(KEY[::-1], order).endswith(f"orchestrators = [{KEY}], and the client is enrolled with {KEY[::-1]}")
    assert "no place for orders that hold for more than 604800 s" in told(KEY, to_train(chunks))


def test_a_client_doesnt_begin_where_every_order_would_be_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    SitePolicy(None).check_own("digits")
    path.write_text(LIMITED.format(key=KEY))
    SitePolicy(path, KEY).check_own("tests.support:Pull")
    with pytest.raises(ConfigurationError, match="and the client is enrolled with other"):
        SitePolicy(path, "other").check_own("tests.support:Pull")
    with pytest.raises(ConfigurationError, match=r"CLIENT_WORKLOAD=mnist,net=cnn needs 'mnist' there"):
        SitePolicy(path, KEY).check_own("mnist,net=cnn")
    with pytest.raises(ConfigurationError, match=r"needs 'tests.worker.asked:Acting@sha256:[0-9a-f]{64}' there"):
        SitePolicy(path, KEY).check_own("tests.worker.asked:Acting")


def test_an_order_of_the_site_s_own_kind_is_named_with_its_file_s_digest(
    client: Client, chunks: MemoryChunks, tmp_path: Path
) -> None:
    path, order = tmp_path / "policy.toml", train_order()

    def told(code: str) -> str:
        done = lambda: order.respond(Status.FAILED, reason="done")  # noqa: E731
        return SitePolicy(path).carry_out(order, client, done, code).reason

    path.write_text(f"orders = ['{pinned('tests.worker.asked:ASK')}']\nalgorithms = ['fedavg']")
    assert told("tests.worker.asked:ASK") == "done"
    assert told("tests.worker.asked:TELL").endswith("orders = [tests.worker.asked:ASK], and this is train")
    assert told("").endswith("orders = [tests.worker.asked:ASK], and this is train")


def test_the_policy_says_whether_texts_of_exceptions_are_told(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    assert [SitePolicy(None).tells_errors(otherwise=other) for other in (True, False)] == [True, False]
    for text, told in (("", False), ("[tells]\nerrors = true", True), ("[tells", False)):
        path.write_text(f"orders = []\n{text}")
        assert [SitePolicy(path).tells_errors(otherwise=other) for other in (True, False)] == [told, told]
