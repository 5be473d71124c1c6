"""What the parts of a run share, and what each of them does with it: make orders, publish the model, read results."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from celeriac.algorithms import Algorithm, Settings, train_plainly
from celeriac.compressors import Compressor
from celeriac.compressors.models import pack_model
from orchestrator.clients.manager import ClientManager
from orchestrator.clients.selectors import ConnectedClient
from orchestrator.clients.waves import num_waves
from orchestrator.config import RunConfig
from orchestrator.driver.collector import GRACE_S, OWN_WORK_TIMEOUT_S, Collector
from orchestrator.observers.events import Report
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.transport import RunServices
from tasks import arrays, auxiliary, names
from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.digests import digest_of_file
from tasks.errors import ConfigurationError, RunFailedError
from tasks.messages import Order

T = TypeVar("T", bound=BaseModel)
O = TypeVar("O", bound=Order)  # noqa: E741


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long clients have.

    Attributes:
        timeout_s: Seconds that each has, from when it takes its order up.
        deadline: When all is over for all of them, by the broker's clock: where clients share a worker, one wave of
            them after the other has its time.
        total_s: Seconds from when the term begins after which nobody waits for an answer any more.
    """

    timeout_s: float
    deadline: float
    total_s: float


@dataclass(frozen=True, slots=True)
class RunContext:
    """A run's configuration, folder, clients, and ways to them and to its own workers."""

    config: RunConfig
    folder: RunFolder
    services: RunServices
    manager: ClientManager
    collector: Collector
    report: Report
    algorithm: Algorithm
    settings: Settings
    compressor: Compressor | None = None
    clock: Callable[[], float] = time.monotonic
    fits: Callable[[ConnectedClient], bool] = lambda _: True
    """Whether a client may join a round that is open."""
    accepted: dict[str, str] = field(default_factory=dict)
    """The last update of each client that was accepted (``names.update_name``), by client id; kept up by the run."""
    known: set[str] = field(default_factory=set)
    """Clients that were in a cohort of the run; kept up by the run."""
    digests: dict[int, str] = field(default_factory=dict)
    """Digest of the last round's checkpoint, by the round's number; kept up by the run."""

    @property
    def algorithm_of_clients(self) -> str:
        """The algorithm whose part clients carry out: FedAvg's, where the run's own has no other."""
        is_plain = self.algorithm.local is train_plainly and self.algorithm.survey is None
        return "fedavg" if is_plain else self.config.algorithm

    def num_clients(self) -> int:
        """Return how many clients are known to the run: who was in a cohort or is connected, and ``--clients``."""
        connected = {client.client_id for client in self.manager.connected()}
        return max(self.config.num_clients, len(self.known | connected))

    def publish_model(self, after_round: int) -> BlobRef:
        """Put the model that round ``after_round`` ended with where clients can read it."""
        name = names.global_blob(self.config.run_id, after_round)
        return self._publish_file(name, self.folder.checkpoint(after_round), self.digests.get(after_round, ""))

    def publish_start(self, after_round: int) -> BlobRef:
        """Put the model that a round is to start from where clients can read it, compressed as the run says."""
        if self.compressor is None or not self.compressor.also_models:
            return self.publish_model(after_round)
        packed = pack_model(self.compressor, arrays.map_file(self.folder.checkpoint(after_round)))
        name = names.global_blob(self.config.run_id, after_round)
        return blob.publish(self.services.blobs, name, arrays.encode(packed))

    def publish_surveyed(self, round_number: int, digest: str) -> BlobRef:
        """Put the aggregate of a round's first exchange where clients can read it, compressed as the run says."""
        name, path = names.surveyed_blob(self.config.run_id, round_number), self.folder.surveyed(round_number)
        if self.compressor is None or not self.compressor.also_models:
            return self._publish_file(name, path, digest)
        packed = pack_model(self.compressor, arrays.map_file(path))
        return blob.publish(self.services.blobs, name, arrays.encode(packed))

    def publish_broadcast(self, after_round: int) -> BlobRef | None:
        """Put what the algorithm sends along with the model beside it; return None if there is nothing."""
        path = self.folder.state(after_round)
        if not self.algorithm.broadcast or not path.exists():
            return None
        state = auxiliary.split(arrays.map_file(path))[1]
        chosen = auxiliary.join({}, {kind: state[kind] for kind in self.algorithm.broadcast if kind in state})
        name = names.broadcast_blob(self.config.run_id, after_round)
        if not chosen:
            return None
        return blob.publish(self.services.blobs, name, arrays.encode(pack_model(self.compressor, chosen)))

    def _publish_file(self, name: str, path: Path, digest: str) -> BlobRef:
        ref = BlobRef(name=name, size_bytes=path.stat().st_size, digest=digest or digest_of_file(path))
        self.services.blobs.put_file(ref, path)
        return ref

    def limits(self, timeout_s: float, client_ids: Iterable[str] = (), turn_s: float = 0.0) -> TimeLimits:
        """Return a term that begins now.

        Args:
            timeout_s: Seconds that each client has.
            client_ids: The clients: as many waves of them have their time as the busiest of their workers needs.
            turn_s: Seconds more that a wave may take as its clients wait for their turns to send.
        """
        waves = num_waves(map(self.manager.place, client_ids))
        total_s = waves * (timeout_s + GRACE_S) + (waves - 1) * turn_s
        return TimeLimits(timeout_s, self.services.broker_time() + total_s - GRACE_S, total_s)

    def order(
        self, kind: type[O], client_id: str, round_number: int, limits: TimeLimits, version: str = "", **rest: object
    ) -> O:
        """Return an order of this run to a client.

        Args:
            kind: Class of the order.
            client_id: Whom it is for.
            round_number: The round that it belongs to.
            limits: How long the client has.
            version: What tells it from other orders of this kind to this client in this round, if there may be any.
            rest: What orders of this kind have beside.
        """
        config = self.config
        suffix = f"-{version}" if version else ""
        return kind.model_validate(
            {
                "order_id": names.order_id(client_id, config.run_id, round_number, kind.name + suffix),
                "run_id": config.run_id,
                "client_id": client_id,
                "round_number": round_number,
                "workload": config.workload,
                "timeout_s": limits.timeout_s,
                "deadline": limits.deadline,
                **rest,
            }
        )


