"""One job of the orchestrator's own workers: its run, its round, and what the config names, each found once a task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from celeriac.aggregators import Aggregator, load_aggregator
from celeriac.algorithms import Algorithm, load_algorithm
from celeriac.compressors import Compressor, load_compressor
from celeriac.mixers import Mixer, load_mixer
from orchestrator.config import RunConfig
from orchestrator.store.facts import BUFFERS, PREPARED, RESULTS
from orchestrator.store.records import OpenRound, SlotRecord
from orchestrator.store.run_folder import RunFolder
from orchestrator.store.slot_records import SlotRecords
from orchestrator.store.updates import blobs_url
from orchestrator.transport.crew import Crew
from tasks import arrays, auxiliary, results
from tasks.arrays import Arrays, Spec
from tasks.blobs.blob import BlobStore
from tasks.context import Context, TimeBudget
from tasks.cores import cpu_s
from tasks.device import resolved
from tasks.errors import RunFailedError
from tasks.messages import Status, TrainOptions
from tasks.orders.survey import SurveyOrder
from tasks.orders.train import TrainOrder
from tasks.run_config import with_defaults
from tasks.seeds import context_seed
from tasks.user_code import UserCodeError, checked_result, declared_results, user_code
from tasks.workload import Workload, load_workload
from verification.checks import UpdateRejectedError, check_update

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Loaded:
    """What a process keeps from one job to the next, as it takes long to load: of each kind the last.

    Args:
        open_store: Returns the store of blobs at a URL.
        broker_url: The broker's URL.
        crew: The other own workers; None: there are none.
    """

    def __init__(self, open_store: Callable[[str], BlobStore], broker_url: str = "", crew: Crew | None = None) -> None:
        self.crew = crew
        self._open_store = open_store
        self._broker_url = broker_url
        self._last: dict[str, tuple[Hashable, Any]] = {}
        self._told_cpu_s = 0.0

    def untold_cpu_s(self) -> float:
        """Return the processor seconds that the process has used since this was last called."""
        before, self._told_cpu_s = self._told_cpu_s, cpu_s()
        return round(self._told_cpu_s - before, 6)

    def config(self, folder: RunFolder) -> RunConfig:
        """Return a run's config, read anew only if the file is another than the last."""
        return self._read("config", folder.config_path, folder.config)

    def open_round(self, folder: RunFolder) -> OpenRound | None:
        """Return the round that is open, read anew only if the file is another than the last."""
        return self._read("open round", folder.open_round_path, folder.open_round)

    def store(self, config: RunConfig, folder: RunFolder) -> BlobStore:
        """Return the store of a run's blobs."""
        return self.store_at(blobs_url(config, folder, self._broker_url))

    def store_at(self, url: str) -> BlobStore:
        """Return the store of blobs at a URL."""
        return self.keep("store", url, lambda: self._open_store(url))

    def slots(self, exchange: str, path: Path, opened_at: str) -> SlotRecords:
        """Return the records of the slots of a round's exchange, as they are since the round was opened."""
        return self.keep(f"slots of {exchange}", (path, opened_at), lambda: SlotRecords(path))

    def workload(self, spec: str) -> Workload:
        """Return a workload."""
        return self.keep("workload", spec, lambda: load_workload(spec))

    def holdout(self, spec: str, data: str | None) -> Any:
        """Return the held-out data of a workload, of the folder ``data``; None if it has none."""

        def load() -> Any:
            with user_code("holdout_data()"):
                return self.workload(spec).holdout_data(Path(data) if data else None)

        return self.keep("held-out data", (spec, data), load)

    def _read(self, kind: str, path: Path, read: Callable[[], T]) -> T:
        """Return what was read last of a kind, if the file is the same; else read it."""
        try:
            found = path.stat()
        except OSError:
            return read()
        return self.keep(kind, (path, found.st_ino, found.st_mtime_ns, found.st_size), read)

    def keep(self, kind: str, made_from: Hashable, load: Callable[[], T]) -> T:
        """Return what was loaded last of a kind, if it was made from the same; else load it."""
        if kind not in self._last or self._last[kind][0] != made_from:
            self._last[kind] = made_from, load()
        found: T = self._last[kind][1]
        return found


