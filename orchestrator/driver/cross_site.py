"""Cross-site evaluation: every client evaluates each client's own last model, and the global one, on its own data.

It shows whom the global model serves less well than a client's own, and whose own model serves others. Clients are
given each other's models for it, by names that don't tell whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.config import RunConfig
from orchestrator.driver.context import RunContext
from orchestrator.driver.orders import for_study, make_order, time_limits
from orchestrator.observers.events import CrossSiteEvaluated
from orchestrator.store.records import ACCEPTED, CrossSiteMatrix, CrossSiteRow, RoundRecord
from orchestrator.store.run_folder import RunFolder
from tasks import arrays, auxiliary
from tasks.blobs import blob
from tasks.files import link_or_copy, make_private, replacing
from tasks.messages import Status
from tasks.orders.evaluate import EvaluateOrder


class CrossSite:
    """Keeps the clients' last models, and has them evaluated when the run is over, where its config says so.

    Args:
        context: The run's.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def keep(self, record: RoundRecord) -> None:
        """Keep the updates of a round that went into its model; call it before the round is closed."""
        folder = self._context.folder
        if not self._context.config.cross_site or record.status != "closed":
            return
        make_private(folder.last_models)
        for client_id, response in record.responses.items():
            update = folder.update(record.round_number, client_id)
            if response.status in ACCEPTED and update.exists():
                with replacing(self._kept(client_id)) as temporary:
                    link_or_copy(update, temporary)

    def evaluate(self, last_round: int, incarnations: Mapping[str, str]) -> None:
        """Have these clients evaluate all models, one after the other, if that is due.

        Args:
            last_round: The run's last round.
            incarnations: Client id -> incarnation, of the clients that evaluate.
        """
        if not is_cross_site_due(self._context.config, self._context.folder):
            return
        context, folder = self._context, self._context.folder
        models = enumerate(self._models(last_round))
        matrix = CrossSiteMatrix(rows=[self._row(number, *of, last_round, incarnations) for number, of in models])
        folder.save_cross_site(matrix)
        context.report(CrossSiteEvaluated(num_models=len(matrix.rows), num_clients=len(incarnations)))

    def _models(self, last_round: int) -> Iterator[tuple[str | None, int, Path]]:
        """Yield whose a model is, None for the global one, the round that it is of, and its file."""
        context = self._context
        yield None, last_round, context.folder.checkpoint(last_round)
        for client_id, update in sorted(context.accepted.items()):
            if self._kept(client_id).exists():
                yield client_id, int(update.partition("-")[0]), self._kept(client_id)

    def _row(
        self,
        number: int,
        client_id: str | None,
        round_number: int,
        path: Path,
        last_round: int,
        incarnations: Mapping[str, str],
    ) -> CrossSiteRow:
        """Have a model evaluated by all clients."""
        context = self._context

        name = context.scope.new_handed_out()

        def publish() -> blob.BlobRef:
            parameters, _ = auxiliary.split(arrays.map_file(path))
            return blob.publish(context.services.blobs, name, arrays.encode(parameters))

        parameters = publish()
        limits = time_limits(context, context.config.timeout_s, incarnations)
        orders = [
            make_order(
                context,
                EvaluateOrder,
                asked,
                last_round,
                limits,
                version=f"cross-site-{number}",
                parameters=parameters,
                **for_study(context, asked, last_round, len(incarnations)),
            )
            for asked in sorted(incarnations)
        ]
        responses = context.collector.ask(orders, limits.total_s, publish)
        context.services.blobs.discard([parameters.name], parameters.size_bytes)
        evaluated = {each.client_id: each.metrics for each in responses if each.status is Status.EVALUATED}
        others = {each.client_id: each.reason for each in responses if each.status is not Status.EVALUATED}
        return CrossSiteRow(model_of=client_id, round_number=round_number, metrics=evaluated, not_evaluated=others)

    def _kept(self, client_id: str) -> Path:
        return self._context.folder.last_models / f"{client_id}.safetensors"


def is_cross_site_due(config: RunConfig, folder: RunFolder) -> bool:
    """Say whether the models of a run, all of whose rounds are over, are to be evaluated and were not."""
    matrix = folder.cross_site()
    return config.cross_site and (matrix is None or matrix.rows[0].round_number != len(folder.history()))
