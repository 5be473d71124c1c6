from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.store.audit import AuditTrail, read_trail
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.responses import read_response, says_ready
from orchestrator.transport.signatures import Signatures
from tasks.messages import (
    HARD_LIMIT_S,
    MAX_CPU_S,
    MAX_DURATION_S,
    MAX_TIMEOUT_S,
    MAX_TURN_S,
    Order,
    Response,
    Status,
    encode,
)
from tasks.orders.disconnect import DisconnectOrder
from tasks.orders.evaluate import EvaluateOrder
from tasks.orders.set_parameters import SetParametersOrder
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.protocol import PROTOCOL
from tasks.trust.keys import new_key
from tasks.trust.signing import ANSWER, NotSignedError, signed, signed_order
from tests.support import blob_ref, evaluate_order, run_config, survey_order, surveyed, train_order, trained

ORDER = train_order("anna")
_COMMON = ORDER.model_dump(include={"run_id", "client_id", "round_number", "workload", "timeout_s", "deadline"})
SET_PARAMETERS = SetParametersOrder.model_validate({**_COMMON, "order_id": "anna/run/1/set", "parameters": blob_ref()})
DISCONNECT = DisconnectOrder.model_validate(
    {**_COMMON, "order_id": "anna/run/1/disconnect", "incarnation": "first", "message": "bye"}
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)


def success(result: object) -> bytes:
    return json.dumps({"status": "SUCCESS", "result": result}).encode()


def changed(**changes: object) -> bytes:
    """A good answer in all but these values."""
    return success({**encode(trained(ORDER)), **changes})


def verdict(raw: bytes | str, order: Order = ORDER) -> tuple[str, str]:
    """Status and reason of what was read; whatever it is, it is an answer to the order."""
    response = read_response(raw, order)
    assert (response.order_id, response.client_id) == (order.order_id, order.client_id)
    return response.status.value, response.reason


@pytest.mark.parametrize("status", [Status.TRAINED, Status.TIMED_OUT])
def test_an_update_is_taken_as_it_is(status: Status) -> None:
    # Given the stored result of a client that trained
    sent = trained(ORDER, status=status, metrics={"train_loss": 0.5}, num_epochs=2.5)
    # When it is read, as bytes or text, then it is what was sent
    assert read_response(success(encode(sent)), ORDER) == sent
    assert read_response(success(encode(sent)).decode(), ORDER) == sent


def test_the_longest_order_may_have_taken_all_its_time_on_many_cores() -> None:
    # Given an answer of a client that had all the time that there is, and its turn, on 512 cores
    longest_s = MAX_TIMEOUT_S + MAX_TURN_S + HARD_LIMIT_S
    sent = trained(ORDER, duration_s=longest_s, cpu_s=512 * longest_s)
    # When it is read, then it is taken, as is one at the very bounds
    assert read_response(success(encode(sent)), ORDER) == sent
    at_bounds = trained(ORDER, duration_s=MAX_DURATION_S, cpu_s=MAX_CPU_S)
    assert read_response(success(encode(at_bounds)), ORDER) == at_bounds


@pytest.mark.parametrize(
    ("order", "status"),
    [
        (ORDER, Status.FAILED),
        (evaluate_order("anna"), Status.EVALUATED),
        (evaluate_order("anna"), Status.FAILED),
        (SET_PARAMETERS, Status.DONE),
        (SET_PARAMETERS, Status.FAILED),
        (DISCONNECT, Status.DONE),
        (DISCONNECT, Status.FAILED),
    ],
)
def test_answers_without_an_update_are_taken_as_they_are(order: Order, status: Status) -> None:
    # Given an answer with a status that the order allows
    sent = Response(order_id=order.order_id, client_id="anna", status=status, reason="so it is")
    # When it is read, then it is what was sent
    assert read_response(success(encode(sent)), order) == sent


def allowed(order: Order) -> set[Status]:
    match order:
        case SurveyOrder():
            return {Status.SURVEYED, Status.FAILED}
        case TrainOrder():
            return {Status.TRAINED, Status.TIMED_OUT, Status.FAILED}
        case EvaluateOrder():
            return {Status.EVALUATED, Status.FAILED}
        case _:
            return {Status.DONE, Status.FAILED}


