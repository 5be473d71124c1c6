from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest
from kombu.exceptions import DecodeError

from tasks.broker.over_kombu import Channel


class Decoding:
    """The part of a channel that a message is read with."""

    def decode_body(self, body: str, encoding: str) -> bytes:
        assert encoding == "base64"
        return base64.b64decode(body)


def payload(body: bytes, **headers: Any) -> dict[str, Any]:
    """A message as it lies in its queue."""
    return {
        "body": base64.b64encode(body).decode(),
        "headers": headers,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "properties": {"body_encoding": "base64", "delivery_tag": "1", "delivery_info": {}},
    }


@pytest.mark.parametrize("method", ["application/x-gzip", "zlib", "made up"])
def test_a_compressed_message_is_refused_and_not_inflated(method: str) -> None:
    # Given 20 kB that inflate to 20 MB, when they are taken from a queue, then nothing of them is kept but the error
    bomb = zlib.compress(json.dumps("x" * 20_000_000).encode())
    message = Channel.Message(payload(bomb, compression=method), channel=Decoding())
    [(kind, error, _)] = message.errors or []
    assert kind is DecodeError
    assert str(error) == f"a message is compressed ({method!r}): none is taken that is"
    assert not message.body


def test_a_message_that_isnt_compressed_is_read() -> None:
    message = Channel.Message(payload(b'["y"]', task="worker.train"), channel=Decoding())
    assert not message.errors
    assert message.decode() == ["y"]
