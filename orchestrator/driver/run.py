"""The run: wait for clients, then round after round, then farewell. A plain loop in the orchestrator's process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from celeriac.algorithms import load_algorithm, settings_of
from celeriac.compressors import load_compressor
from celeriac.selectors import ConnectedClient, fits, load_selector, needs
from orchestrator.clients.manager import ClientManager
from orchestrator.clients.statistics import NUM_LEFT_OUT, StatisticsBook, newly_left_out
from orchestrator.config import RunConfig
from orchestrator.driver.collector import Collector
from orchestrator.driver.context import RunContext, own_result
from orchestrator.driver.cross_site import CrossSite, is_cross_site_due
from orchestrator.driver.evaluations import Evaluations
from orchestrator.driver.failures import why_rounds_failed
from orchestrator.driver.federated_evaluation import evaluated_by_clients
from orchestrator.driver.finish_run import finish_run
from orchestrator.driver.goals import Goals
from orchestrator.driver.hoarders import expel_hoarders
from orchestrator.driver.model_publisher import publish_broadcast, publish_start
from orchestrator.driver.room import check_room
from orchestrator.driver.round import Round
from orchestrator.driver.statistics import ask_statistics
from orchestrator.observers.events import (
    ClientsJoined,
    ClientsLeft,
    Initialised,
    LeftOut,
    Outcome,
    Report,
    RunStarted,
    StoppedEarly,
    Waiting,
    told_of,
)
from orchestrator.policies import load_policy
from orchestrator.processes.workers import log_of
from orchestrator.store.facts import PREPARED, RESULTS, STATISTICS
from orchestrator.store.records import ACCEPTED, Evaluated, OpenRound, RoundRecord
from orchestrator.store.run_folder import RunFolder
from orchestrator.transport.transport import TICK_S, Lost, RunServices
from orchestrator.transport.uploads import updates_at_a_time
from tasks import names, results
from tasks.errors import RunFailedError, SelectionError, TooFewFitError
from tasks.seeds import generator
from tasks.user_code import user_code

logger = logging.getLogger(__name__)


class Run:
    """One run of a federation, new or taken up again.

    Args:
        config: The run's configuration.
        folder: The run's folder; what it holds says where to go on.
        services: How clients and own workers are reached.
        report: Is told of everything that happens.
        clock: Seconds that only go up.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        services: RunServices,
        report: Report,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._folder = folder
        self._services = services
        self._report = report
        self._clock = clock
        self._selector = load_selector(config.select)
        self._shown: set[str] = set()
        present, tell, blobs = services.present, services.tell, services.blobs.identity
        wanted = needs(self._selector)
        self._manager = ClientManager(
            present, clock, config.workload, self._misfit, tell, blobs, wanted, config.num_clients
        )
        algorithm = load_algorithm(config.algorithm)
        self._context = RunContext(
            config=config,
            folder=folder,
            services=services,
            manager=self._manager,
            collector=Collector(services, self._manager, self._tick, clock, report),
            report=report,
            algorithm=algorithm,
            settings=settings_of(algorithm, config.settings),
            policy=load_policy(config.policy, config),
            compressor=load_compressor(config.compression),
            clock=clock,
            fits=partial(fits, self._selector),
        )
        self._statistics = StatisticsBook()
        self._evaluations = Evaluations(self._context)
        self._goals = Goals(self._context, self._evaluations.by_round)
        self._cross_site = CrossSite(self._context)
        self._first_round = 1
        self._last_round = 0
        """The last round that is closed."""
        self._former: Round | None = None
        """The round that was closed last, as long as something of it may be left on the broker."""

    def run(self) -> None:
        """Carry out the rounds that are not closed yet.

        Raises:
            FederationError: If the run can't go on, or none of its rounds could be closed.
        """
        history = self._folder.history()
        self._statistics = StatisticsBook(history)
        self._first_round = len(history) + 1
        config = self._config
        for record in history:
            self._note_accepted(record)
            self._note_closed(record)
        self._report(
            RunStarted(
                folder=self._folder.path,
                rounds=config.rounds,
                rounds_closed=len(history),
                is_evaluated=self._folder.initial().is_known,
                workload=config.workload,
                algorithm=config.algorithm,
            )
        )
        self._last_round = len(history)
        self._goals.note(history, self._folder.initial())
        if self._has_rounds_left() or is_cross_site_due(config, self._folder):
            self._prepare()
        self._evaluations.add(self._folder.not_evaluated())
        if config.may_end_early:
            self._evaluations.finish()
        while self._has_rounds_left():
            self._goals.prune(self._last_round, (self._last_round - 1, *self._evaluations.waiting))
            history.append(self._run_round(self._last_round + 1))
            self._last_round += 1
            self._statistics.add(history[-1])
            self._tell_of_left_out(history[-1])
            self._check_progress(history)
            del history[: -config.max_failed_rounds]  # on disk there is all of it
        self._forget_former()
        self._evaluations.finish()
        self._cross_site.evaluate(self._last_round, self._evaluating())
        self._goals.prune(self._last_round)
        check_any_closed(history, self._config)

    def finish_run(self) -> None:
        """Give the clients that are connected the final model, and disconnect them."""
        self._tick()
        finish_run(self._context, self._last_round, self._connected_incarnations())

    def _tick(self) -> Lost:
        """Look who is there and tend to what has to be; return what was lost since the last look."""
        is_own_work_lost = self._services.poll()
        self._manager.refresh()
        expel_hoarders(self._context, self._last_round)
        announced = {client.client_id: client.announcement for client in self._manager.connected()}
        if came := sorted(announced.keys() - self._shown):
            self._report(ClientsJoined.of([announced[name] for name in came]))
        if gone := sorted(self._shown - announced.keys()):
            self._report(ClientsLeft(client_ids=tuple(gone)))
        self._shown = set(announced)
        lost = Lost.OWN_WORK if is_own_work_lost else Lost.NOTHING
        if self._services.forgot():
            logger.warning("the broker was emptied: what was on it is sent again")
            lost = Lost.ALL
        if lost is not Lost.NOTHING:
            self._evaluations.do_again()
        return lost

    def _misfit(self, client: ConnectedClient) -> str:
        """Say why the run's selector would never choose a client; empty if it might."""
        return "" if fits(self._selector, client) else f"it doesn't fit the run's --select {self._config.select}"

    def _prepare(self) -> None:
        """Wait until enough clients are connected, while the initial model is made."""
        config, transport = self._config, self._services.transport
        task_id = self._context.scope.initialise_id
        kwargs = {"run_dir": str(self._folder.path)}

        def call() -> str:
            transport.forget([task_id])
            transport.call(names.INITIALISE_TASK, task_id, kwargs)
            return task_id

        call()
        told: list[int] = []

        def pause(left: float) -> None:
            num_connected = len(self._manager.connected())
            if told[-1:] != [num_connected]:
                told.append(num_connected)
                self._report(Waiting(num_connected=num_connected, num_needed=config.num_clients))
            found = transport.collect([task_id], min(left, TICK_S))
            if task_id in found:
                initial = own_result(found[task_id], Evaluated, "the run could not be prepared")
                if not initial.wants_statistics:
                    self._goals.check(initial)
                # The result stays: only the clients are waited for from here on.
                transport.collect([], min(left, TICK_S))
            look()

        def look() -> None:
            if self._tick() is not Lost.NOTHING:
                call()

        self._manager.wait_for(config.num_clients, config.wait_timeout_s, pause)
        look()
        if config.accept == "closed":
            self._manager.close()
        initial = self._initial(task_id, call)
        self._context.prepared.update(PREPARED.of(self._folder))
        self._goals.check(initial)
        self._folder.save_initial(initial)
        check_room(self._config, self._folder, self._last_round, self._services.broker_room())
        self._goals.note((), initial)
        self._report(Initialised(metrics=initial.metrics, problem=initial.problem))
        transport.forget([task_id])

    def _initial(self, task_id: str, call: Callable[[], str]) -> Evaluated:
        """Return what the initial model is worth, when it is made: after clients were asked, if the workload wants it.

        Args:
            task_id: The task that makes it, which is under way.
            call: Has it made anew.
        """
        what = "the run could not be prepared"
        initial = own_result(self._context.collector.result(task_id, call), Evaluated, what, self._report)
        if initial.wants_statistics:
            STATISTICS.note(self._folder, ask_statistics(self._context))
        while initial.wants_statistics:  # once more where the answer was that of a call before they were there
            initial = own_result(self._context.collector.result(call(), call), Evaluated, what, self._report)
        return initial

    def _run_round(self, round_number: int) -> RoundRecord:
        current = self._take_up(round_number) or self._open(round_number)
        record = current.run(meanwhile=self._forget_former)
        self._note_accepted(record)
        is_last, has_holdout = round_number == self._config.rounds, self._folder.initial().is_known
        is_evaluated = record.status == "closed" and record.evaluation_due and has_holdout
        if is_evaluated and self._config.may_end_early:
            self._evaluations.add([round_number])
            self._evaluations.finish()
        if not has_holdout:
            record = self._evaluated_by_clients(record, is_last=is_last)
            self._goals.note_clients(record)
        stopped = self._goals.why_over()
        if has_holdout:
            record = self._evaluated_by_clients(record, is_last=is_last or bool(stopped))
        self._cross_site.keep(record)
        self._folder.close_round(record, self._services.blobs.recycle)
        self._services.note_round(record)
        self._note_closed(record)
        self._former = current
        for event in told_of(record):
            self._report(event)
        if stopped:
            self._report(StoppedEarly(round_number=round_number, reason=stopped))
        if is_evaluated and not self._config.may_end_early:
            self._evaluations.add([round_number])
        return record

    def _evaluated_by_clients(self, record: RoundRecord, *, is_last: bool) -> RoundRecord:
        """Have clients evaluate a round's model, if it is its turn."""
        if not self._config.is_evaluated_by_clients(record.round_number, is_last=is_last):
            return record
        evaluating = self._evaluating()
        return evaluated_by_clients(self._context, record, evaluating) if evaluating else record

    def _has_rounds_left(self) -> bool:
        return self._last_round < self._config.rounds and not self._goals.why_over()

    def _tell_of_left_out(self, record: RoundRecord) -> None:
        """Tell whose work hasn't come into the model for many rounds: that shows in no loss."""
        left_out = newly_left_out(record, self._statistics.by_client)
        if left_out:
            slots = {client_id: Outcome.of(record.responses[client_id]) for client_id in left_out}
            self._report(LeftOut(round_number=record.round_number, num_rounds=NUM_LEFT_OUT, slots=slots))

    def _forget_former(self) -> None:
        """Remove what the round that was closed last has left on the broker."""
        if self._former is not None:
            self._former.forget()
            self._former = None

    def _note_closed(self, record: RoundRecord) -> None:
        """Note a round's checkpoint and its clients."""
        self._context.policy.note(record)
        self._context.known.update(record.cohort)
        self._context.digests.clear()
        self._context.digests[record.round_number] = record.digest

    def _note_accepted(self, record: RoundRecord) -> None:
        """Note whose updates went into a round's model; of a failed round none did."""
        if record.status == "closed":
            for client_id, response in record.responses.items():
                if response.status in ACCEPTED:
                    self._context.accepted[client_id] = names.update_name(record.round_number, response.digest)

    def _take_up(self, round_number: int) -> Round | None:
        """Return the round that was open when a former start of the orchestrator ended, with all that has come in."""
        kept = self._folder.open_round()
        if kept is None or kept.round_number != round_number:
            return None
        if kept.boot_id != _boot_id():
            logger.warning("round %d is opened anew: the machine was started anew since", round_number)
            return None
        logger.info("round %d is taken up again with the answers that have come", round_number)
        publish_start(self._context, round_number - 1)
        publish_broadcast(self._context, round_number - 1)
        return Round(self._context, kept)

    def _open(self, round_number: int) -> Round:
        """Choose a cohort and send it its orders."""
        opened = self._select(round_number)
        self._folder.discard_updates()
        opening = Round(self._context, opened)
        if round_number == self._first_round:
            opening.forget_former_responses()
        opening.send_orders()
        self._folder.save_open_round(opened)
        return opening

    def _select(self, round_number: int) -> OpenRound:
        """Wait for the clients that a round needs, choose the cohort, and put the model where it can read it."""
        cohort = self._wait_for_cohort(round_number)
        incarnations = self._manager.incarnations()
        parameters = publish_start(self._context, round_number - 1)
        broadcast = publish_broadcast(self._context, round_number - 1)
        members = {client_id: incarnations[client_id] for client_id in cohort}
        results_bytes = results.most_bytes(RESULTS.of(self._folder))
        update_bytes = parameters.size_bytes + results_bytes
        return OpenRound(
            round_number=round_number,
            cohort=members,
            parameters=parameters,
            broadcast=broadcast,
            num_clients=self._context.num_clients(),
            is_crowded=len(cohort) > updates_at_a_time(self._config.in_flight_mb * 1e6, update_bytes),
            is_spread=self._services.num_elsewhere() > 0,
            results_bytes=results_bytes,
            started_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            boot_id=_boot_id(),
        )

    def _wait_for_cohort(self, round_number: int) -> list[str]:
        """Return the cohort, as soon as there are enough clients, and enough of those that the selector looks for."""
        wait_s, clock = self._config.wait_timeout_s, self._clock
        num_clients = self._context.policy.least_connected()
        deadline, told = clock() + wait_s, ""
        while True:
            self._manager.wait_for(num_clients, wait_s, self._pause_between_rounds)
            try:
                return self._sample(round_number)
            except TooFewFitError as error:
                left = deadline - clock()
                if left <= 0:
                    raise SelectionError(f"{error}: no more came within {wait_s:g} s (--wait-timeout)") from None
                if told != str(error):
                    told = str(error)
                    self._report(Waiting(num_connected=error.num_fit, num_needed=error.num_needed, reason=told))
                self._pause_between_rounds(left)

    def _sample(self, round_number: int) -> list[str]:
        config = self._config
        num = self._context.policy.num_wanted(len(self._manager.connected()))
        with user_code(f"selector {config.select!r}"):
            return self._manager.sample(
                self._selector,
                round_number,
                generator(config.seed, round_number, "selection"),
                num=num,
                num_needed=config.cohort or config.min_updates,
                statistics=self._statistics.by_client,
            )

    def _pause_between_rounds(self, left: float) -> None:
        self._forget_former()
        self._services.transport.collect([], min(left, TICK_S))
        self._tick()

    def _evaluating(self) -> dict[str, str]:
        """Return the incarnations of the connected clients that hold examples out."""
        connected = self._manager.connected()
        return {each.client_id: each.announcement.incarnation for each in connected if each.announcement.holds_out}

    def _connected_incarnations(self) -> dict[str, str]:
        return {client.client_id: client.announcement.incarnation for client in self._manager.connected()}

    def _check_progress(self, history: list[RoundRecord]) -> None:
        recent = history[-self._config.max_failed_rounds :]
        if len(recent) == self._config.max_failed_rounds and all(record.status == "failed" for record in recent):
            self._forget_former()
            raise RunFailedError(_told(f"{len(recent)} rounds in a row failed", recent, self._config))


def check_any_closed(history: Sequence[RoundRecord], config: RunConfig) -> None:
    """Check that some round of a run was closed.

    Args:
        history: The run's last rounds: all of them, or as many as may fail in a row.
        config: The run's config.

    Raises:
        RunFailedError: If all of them failed: the model is the initial one.
    """
    if history and all(record.status == "failed" for record in history):
        raise RunFailedError(_told("none of the run's rounds could be closed", history, config))


def _told(what: str, failed: Sequence[RoundRecord], config: RunConfig) -> str:
    """Say what became of rounds that failed, and what most of their clients failed of."""
    why = why_rounds_failed(failed, partial(log_of, config))
    return f"{what}, the last because {failed[-1].reason}{f': {why}' if why else ''}"


def _boot_id() -> str:
    """Return what tells this start of the machine from others; empty where the system doesn't say (it isn't Linux)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