@pytest.mark.parametrize("order", [ORDER, survey_order("anna"), evaluate_order("anna"), SET_PARAMETERS, DISCONNECT])
@pytest.mark.parametrize("status", Status)
def test_a_status_that_the_order_doesnt_have_is_rejected(order: Order, status: Status) -> None:
    # Given an answer of each status to each order
    response = {"protocol": PROTOCOL, "order_id": order.order_id, "client_id": "anna", "status": status.value}
    # When it is read, then only the order's own are no reason to reject it
    found, reason = verdict(success(response), order)
    assert (reason.startswith(f"status {status.value}: allowed are ")) == (status not in allowed(order))
    if status not in allowed(order):
        assert found == "rejected"
        assert all(each.value in reason for each in allowed(order))


@pytest.mark.parametrize("raw", [b"", b"nonsense", b"{", b"\xff\xfe", b"\x80", b"[" * 100_000, b"1" * 5000])
def test_what_is_not_json_is_rejected(raw: bytes) -> None:
    # Given bytes of any other kind, when they are read, then that is the reason
    assert verdict(raw) == ("rejected", "the answer is not JSON")


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"SUCCESS"', b"NaN", b'[{"status": "SUCCESS"}]'])
def test_json_that_is_no_object_is_rejected(raw: bytes) -> None:
    # Given JSON of another kind, when it is read, then that is the reason
    assert verdict(raw) == ("rejected", "the answer is not a JSON object")


def test_an_answer_longer_than_its_order_allows_is_rejected_unread() -> None:
    # Given a good answer with spaces up to the limit, and one more
    raw = changed().ljust(2**18)
    # When both are read, then the longer one isn't taken
    assert verdict(raw) == ("trained", "")
    assert verdict(raw + b" ") == ("rejected", "the answer has 262145 bytes: 262144 are allowed")


@pytest.mark.parametrize(
    "result", [None, [], 1, "trained", {}, {"status": "trained"}, [{}], [{"status": "trained"}], True]
)
def test_a_result_that_is_no_answer_is_rejected(result: object) -> None:
    # Given a task that succeeded with something else, when it is read, then the reason names what is missing
    status, reason = verdict(success(result))
    assert status == "rejected"
    assert reason.startswith("Response: ")


def test_a_result_that_isnt_there_is_rejected() -> None:
    # Given a task that succeeded with nothing, when it is read, then it is rejected
    assert verdict(b'{"status": "SUCCESS"}')[0] == "rejected"


@pytest.mark.parametrize(
    "document",
    [
        {"status": "FAILURE", "result": {"exc_type": "SystemExit", "exc_message": ["1"], "exc_module": "builtins"}},
        {"status": "FAILURE", "result": {"exc_type": ["os", {"system": "true"}]}},
        {"status": "FAILURE", "result": {}},
        {"status": "FAILURE", "result": "text"},
        {"status": "REVOKED", "result": None},
        {"status": ["SUCCESS"], "result": 1},
        {"result": encode(trained(ORDER))},
        {},
        {"status": "FAILURE", "result": {"exc_type": "x" * 250_000}},
    ],
)
def test_a_task_that_failed_for_a_reason_of_its_own_is_told_and_raises_nothing(document: object) -> None:
    # Given the stored failure of a task, whoever made it up
    # When it is read, then the slot is failed, nothing of it is told, and no exception is made of it
    told = "the client's worker gave up the order; see the log of its worker"
    assert verdict(json.dumps(document)) == ("failed", told)


def failed(order: Order, kind: str, *text: str) -> tuple[str, str]:
    document = {"status": "FAILURE", "result": {"exc_type": kind, "exc_message": text}}
    response = read_response(json.dumps(document), order)
    return response.status.value, response.reason


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (
            train_order(timeout_s=5),
            "train() didn't end within 5 s (--timeout): ask context.budget.is_over() before each step",
        ),
        (evaluate_order(timeout_s=2.5), "evaluate() didn't end within 2.5 s (--timeout)"),
        (
            SET_PARAMETERS.model_copy(update={"timeout_s": 7.0}),
            "the order 'set_parameters' wasn't carried out within 7 s",
        ),
    ],
)
def test_an_order_that_overran_is_told_by_the_method_and_the_time_that_it_had(order: Order, told: str) -> None:
    # Given what Celery stores when a process had to be killed, as its time was long over
    assert failed(order, "TimeLimitExceeded", "5.0") == ("failed", told)