def ended_with_its_process(raw: bytes | str | None) -> bool:
    """Say whether a task of the orchestrator's own, or a part of its chord, ended because its process was killed."""
    result = json.loads(raw).get("result") if raw is not None else None
    return isinstance(result, dict) and result.get("exc_type") in ("ChordError", "WorkerLostError")


def own_result(raw: bytes | str | None, kind: type[T], what: str) -> T:
    """Return what a task of the orchestrator's own returned; ``raw`` is None if it didn't in time.

    Raises:
        ConfigurationError: If the task found the input wrong.
        RunFailedError: If it failed otherwise, or didn't end in time.
    """
    if raw is None:
        raise RunFailedError(f"{what}: the orchestrator's own worker didn't answer within {OWN_WORK_TIMEOUT_S:g} s")
    document = json.loads(raw)
    result = document.get("result")
    if document.get("status") != "SUCCESS":
        told = result if isinstance(result, dict) else {}
        raise RunFailedError(
            f"{what}: the orchestrator's own worker gave it up: {told.get('exc_type', document.get('status'))} "
            "(logs/jobs.log)"
        )
    if isinstance(result, dict) and "error" in result:
        if result.get("exit_code") == ConfigurationError.exit_code:
            raise ConfigurationError(str(result["error"]))
        raise RunFailedError(f"{what}: {result['error']}")
    try:
        return kind.model_validate(result)
    except ValidationError as error:
        raise RunFailedError(f"{what}: {error}") from None