@dataclass(frozen=True)
class Job:
    """A task's run and round, and all that is derived from them: when it is asked for, and once.

    Attributes:
        folder: The run's folder.
        round_number: The round; 0 for the initial model.
        loaded: What the process has loaded.
    """

    folder: RunFolder
    round_number: int
    loaded: Loaded

    @cached_property
    def config(self) -> RunConfig:
        """The run's config."""
        return self.loaded.config(self.folder)

    @cached_property
    def opened(self) -> OpenRound | None:
        """The round as it was opened, if it is still open: a task that was sent twice may come when all is done."""
        opened = self.loaded.open_round(self.folder)
        return opened if opened is not None and opened.round_number == self.round_number else None

    def check_open(self) -> None:
        """Check that the round which was open when this was asked for first still is.

        When it is closed, its updates' files are written over: what is made of them since then is wrong.

        Raises:
            RunFailedError: If it isn't.
        """
        opened = self.loaded.open_round(self.folder)
        if self.opened is not None and (opened is None or opened.started_at != self.opened.started_at):
            raise RunFailedError(f"round {self.round_number} is closed already")

    @property
    def options(self) -> TrainOptions:
        """How clients train in this round."""
        return self.config.in_round(self.round_number).options

    @cached_property
    def store(self) -> BlobStore:
        """Where the run's blobs are."""
        return self.loaded.store(self.config, self.folder)

    @cached_property
    def algorithm(self) -> Algorithm:
        """The run's algorithm."""
        return load_algorithm(self.config.algorithm)

    @cached_property
    def aggregator(self) -> Aggregator:
        """The run's aggregator."""
        return load_aggregator(self.config.aggregator)

    @cached_property
    def mixers(self) -> list[Mixer]:
        """What mixes updates before they are aggregated, in this order."""
        return [load_mixer(spec) for spec in self.config.mix]

    @cached_property
    def compressor(self) -> Compressor | None:
        """How updates come compressed; None if they come as they are."""
        return load_compressor(self.config.compression)

    @property
    def workload(self) -> Workload:
        """The run's workload."""
        return self.loaded.workload(self.config.workload)

    @property
    def holdout(self) -> Any:
        """The data that the orchestrator holds out, which updates are judged by; None if it has none."""
        return self.loaded.holdout(self.config.workload, self.config.data)

    @cached_property
    def buffers(self) -> frozenset[str]:
        """Names of the model's arrays that aren't trained."""
        return frozenset(BUFFERS.of(self.folder))

    @cached_property
    def results(self) -> results.Declared:
        """What the workload declares of its results."""
        return RESULTS.of(self.folder)

    def model(self) -> Arrays:
        """Map the model that the round starts from: memory of its own at each call, as users' code may write to it."""
        return arrays.map_file(self.folder.checkpoint(self.round_number - 1))

    @cached_property
    def start(self) -> Arrays:
        """The model that the round starts from, for code of our own, which doesn't write to it."""
        return self.model()

    @cached_property
    def model_bytes(self) -> int:
        """How long the model's file is."""
        return self.folder.checkpoint(self.round_number - 1).stat().st_size

    def update_spec(self, exchange: str) -> Spec:
        """Return what an update has to be without its results: the model and sets, or a first exchange's sets alone."""
        model = arrays.spec_of(self.start)
        if exchange == SurveyOrder.name:
            return auxiliary.spec_of_sets(model, self.algorithm.surveyed)
        sets = auxiliary.spec_of_sets(model, self.algorithm.sent)
        return {**model, **sets} if self.algorithm.sends_parameters else sets

    def update(self, client_id: str, exchange: str = TrainOrder.name) -> Arrays:
        """Map what was taken in of a client, but for its results: memory of its own at each call."""
        return results.split(arrays.map_file(self.folder.update(self.round_number, client_id, exchange)))[0]

    def results_of(self, client_id: str) -> Arrays:
        """Map the results that were taken in of a client."""
        return results.split(arrays.map_file(self.folder.update(self.round_number, client_id)))[1]

    def record(self, client_id: str, exchange: str = TrainOrder.name) -> SlotRecord | None:
        """Return the record of a client's slot, or None if it isn't filled."""
        return self.slots(exchange).get(client_id)

    def slots(self, exchange: str = TrainOrder.name) -> SlotRecords:
        """Return the records of the slots of an exchange of the round."""
        opened_at = self.opened.started_at if self.opened else ""
        return self.loaded.slots(exchange, self.folder.slots(self.round_number, exchange), opened_at)

    def records(self, exchange: str = TrainOrder.name) -> dict[str, SlotRecord]:
        """Return the records of all slots of an exchange of the open round, by client id, sorted.

        All have been filled. That of a slot that is opened anew at this moment, as the broker was emptied, is gone.

        Raises:
            RunFailedError: If they are gone since the round was closed by the same task, sent before this one.
        """
        asked = self.opened.asked(exchange) if self.opened else []
        found = {client_id: self.record(client_id, exchange) for client_id in sorted(asked)}
        if None in found.values() and len(self.folder.history()) >= self.round_number:
            raise RunFailedError(f"round {self.round_number} is closed already")
        gone = SlotRecord(status=Status.LOST, reason="what it sent was lost with the broker")
        if missing := [client_id for client_id, record in found.items() if record is None]:
            logger.warning("round %d: nothing is known of what %s sent", self.round_number, ", ".join(missing))
        return {client_id: record or gone for client_id, record in found.items()}

    def context(self, purpose: str, budget: TimeBudget | None = None) -> Context:
        """Return what the workload's methods are told here.

        Args:
            purpose: What its seed is for.
            budget: How long training may go on; None: without an end.
        """
        config = self.config.in_round(self.round_number)
        return Context(
            round_number=self.round_number,
            num_rounds=config.rounds,
            cohort_size=len(self.opened.cohort) if self.opened else 0,
            options=config.options,
            run_config=with_defaults(self.workload.run_config, {**PREPARED.of(self.folder), **config.run_config}),
            seed=context_seed(config.seed, self.round_number, purpose),
            budget=budget or TimeBudget(),
            device=resolved(config.device),
            load_holdout=lambda: self.holdout,
        )

    @property
    def train_root(self) -> Callable[[], Arrays] | None:
        """What trains the model that the round starts from on the held-out data, as a client would; None without such.

        It trains anew at each call, to the same parameters. It raises UserCodeError if the workload does, or returns
        something else than parameters of this model that are finite.
        """
        return None if self.holdout is None else self._train_root

    def _train_root(self) -> Arrays:
        model, context = self.model(), self.context("root data", TimeBudget(self.config.timeout_s))
        with user_code("train() on the held-out data"):
            declared = declared_results(self.workload, context)
            result = checked_result(self.workload.train(model, self.holdout, context), model, declared)
        try:
            check_update(result.parameters, arrays.spec_of(model))
        except UpdateRejectedError as error:
            raise UserCodeError(f"train() on the held-out data: {error}") from None
        return result.parameters