def test_who_knows_no_such_orders_is_told_how_to_have_it_know_them() -> None:
    told = "the client knows no orders of the kind 'train': CLIENT_ORDERS has it know one"
    assert failed(ORDER, "NotRegistered", "worker.train") == ("failed", told)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"status": "FAILURE", "result": {"exc_type": "\\ud800"}}',
        b'{"status": "\\udfff", "result": 1}',
        b'{"status": "FAILURE", "result": {"exc_type": ["\\ud800"]}}',
    ],
)
def test_a_failure_whose_name_is_half_a_letter_is_a_failure_like_any_other(raw: bytes) -> None:
    # Given a name with a surrogate without its other half, which JSON can hold and UTF-8 can't
    # When it is read, then the slot is failed, and the orchestrator isn't
    assert verdict(raw)[0] == "failed"


@pytest.mark.parametrize(
    "change", [{"order_id": "anna/run/2/train"}, {"order_id": "bert/run/1/train"}, {"client_id": "bert"}]
)
def test_an_answer_to_another_order_is_rejected(change: dict[str, object]) -> None:
    # Given an answer with the id of another round or client, when it is read, then it doesn't count for this one
    assert verdict(changed(**change)) == ("rejected", "the answer is for another order")


@pytest.mark.parametrize(
    "name",
    ["fl:blob:update/bert/run/1", "fl:blob:model/run/0", "fl:blob:update/anna/run/2", "fl:federation", "x" * 512],
)
def test_a_client_cant_point_to_the_update_of_another_or_to_anything_else(name: str) -> None:
    # Given an answer whose update lies at another name, when it is read, then both names are told
    reason = f"the update is said to be at '{name[:200]}' instead of 'fl:blob:update/anna/run/1'"
    assert verdict(changed(update=blob_ref(name).model_dump())) == ("rejected", reason)


def test_what_a_first_exchange_brings_is_at_a_name_of_its_own() -> None:
    # Given an answer whose arrays are where they are to be, and one that points to the client's update of that round
    order = survey_order("anna")
    stolen = surveyed(order, blob_ref("fl:blob:update/anna/run/1"))
    # When they are read, then only the first is taken
    assert read_response(success(encode(surveyed(order))), order) == surveyed(order)
    assert verdict(success(encode(stolen)), order) == (
        "rejected",
        "the update is said to be at 'fl:blob:update/anna/run/1' instead of 'fl:blob:update/anna/run/1/survey'",
    )


@pytest.mark.parametrize("response", [trained(ORDER, num_examples=6), surveyed(survey_order("anna"), num_examples=6)])
def test_nobody_has_more_examples_than_it_announced(response: Response) -> None:
    # Given a client that announced five examples, when it claims six, then its arrays aren't taken
    order = ORDER if response.status is Status.TRAINED else survey_order("anna")
    found = read_response(success(encode(response)), order, max_examples=5)
    assert (found.status, found.reason) == (Status.REJECTED, "it claims 6 examples, the client announced 5")


