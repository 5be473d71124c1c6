"""An orchestrator with a valid key that oversteps a site's policy: each order is refused, with its reason.

The worker is a real one, over a real server; the orders are signed by the key that it enrolled with, where nothing else
is said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis import Redis

from orchestrator.trust.authority import Authority
from orchestrator.trust.here import enrol_here
from tasks import arrays, names
from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.blobs.in_redis import RedisChunks
from tasks.broker.app import make_app
from tasks.messages import Order, Study, TrainOptions, encode
from tasks.orders.evaluate import EvaluateOrder
from tasks.orders.set_parameters import SetParametersOrder
from tasks.orders.statistics import StatisticsOrder
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.orders.verify import VerifyOrder
from tasks.scope import ClientScope, result_key
from tasks.trust.enrolment import Enrolment
from tasks.trust.keys import fingerprint, new_key
from tasks.trust.signing import ANSWER, check_signed, signed_order
from tests.integration import harness
from tests.integration.harness import WORKLOADS, Field, Program, wait_until
from worker.policy.rules import pinned

CLIENT = "hospital"
ENROLLED = {"CLIENT_WORKLOAD": "overreached:Study", "CLIENT_PART": "5/5"}
BLOB = {"name": "fl:blob:model/run/0", "digest": "0" * 64}
POLICY = """
orders = ["train", "evaluate", "statistics", "set_parameters", "disconnect"]
orchestrators = ["{key}"]
workloads = ["{workload}"]
algorithms = ["fedavg"]
run_config = ["rows"]
max_epochs = 10
max_timeout_s = 60
max_orders_per_day = {a_day}
min_examples = 20

[tells]
examples_rounded_to = 20
metrics = ["train_loss"]
"""


@dataclass
class Site:
    """An enrolled client's worker, and the hostile orchestrator's means."""

    broker: Redis
    authority: Authority
    enrolment: Enrolment
    program: Program
    model: BlobRef
    number: int = 0

    def order(self, kind: type[Order] = TrainOrder, **changes: Any) -> dict[str, Any]:
        """An order that the policy allows, but for the changes."""
        self.number += 1
        seconds, _ = self.broker.time()
        fields: dict[str, Any] = {
            "order_id": ClientScope(CLIENT).order_id("run", self.number, kind.name),
            "run_id": "run",
            "client_id": CLIENT,
            "round_number": self.number,
            "workload": "overreached:Study",
            "timeout_s": 30.0,
            "deadline": seconds + 60.0,
            "parameters": encode(self.model),
            "study": encode(Study()),
            "seed": 7,
            **changes,
        }
        known = {name: value for name, value in fields.items() if name in kind.model_fields or name in changes}
        return {"protocol": kind.model_fields["protocol"].default, **known}

    def signed(self, kind: type[Order], order: dict[str, Any], key: Ed25519PrivateKey | None = None) -> dict[str, Any]:
        """The order with the orchestrator's signature, or another's."""
        return signed_order(kind.name, order, key or self.authority.key)

    def send(self, kind: type[Order], message: dict[str, Any], task_id: str = "") -> str:
        """Put an order into the client's queue; return the id of its task."""
        app = make_app("hostile", self.authority.broker_url, include=())
        sent = task_id or message["order_id"]
        app.send_task(names.order_task(kind.name), args=(message,), task_id=sent, queue=ClientScope(CLIENT).queue)
        return str(sent)

    def answer(self, task_id: str) -> dict[str, Any]:
        """The answer to an order, which has the client's signature."""
        raw = wait_until(
            lambda: self.broker.get(result_key(task_id)), f"{task_id} is answered:\n{self.program.output}", 30
        )
        answer: dict[str, Any] = json.loads(raw)["result"]
        check_signed(ANSWER, answer, self.enrolment.key.public_key())
        return answer

    def ask(self, kind: type[Order] = TrainOrder, **changes: Any) -> dict[str, Any]:
        """The answer to an order that is signed."""
        return self.answer(self.send(kind, self.signed(kind, self.order(kind, **changes))))

    def write_policy(self, a_day: int = 1000) -> None:
        """Write the site's policy."""
        write_policy(self.enrolment.folder, fingerprint(self.authority.key), a_day)


