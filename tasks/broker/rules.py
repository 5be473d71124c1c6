"""What each side may do at the broker: the rules of a user of its access control list (ACL), from Redis 7 on.

A client does what its worker takes and no more, by single commands, and to what is its own. It reads models, what is
handed out, and what it was told. There is no command by which it could look for keys, run a script, send an order or
hold the server up.
"""

from __future__ import annotations

from tasks.names import numbered_client_ids
from tasks.scope import (
    ALL_KEYS,
    KEYS_OF_TOOLS,
    PRESENCE_CHANNEL,
    RUN_LOCK_KEY,
    SHOWN_BLOB_KEYS,
    ClientScope,
    shared_queue,
)

ORCHESTRATOR = "orchestrator"
"""The name of the orchestrators' user."""
NOBODY = ("default", "reset", "off", "allkeys", "allchannels", "+@all")
"""The user of who says no name: it is off, so nobody is. The server itself carries out as this user what it reads from
its append-only file when it starts, and would leave out transactions with what the user may not do."""
_CLIENT = "client-"
_NOTHING = ("resetkeys", "resetchannels", "-@all")
_OF_CLIENTS = (
    *("ping", "time", "select", "multi", "exec", "discard"),
    *("get", "mget", "getrange", "exists", "set", "setex", "pexpire", "del", "unlink"),
    *("brpop", "llen", "blmove", "publish"),
)
_OF_ORCHESTRATORS = (
    *("+@read", "+@write", "+@connection", "+@transaction", "+@pubsub", "+@scripting", "-@dangerous"),
    *("+time", "+info", "+config|get", "+client|list", "+client|kill"),
    *(f"+acl|{what}" for what in ("whoami", "users", "list", "getuser", "setuser", "deluser", "save", "load", "log")),
)


def user_name(client_id: str) -> str:
    """Return the name of a client's user, or of the worker's whose clients' ids begin with this."""
    return f"{_CLIENT}{client_id}"


def is_clients(user: str | None) -> bool:
    """Say whether a user is a client's, by its name."""
    return user is not None and user.startswith(_CLIENT)


def client_rules(client_id: str, count: int | None = None) -> tuple[str, ...]:
    """Return the rules of a client's user, without its password.

    Args:
        client_id: The client; with ``count`` what the ids of clients begin with.
        count: Clients that one worker serves over a queue that they share, with ids of
            :func:`tasks.names.numbered_client_id`; None: it is one client, with a queue of its own.
    """
    client = ClientScope(client_id if count is None else numbered_client_ids(client_id, count))
    queue = client.queue if count is None else shared_queue(client_id, count)
    shown = (RUN_LOCK_KEY, *SHOWN_BLOB_KEYS, client.passed_over_key, client.part_key)
    own = (queue, client.results, client.update_keys, client.key, client.away_key, client.wants_part_key)
    return (
        *_NOTHING,
        *(f"+{command}" for command in _OF_CLIENTS),
        *(f"%R~{key}" for key in shown),
        *(f"~{key}" for key in own),
        *(f"&{channel}" for channel in (client.results, PRESENCE_CHANNEL)),
    )


def orchestrator_rules() -> tuple[str, ...]:
    """Return the rules of the orchestrators' and their own workers' user, who also admits clients and cuts them off."""
    return (*_NOTHING, *_OF_ORCHESTRATORS, *(f"~{key}" for key in (*ALL_KEYS, *KEYS_OF_TOOLS)), "&*")