def test_an_update_is_needed_where_one_was_made_and_has_no_place_elsewhere() -> None:
    # Given a trained answer without an update, a failed one with, and an evaluated one with
    evaluate = evaluate_order("anna")
    with_update = trained(evaluate, status=Status.EVALUATED, update=blob_ref("fl:blob:update/anna/run/1"))
    # When they are read, then the reason says which
    assert verdict(changed(update=None)) == ("rejected", "an answer that is trained needs an update")
    assert verdict(changed(status="failed")) == ("rejected", "an answer that is failed has no update")
    assert verdict(success(encode(with_update)), evaluate) == (
        "rejected",
        "an answer that is evaluated has no update",
    )


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"order_id": None}, "order_id"),
        ({"order_id": "x" * 301}, "order_id"),
        ({"client_id": "x" * 65}, "client_id"),
        ({"status": "splendid"}, "status"),
        ({"num_examples": -1}, "num_examples"),
        ({"num_examples": 1.5}, "num_examples"),
        ({"num_examples": 10**13}, "num_examples"),
        ({"num_examples": 1e300}, "num_examples"),
        ({"num_steps": -5}, "num_steps"),
        ({"num_epochs": -0.5}, "num_epochs"),
        ({"num_epochs": math.nan}, "num_epochs"),
        ({"num_epochs": math.inf}, "num_epochs"),
        ({"duration_s": -1}, "duration_s"),
        ({"duration_s": math.inf}, "duration_s"),
        ({"duration_s": MAX_DURATION_S + 1}, "duration_s"),
        ({"cpu_s": -1}, "cpu_s"),
        ({"cpu_s": math.nan}, "cpu_s"),
        ({"cpu_s": MAX_CPU_S + 1}, "cpu_s"),
        ({"metrics": {"train_loss": math.nan}}, "metrics.train_loss"),
        ({"metrics": {"train_loss": -math.inf}}, "metrics.train_loss"),
        ({"metrics": {"x" * 101: 1.0}}, "metrics"),
        ({"metrics": {"train_loss": [1.0]}}, "metrics.train_loss"),
        ({"metrics": {"train_loss": "bad"}}, "metrics.train_loss"),
        ({"metrics": [1]}, "metrics"),
        ({"reason": ["x"]}, "reason"),
        ({"metrics": {"\ud800": 1.0}}, "metrics"),
        (
            {"update": {"name": "fl:blob:update/anna/run/1", "size_bytes": 2**41, "digest": "0" * 64}},
            "update.size_bytes",
        ),
        (
            {"update": {"name": "fl:blob:update/anna/run/1", "size_bytes": 5, "digest": "0" * 64, "chunk_bytes": 1}},
            "update.chunk",
        ),
        ({"update": "fl:blob:update/anna/run/1"}, "update"),
        ({"update": {"name": "fl:blob:update/anna/run/1", "size_bytes": 1, "digest": "0"}}, "update.digest"),
        ({"protocol": 1}, "it speaks protocol 1, here it is 2 (celeriac "),
        ({"protocol": ["x"]}, "it speaks protocol ['x'], here it is 2 (celeriac "),
    ],
)
def test_a_value_out_of_range_is_rejected_by_name(change: dict[str, object], where: str) -> None:
    # Given an answer with one value that it can't have, when it is read, then the reason names it, and is short
    status, reason = verdict(changed(**change))
    assert status == "rejected"
    assert reason.startswith(f"Response: {where}")
    assert len(reason) <= 500


@pytest.mark.parametrize("name", ["later", "\ud800", "__class__", "x" * 10_000])
def test_what_a_later_version_says_beside_is_passed_over(name: str) -> None:
    # Given an answer with a field that isn't known, at its top and further in, when it is read, then it is taken
    assert read_response(changed(**{name: 1}), ORDER) == read_response(changed(), ORDER)
    further_in = {**encode(trained(ORDER))["update"], name: 1}  # type: ignore[dict-item]  # it is a dict
    assert read_response(changed(update=further_in), ORDER) == read_response(changed(), ORDER)


@given(raw=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_at_all_is_an_answer_to_the_order_in_the_end(raw: bytes) -> None:
    # Given anything, when it is read, then the slot is failed or rejected
    assert verdict(raw)[0] in {"failed", "rejected"}


@given(
    change=st.dictionaries(st.sampled_from(sorted(Response.model_fields)) | st.text(max_size=3), JSON, max_size=3),
    document=st.dictionaries(st.sampled_from(["status", "result", "traceback", "children"]), JSON, max_size=2),
)
def test_any_change_to_a_good_answer_is_still_an_answer_to_the_order(
    change: dict[str, Any], document: dict[str, Any]
) -> None:
    # Given a good answer with other values here and there, when it is read, then nothing is raised
    result = {**encode(trained(ORDER)), **change}
    verdict(json.dumps({"status": "SUCCESS", "result": result, **document}))


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("signal 9 (SIGKILL) Job: 3.", ": ended by SIGKILL, as the system does when memory runs out"),
        ("signal 11 (SIGSEGV) Job: 3.", ": ended by SIGSEGV, a crash in compiled code"),
        ("signal 15 (SIGTERM) Job: 3.", ": ended by SIGTERM"),
        ("exitcode 3 Job: 3.", ": it ended itself, with exit code 3"),
        ("", ""),
    ],
)
def test_an_order_whose_process_died_is_lost_and_told_how_it_died(text: str, how: str) -> None:
    # Given what Celery stores when a pool process is gone
    # When it is read, then the slot is lost, as with any process that is killed, and the reason says what is known
    found = failed(ORDER, "WorkerLostError", f"Worker exited prematurely: {text}")
    assert found == ("lost", f"the client's process died while it trained{how}")