def write_policy(folder: Path, key: str, a_day: int = 1000) -> None:
    """Write a policy into an enrolment's folder, in one step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(WORKLOADS)
        text = POLICY.format(key=key, workload=pinned("overreached:Study"), a_day=a_day)
    (folder / "next.toml").write_text(text)
    (folder / "next.toml").replace(folder / "policy.toml")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A worker that has joined, under its policy."""
    folder = tmp_path_factory.mktemp("site")
    with harness.server() as server:
        authority = Authority.make(folder / "op", f"redis+socket://{server.socket}")
        own = Enrolment(enrol_here(authority, CLIENT, None))
        for line in authority.users.read_text().splitlines()[1:]:  # the first shuts out this test
            server.client.execute_command("ACL SETUSER", *line.split()[1:])  # type: ignore[no-untyped-call]
        write_policy(own.folder, fingerprint(authority.key))
        field = Field(folder)
        try:
            program = field.client("", "", **ENROLLED, CLIENT_ENROLMENT=str(own.folder))
            content = arrays.encode({"point": np.ones(10, np.float32)})
            model = blob.publish(RedisChunks(server.client), BLOB["name"], content)
            wait_until(lambda: " joined, " in program.output, f"the client joins:\n{program.output}")
            yield Site(server.client, authority, own, program, model)
        finally:
            field.end()


def study(**options: Any) -> dict[str, Any]:
    return encode(Study(options=TrainOptions(**options)))


def given(**run_config: Any) -> dict[str, Any]:
    return encode(Study(run_config=run_config))


POLICY_HAS = "refused by the site: its policy has "
OVERREACH: dict[str, tuple[type[Order], dict[str, Any], str]] = {
    "score another's update": (VerifyOrder, {}, "orders = [train, evaluate, statistics, set_parameters, disconnect]"),
    "ask before training": (SurveyOrder, {"algorithm": "mime"}, "and this is survey"),
    "another algorithm": (TrainOrder, {"algorithm": "scaffold"}, "algorithms = [fedavg], and the run's is scaffold"),
    "code as an algorithm": (TrainOrder, {"algorithm": "os:system"}, "algorithms = [fedavg]"),
    "another compression": (TrainOrder, {"compression": "topk:0.01"}, "compressions = [none]"),
    "code as a compression": (TrainOrder, {"compression": "shutil:rmtree"}, "compressions = [none]"),
    "too many passes": (TrainOrder, {"study": study(epochs=11)}, "max_epochs = 10, and the order asks for 11"),
    "too many steps": (TrainOrder, {"study": study(max_steps=10**6)}, "the order asks for 1000000 steps"),
    "a step of one example": (TrainOrder, {"study": study(max_steps=1, batch_size=1)}, "min_examples = 20"),
    "hardly any examples": (TrainOrder, {"study": study(batch_size=1)}, "min_examples = 20, and it trained on fewer"),
    "too long": (TrainOrder, {"timeout_s": 61.0}, "max_timeout_s = 60, and the order may take 61 s"),
    "for ever": (TrainOrder, {"deadline": 1e12}, "no place for orders that hold for more than 604800 s"),
    "a setting": (TrainOrder, {"study": given(field="name")}, "run_config = [rows], and the run gives field"),
    "rows beside the model": (TrainOrder, {"study": given(rows=True)}, "tells.results = [], and there is ages"),
    "judge ten examples": (EvaluateOrder, {}, "min_examples = 20, and these are fewer"),
}


@pytest.mark.parametrize("what", OVERREACH)
def test_an_order_that_oversteps_the_policy_is_refused(site: Site, what: str) -> None:
    # Given an order that is signed, and asks for too much
    kind, changes, rule = OVERREACH[what]
    # When it comes, then its answer has the rule, and nothing of the data
    answer = site.ask(kind, **changes)
    assert (answer["status"], answer["update"], answer["metrics"], answer["num_examples"]) == ("failed", None, {}, 0)
    assert rule in answer["reason"]
    assert "policy has " in answer["reason"]
    # And the site's own log has it, too
    assert any(answer["order_id"] in line and rule in line for line in site.program.output.splitlines())


MALFORMED: dict[str, tuple[type[Order], dict[str, Any], str]] = {
    "another client's": (TrainOrder, {"client_id": "berta"}, "LookupError"),
    "another workload": (TrainOrder, {"workload": "digits"}, "UnfitOrderError: the run trains the workload 'digits'"),
    "a model that no memory holds": (
        TrainOrder, {"parameters": BLOB | {"size_bytes": 2**39}}, "UnfitOrderError: the order comes with 549755813888",
    ),
    "a model without end": (TrainOrder, {"parameters": BLOB | {"size_bytes": 2**80}}, "MessageError: TrainOrder: para"),
    "a model with another digest": (TrainOrder, {"parameters": BLOB | {"size_bytes": 1}}, "BlobError: "),
    "a path as a run": (TrainOrder, {"run_id": "../../etc"}, "MessageError: TrainOrder: run_id"),
    "a path as a model's name": (SetParametersOrder, {"run_id": "/etc/x"}, "MessageError: SetParametersOrder: run_id"),
    "a learning rate that climbs": (TrainOrder, {"study": {"options": {"learning_rate": -1}}}, "MessageError: "),
    "half a day and more": (TrainOrder, {"timeout_s": 43_201.0}, "MessageError: TrainOrder: timeout_s"),
}  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED)
def test_an_order_that_no_policy_allows_is_refused(site: Site, what: str) -> None:
    kind, changes, said = MALFORMED[what]
    message = site.order(kind, **changes)
    answer = site.answer(site.send(kind, site.signed(kind, message)))
    assert (answer["status"], answer["update"]) == ("failed", None)
    assert said in answer["reason"]


