"""Brokers at the start of either side: who is let in, and what is told; test_broker_page.py has what is refused."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trustme
from redis import Redis

from tasks.broker import needs
from tasks.broker.connection import connect
from tasks.broker.probe import check_broker
from tasks.errors import BrokerUnfitError, BrokerUnreachableError, ConfigurationError
from tests.integration import harness, unfit
from tests.integration.harness import Field
from tests.integration.pump import pump

ORCHESTRATOR, CLIENT = needs.of_orchestrator("run"), needs.of_client("anna", "client.anna")


def refusal(url: str, side: needs.Needs = ORCHESTRATOR) -> str:
    """What is told of a broker that won't do."""
    with pytest.raises(ConfigurationError) as caught:
        check_broker(url, side)
    told = str(caught.value)
    assert "\n" not in told
    assert "secret" not in told
    kind = BrokerUnreachableError if "no Redis answers" in told or "for now" in told else BrokerUnfitError
    assert type(caught.value) is kind
    return told


def test_a_user_who_may_ask_nothing_about_the_server_but_do_all_that_is_needed_is_let_in(broker: Redis) -> None:
    # Given a client's user, pinned to keys and channels of its own, to whom the server tells nothing of itself
    keys = [
        "fl:*anna*",
        "fl:federation",
        "fl:blob:model/*",
        "client.anna*",
        "celery-task-meta-client/anna/*",
    ]
    channels = ["celery-task-meta-client/anna/*", "fl:presence"]
    broker.acl_setuser("anna", **{**unfit.RULES, "commands": ["-info", "-config"], "keys": keys, "channels": channels})
    # When its client looks, then there is nothing to tell, and nothing was done
    check_broker(harness.url(broker).replace(f"{harness.USER}:{harness.ENCODED}", "anna:secret"), CLIENT)
    assert broker.keys("*") == []


def test_a_server_that_loads_its_data_is_waited_for() -> None:
    # Given a server that takes a while to load what it has
    options = "--key-load-delay 2000 --loading-process-events-interval-bytes 1024"
    with harness.server(*options.split()) as server:
        for number in range(1000):
            server.client.set(str(number), os.urandom(100))
        server.client.save()
        server.kill()
        server.begin()
        with connect(harness.url(server.client), retries=0) as client:
            harness.wait_until(lambda: unfit.is_loading(client), "it loads", 30)
        # When an orchestrator looks, then a moment's patience isn't enough, and a minute's is
        assert "refuses for now: it loads its data" in refusal(harness.url(server.client))
        check_broker(harness.url(server.client), ORCHESTRATOR, 60)
        assert server.client.dbsize() == 1000


def test_a_certificate_that_isnt_trusted_ends_both_sides(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a broker over TLS, whose certificate is of an authority of one's own
    own, context, trusted = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tmp_path / "ca.pem"
    own.cert_pem.write_to_path(str(trusted))
    own.issue_cert("127.0.0.1").configure_cert(context)
    with pump(broker, [2**16], context) as port:
        plain = f"rediss://{harness.USER}:{harness.ENCODED}@127.0.0.1:{port}/0"
        # When both sides are started and don't know the authority, then each ends with a line
        sides = field.run(tmp_path / "run", broker=plain), field.client(plain, "anna")
        for side in sides:
            assert side.wait() == 2
            assert "error: the broker rediss://tester:**@127.0.0.1" in side.output
            assert "shows a certificate that isn't trusted (" in side.output
            assert "Traceback" not in side.output
        # And when they know it, one by the URL and one by the environment, then a run is carried out
        field.client(plain, "anna", SSL_CERT_FILE=str(trusted))
        field.run(tmp_path / "run", "--clients 1 --rounds 1", broker=f"{plain}?ssl_ca_certs={trusted}").succeeds()
