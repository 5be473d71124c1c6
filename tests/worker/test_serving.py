from __future__ import annotations

import logging
import re
import subprocess
import sys
import time

import pytest

from tasks.blobs.chunks import MemoryChunks
from tasks.errors import BlobError, DataMissingError, UnfitOrderError
from tasks.messages import Response, Status
from tasks.orders.train import TrainOrder
from tasks.user_code import UserCodeError, user_code
from tests.worker.asked import (
    Noting,
    reason,
    to_train,
)
from worker.client import Client
from worker.handlers import train
from worker.serving import Serving


def test_an_order_that_comes_twice_is_carried_out_once(client: Client, serving: Serving, chunks: MemoryChunks) -> None:
    # Given an order that was carried out
    orders: list[TrainOrder] = []

    def act() -> Response:
        orders.append(to_train(chunks))
        return train.handle(client, orders[-1])

    first = serving.carry_out(act, "anna/run/1/train", "anna")
    # When it comes again, then it is answered as before, and that of another round is carried out
    assert serving.carry_out(act, "anna/run/1/train", "anna") == first
    assert len(orders) == 1
    serving.carry_out(act, "anna/run/2/train", "anna")
    assert len(orders) == 2


def test_an_order_that_comes_again_after_its_update_was_taken_is_carried_out_again(
    client: Client, serving: Serving, chunks: MemoryChunks
) -> None:
    # Given an order that was carried out, and whose update is not there any more
    order = to_train(chunks)
    first = serving.carry_out(lambda: train.handle(client, order), order.order_id, "anna")
    assert first.update is not None
    chunks.delete(first.update.chunk_names())
    # When it comes again, then there is an update again, the same
    second = serving.carry_out(lambda: train.handle(client, order), order.order_id, "anna")
    assert second.update == first.update
    assert client.stands_by(second)


def test_an_order_that_comes_again_while_its_answer_is_stored_is_not_carried_out_again(
    client: Client, serving: Serving, connection: Noting, chunks: MemoryChunks
) -> None:
    # Given an order whose update was taken, and whose round is still open, so that its answer is there
    order = to_train(chunks)
    connection.answered.add(order.order_id)
    first = serving.carry_out(lambda: train.handle(client, order), order.order_id, "anna")
    assert first.update is not None
    chunks.delete(first.update.chunk_names())
    # When it comes again, then it is answered as before, and no update that nobody wants is sent
    assert serving.carry_out(lambda: train.handle(client, order), order.order_id, "anna") == first
    assert first.update.chunk_names()[0] not in chunks.chunks


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("x" * 5000), "ValueError: " + "x" * 1988),
        (KeyError(), "KeyError:"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
)
def test_the_reason_of_a_failure_is_kept_short(error: Exception, expected: str) -> None:
    # Given something that raises
    def act() -> Response:
        raise error

    # When it is carried out, then the reason has 2000 letters at most
    assert reason(act) == expected


def raised(error: Exception, *, tells_errors: bool = False) -> str:
    """What an answer says of what users' code raised, with a path and a value in its text."""
    serving = Serving()
    serving.tells_errors = tells_errors

    def act() -> Response:
        with user_code("train()"):
            raise error
        raise AssertionError

    return serving.carry_out(act, "o", "anna").reason


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ValueError("/data/ward.csv: 'Anna, 47'"),
            r"train\(\): ValueError \(test_serving\.py, line \d+, in act\)",
        ),
        (KeyError(), r"train\(\): KeyError \(test_serving\.py, line \d+, in act\)"),
        (DataMissingError("/data/ward isn't there"), r"DataMissingError \(test_serving\.py, line \d+, in act\)"),
        (BlobError("blob 'fl:blob:x' is missing"), "BlobError: blob 'fl:blob:x' is missing"),
        (UnfitOrderError("the run's algorithm 'x' is not allowed here"), "UnfitOrderError: the run's algorithm 'x' .*"),
        (UserCodeError("train() returned no arrays"), r"train\(\) returned no arrays"),
    ],
)
def test_no_text_of_an_exception_leaves_unless_the_site_allows_it(
    error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a client whose site tells no texts, when its code raises, then the answer has the kind and the place
    reason = raised(error)
    assert re.fullmatch(rf"{told}(; see the log of its worker)?", reason)
    assert "ward" not in reason
    # And the log has all of it
    assert str(error) in caplog.text
    # And where the site allows it, so has the answer
    assert str(error) in raised(error, tells_errors=True)


def test_a_failure_in_letters_that_utf8_hasnt_is_a_failed_answer(caplog: pytest.LogCaptureFixture) -> None:
    # What is captured of the log may be sent between processes, as UTF-8.
    caplog.set_level(logging.CRITICAL, logger="worker.serving")

    # Given an error that names a file whose name is no UTF-8
    def act() -> Response:
        raise OSError("no such file: caf\udce9")

    # When it is carried out, then there is an answer all the same
    assert reason(act).startswith("OSError: no such file: caf")


def test_a_signal_to_end_isnt_an_answer() -> None:
    # Given something that is interrupted
    def act() -> Response:
        raise KeyboardInterrupt

    # When it is carried out, then it ends
    with pytest.raises(KeyboardInterrupt):
        Serving().carry_out(act, "anna/run/1/train", "anna")


def test_an_answer_says_how_long_it_took() -> None:
    # Given an answer, when it is carried out, then the time is in it, in whole microseconds
    done = Response(order_id="o", client_id="anna", status=Status.DONE, duration_s=1e4)
    response = Serving().carry_out(lambda: done, "o", "anna")
    assert 0 <= response.duration_s < 1e4
    assert response.duration_s == round(response.duration_s, 6)


def test_clients_that_this_process_serves_are_found_by_id(client: Client, serving: Serving) -> None:
    # Given a client of this process
    # When it is looked for, then it is found, and others aren't
    assert serving.find("anna") is client
    with pytest.raises(LookupError, match="doesn't serve client 'bert'"):
        serving.find("bert")
    with pytest.raises(LookupError, match="doesn't serve client 'anna'"):
        Serving().find("anna")


def compute(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_an_answer_tells_the_processor_seconds_of_the_process_and_of_what_it_started(serving: Serving) -> None:
    # Given an order for which this process computes for 0.02 s, and a program that it starts for 0.05 s
    program = "import time\nwhile time.process_time() < 0.05: pass"

    def act() -> Response:
        compute(0.02)
        subprocess.run([sys.executable, "-c", program], check=True)
        return Response(order_id="anna/run/1/train", client_id="anna", status=Status.TRAINED)

    # When it is carried out, then its answer tells of both
    assert serving.carry_out(act, "anna/run/1/train", "anna").cpu_s >= 0.07
