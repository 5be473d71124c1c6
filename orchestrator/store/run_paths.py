"""Where in a run's folder each of its files is."""

from __future__ import annotations

from pathlib import Path

from tasks.orders.train import TrainOrder


class RunPaths:
    """Paths of one run.

    Args:
        path: The run's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config_path(self) -> Path:
        """File of the run's config."""
        return self.path / "config.json"

    @property
    def open_round_path(self) -> Path:
        """File of the round that is open; missing if none is."""
        return self.path / "open-round.json"

    @property
    def process(self) -> Path:
        """File with the process that is at work on the run; missing if none is."""
        return self.path / "process.json"

    @property
    def logs(self) -> Path:
        """Folder of the logs of this run's processes."""
        return self.path / "logs"

    @property
    def checkpoints(self) -> Path:
        """Folder of the global models."""
        return self.path / "checkpoints"

    def checkpoint(self, round_number: int) -> Path:
        """File of the model that round ``round_number`` ended with; 0 is the initial model."""
        return self.checkpoints / f"round-{round_number:04d}.safetensors"

    def state(self, round_number: int) -> Path:
        """File of the algorithm's state after round ``round_number``, a part of its checkpoint; may be missing."""
        return self.checkpoints / f"round-{round_number:04d}.state.safetensors"

    @property
    def plot(self) -> Path:
        """File of the run's plot."""
        return self.path / "plot.png"

    @property
    def events(self) -> Path:
        """File of the run's events, a line each; nothing but who looks at the run goes by it."""
        return self.path / "events.jsonl"

    @property
    def audit(self) -> Path:
        """File of the audit trail, see :mod:`orchestrator.store.audit`; there is one where clients are enrolled."""
        return self.path / "audit.jsonl"

    @property
    def clients(self) -> Path:
        """Folder of what clients keep that run on this machine with the run."""
        return self.path.resolve() / "clients"

    @property
    def blobs(self) -> Path:
        """Folder of what clients and orchestrator send each other, where all are on one machine."""
        return self.path / "blobs"

    @property
    def last_models(self) -> Path:
        """Folder of each client's own last model, where they are to be evaluated by others."""
        return self.path / "last-models"

    def updates(self, round_number: int, exchange: str = TrainOrder.name) -> Path:
        """Folder of what was taken in of a round's exchange: of the updates, or with ``survey`` of what came before."""
        suffix = "" if exchange == TrainOrder.name else f"-{exchange}"
        return self.path / "updates" / f"round-{round_number:04d}{suffix}"

    def update(self, round_number: int, client_id: str, exchange: str = TrainOrder.name) -> Path:
        """File of an update that was taken in."""
        return self.updates(round_number, exchange) / f"{client_id}.safetensors"

    def packed_update(self, round_number: int, client_id: str, exchange: str = TrainOrder.name) -> Path:
        """File of an update as it came, where it came compressed: who takes it in a second time may read it still."""
        return self.updates(round_number, exchange) / f"{client_id}.packed"

    def files_of_update(self, round_number: int, client_id: str, exchange: str = TrainOrder.name) -> tuple[Path, Path]:
        """All files of an update that was taken in; which of them there are is another question."""
        asked = round_number, client_id, exchange
        return self.update(*asked), self.packed_update(*asked)

    def slots(self, round_number: int, exchange: str = TrainOrder.name) -> Path:
        """File of the records of a round's slots, see :mod:`orchestrator.store.slot_records`."""
        return self.updates(round_number, exchange) / "slots.jsonl"

    def _verdicts_path(self, round_number: int) -> Path:
        return self.path / "updates" / f"round-{round_number:04d}-verdicts.json"

    def surveyed(self, round_number: int) -> Path:
        """File of the aggregate of what came in a round's first exchange; there is one until the round is closed."""
        return self.path / "updates" / f"round-{round_number:04d}-surveyed.safetensors"

    def sums(self, round_number: int, exchange: str = TrainOrder.name) -> Path:
        """Folder of the sum of what came in a round's exchange, where that is added up as it comes."""
        updates = self.updates(round_number, exchange)
        return updates.with_name(f"{updates.name}-sums")