@pytest.mark.parametrize(
    ("order", "raw", "expected"),
    [
        (train_order(waits_for_turn=True), b'{"status": "READY"}', True),
        (train_order(waits_for_turn=True), b'{"status": "SUCCESS"}', False),
        (train_order(waits_for_turn=True), b"READY", False),
        (survey_order(waits_for_turn=True), b'{"status": "READY"}', True),
        (train_order(), b'{"status": "READY"}', False),
        (evaluate_order(), b'{"status": "READY"}', False),
    ],
)
def test_only_who_was_told_to_wait_for_a_turn_is_ready(order: Order, raw: bytes, expected: bool) -> None:
    assert says_ready(raw, order) is expected


def test_who_says_that_it_is_ready_without_having_been_told_to_wait_has_failed() -> None:
    response = read_response(b'{"status": "READY", "result": null}', train_order())
    assert (response.status, response.reason) == (
        Status.FAILED,
        "the client's worker gave up the order; see the log of its worker",
    )


class Enrolled:
    """Keys of the orchestrator and of anna, who is the only client that is enrolled."""

    def __init__(self) -> None:
        self.key, self.annas = new_key(), new_key()
        self.noted: list[dict[str, Any]] = []

    def signatures(self) -> Signatures:
        return Signatures(self, lambda answer, _: self.noted.append(answer))

    def key_of(self, client_id: str) -> Ed25519PublicKey:
        if client_id != "anna":
            raise NotSignedError(f"{client_id} isn't enrolled")
        return self.annas.public_key()


def test_an_answer_that_its_client_signed_is_taken_as_it_is() -> None:
    enrolled, sent = Enrolled(), trained(ORDER, metrics={"train_loss": 0.1 + 0.2}, num_epochs=2.5)
    answer = signed(ANSWER, encode(sent), enrolled.annas)
    assert read_response(success(answer), ORDER, signatures=enrolled.signatures()) == sent
    assert enrolled.noted == [answer]


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (lambda said, keys: said, "it isn't signed"),
        (lambda said, keys: None, "it isn't signed"),
        (lambda said, keys: signed(ANSWER, said, new_key()), "its signature isn't right"),
        (lambda said, keys: signed(ANSWER, said, keys.key), "its signature isn't right"),
        (lambda said, keys: {**signed(ANSWER, said, keys.annas), "num_examples": 99}, "its signature isn't right"),
        (lambda said, keys: signed(ANSWER, {**said, "order_id": "former"}, keys.annas), "for another order"),
        (lambda said, keys: signed_order("train", said, keys.annas), "its signature isn't right"),
    ],
    ids=["unsigned", "nothing", "by another", "by the orchestrator", "changed", "replayed", "as an order"],
)
def test_an_answer_that_its_client_did_not_sign_for_this_order_is_rejected(
    forge: Callable[[Any, Enrolled], object], reason: str
) -> None:
    enrolled = Enrolled()
    response = read_response(success(forge(encode(trained(ORDER)), enrolled)), ORDER, signatures=enrolled.signatures())
    assert response.status is Status.REJECTED
    assert reason in response.reason


def test_an_answer_of_a_client_that_is_not_enrolled_is_rejected() -> None:
    enrolled, order = Enrolled(), train_order("bert")
    raw = success(signed(ANSWER, encode(trained(order)), enrolled.annas))
    response = read_response(raw, order, signatures=enrolled.signatures())
    assert (response.status, response.reason) == (Status.REJECTED, "bert isn't enrolled")


def test_an_answer_that_its_client_nests_as_deeply_as_can_be_read_is_rejected(tmp_path: Path) -> None:
    # Given a run with an audit trail, and a client that signs a text of its own making
    enrolled = Enrolled()
    folder = RunFolder.create(tmp_path / "run", run_config())
    signatures = Signatures(enrolled, AuditTrail(folder, "run", enrolled.key).note_answer)
    for depth in (70, *range(sys.getrecursionlimit() - 120, sys.getrecursionlimit())):
        said = json.dumps(encode(trained(ORDER)) | {"x": 0}, sort_keys=True, separators=(",", ":"))
        said = said.replace('"x":0', f'"x":{"[" * depth}{"]" * depth}')
        signature = base64.b64encode(enrolled.annas.sign(f"celeriac answer\n{said}".encode())).decode()
        raw = f'{{"status":"SUCCESS","result":{said[:-1]},"signature":"{signature}"}}}}'
        # When the answer is read, then it is rejected
        assert read_response(raw, ORDER, signatures=signatures).status is Status.REJECTED
    # And the trail has nothing of them that couldn't be read again
    assert [entry.what for entry, _ in read_trail(folder.audit)] == ["run"]
