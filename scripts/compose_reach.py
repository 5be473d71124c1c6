"""What a client's container can reach that isn't its own: it tries, and all of it is refused."""

from __future__ import annotations

import json

from scripts.compose_project import Project, expect, say

_PRINT_DENIED = """
print(json.dumps([[str(entry[name]) for name in ("username", "reason", "object")] for entry in redis.acl_log()]))
redis.acl_log_reset()
"""
_PRINT_REACHED = """
import json, sys
from pathlib import Path
from redis import Redis
from tasks.broker.connection import connect
from tasks.broker.url import Broker
from tasks.trust.enrolment import Enrolment

def said(act):
    try:
        return f"done: {act()}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

own, other = Enrolment(Path("/state/enrolment")), sys.argv[1]
user = Broker.read(own.broker_url)
redis = connect(own.broker_url, retries=0)
folders = [Path(name) for name in ("/operator", "/packages", "/requests", "/state")]
files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
plain = {"username": user.user, "password": user.password, "socket_timeout": 5}
print(json.dumps({
    "ping": said(redis.ping),
    "the queue of another": said(lambda: redis.lrange(f"client.{other}", 0, -1)),
    "an order for another": said(lambda: redis.lpush(f"client.{other}", "order")),
    "the announcement of another": said(lambda: redis.get(f"fl:client:{other}")),
    "all keys": said(lambda: list(redis.scan_iter())),
    "the end of all": said(redis.flushall),
    "users": said(redis.acl_users),
    "without TLS": said(Redis("redis", 6379, **plain).ping),
    "without a certificate": said(Redis("redis", 6379, ssl=True, ssl_cert_reqs="none", **plain).ping),
    "another package": said(lambda: Path(f"/packages/{other}.package.json").unlink()),
    "keys": [str(path) for path in files if b"PRIVATE KEY" in path.read_bytes()],
}))
"""
_REFUSED = {
    **dict.fromkeys(
        (
            *("the queue of another", "an order for another", "the announcement of another"),
            *("all keys", "the end of all", "users"),
        ),
        "NoPermissionError: ",
    ),
    "without TLS": "ConnectionError: ",
    "without a certificate": "ConnectionError: ",
    "another package": "OSError: [Errno 30] Read-only file system",
}
"""What a client tries that isn't allowed to it, and how what it is told begins."""


def check_reach(project: Project) -> None:
    """Have a client try what isn't its own; all of it is refused, and nothing else was since Redis has started."""
    check_nothing_denied(project)
    (own, *_), (other, *_) = project.joined(1), project.joined(2)
    say(f"{own} tries to read what is {other}'s, and the operator's")
    tried = ("exec", "--no-TTY", "--index", "1", "worker", "python", "-c", _PRINT_REACHED, other)
    reached = json.loads(project.compose(*tried))
    expect(reached.pop("ping") == "done: True", f"{own} can't reach Redis")
    expect(reached.pop("keys") == ["/state/enrolment/key.pem"], f"{own} can read other keys than its own")
    for what, told in reached.items():
        expect(told.startswith(_REFUSED[what]), f"{own}, {what}: {told}")
    denied = {user for user, *_ in project.as_operator(_PRINT_DENIED)}
    expect(denied == {f"client-{own}"}, f"Redis says that it denied something to {sorted(denied)}")
    say(f"all {len(reached)} attempts were refused, and stand in Redis's log by its name; the run was denied nothing")


def check_nothing_denied(project: Project) -> None:
    """Check that Redis has denied nothing since it has started, or since this was looked at last."""
    denied = project.as_operator(_PRINT_DENIED)
    expect(denied == [], f"the run was denied {denied}")