FORGED: dict[str, tuple[Callable[[Site, dict[str, Any]], dict[str, Any]], str]] = {
    "not signed": (lambda _, order: order, "it isn't signed"),
    "signed by another orchestrator": (lambda site, order: site.signed(TrainOrder, order, new_key()), "another's"),
    "signed by the client": (lambda site, order: site.signed(TrainOrder, order, site.enrolment.key), "another's"),
    "signed as another kind": (lambda site, order: site.signed(EvaluateOrder, order), "signature isn't right"),
    "changed": (lambda site, order: site.signed(TrainOrder, order) | {"timeout_s": 1.0}, "signature isn't right"),
}


@pytest.mark.parametrize("what", FORGED)
def test_an_order_that_isnt_the_orchestrators_is_refused(site: Site, what: str) -> None:
    forge, said = FORGED[what]
    answer = site.answer(site.send(TrainOrder, forge(site, site.order())))
    assert answer["status"] == "failed"
    assert answer["reason"].startswith("NotSignedError: the order isn't the orchestrator's: ")
    assert said in answer["reason"]


def test_an_order_that_is_sent_again_is_carried_out_once(site: Site) -> None:
    # Given an order that was carried out
    message = site.signed(TrainOrder, site.order())
    first = site.answer(site.send(TrainOrder, message))
    assert first["status"] == "trained"
    # When it is sent again, then it is answered as before, as the time that it took shows
    site.broker.delete(result_key(message["order_id"]))
    assert site.answer(site.send(TrainOrder, message))["duration_s"] == first["duration_s"]
    assert site.program.output.count(f"order {message['order_id']}: begun") == 1
    # And under another id, to have it carried out anew, it is refused
    again = site.answer(site.send(TrainOrder, message, task_id=f"{message['order_id']}-again"))
    assert again["reason"].startswith("NotSignedError: the order isn't the one of task ")


def test_an_order_whose_time_is_over_is_not_begun(site: Site) -> None:
    # Given an order of an hour ago, when it is sent with one of now behind it, then that one alone is begun
    late = site.send(TrainOrder, site.signed(TrainOrder, site.order(deadline=site.order()["deadline"] - 3600)))
    assert site.ask()["status"] == "trained"
    assert f"order {late}: begun" not in site.program.output
    assert site.broker.get(result_key(late)) is None


def test_an_order_that_is_allowed_tells_no_more_than_the_policy_lets_it(site: Site) -> None:
    # Given fifty examples that are told in twenties, and a metric that isn't named
    answer = site.ask()
    assert (answer["status"], answer["num_examples"], answer["metrics"]) == ("trained", 40, {"train_loss": 0.5})
    # And the announcement tells neither labels nor the machine
    said = harness.announced(site.broker, CLIENT)
    assert (said["num_examples"], said["labels"], said["hardware"]["memory_bytes"]) == (40, {}, 0)


def test_statistics_tell_of_no_group_that_is_small_whatever_is_asked(site: Site) -> None:
    # Given a person of 99, and one who lives in B, when somebody asks for groups of one, and for an edge below 99
    answer = site.ask(StatisticsOrder, min_count=1, edges={"age": [0, 98, 100]})
    # Then neither is told by itself
    assert answer["min_count"] == 10
    assert answer["columns"]["age"]["bins"]["counts"] == [0, 50, 0]
    assert "B" not in json.dumps(answer["columns"])


def test_a_day_s_orders_come_to_an_end(site: Site) -> None:
    # Given an owner who allows no more orders today, while the worker runs
    site.write_policy(a_day=1)
    assert site.ask()["reason"] == f"{POLICY_HAS}max_orders_per_day = 1"
    # When the policy can't be read, or is gone, then nothing is done
    policy = site.enrolment.folder / "policy.toml"
    for break_it in (lambda: policy.write_text("orders = ["), policy.unlink):
        break_it()
        assert site.ask()["reason"] == "refused by the site: its policy can't be read"
    assert "python -m worker.policy init writes one" in site.program.output
    # And when it is right again, then the worker, which has lived through all this, trains
    site.write_policy()
    assert site.ask()["status"] == "trained"
    assert site.program.process.poll() is None
