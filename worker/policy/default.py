"""The policy that an enrolled client begins with: cautious, for its owner to read and change."""

from __future__ import annotations

from pathlib import Path

from tasks.errors import ConfigurationError
from tasks.files import replace_text
from tasks.plugins import NO_FILE
from worker.policy.rules import pinned

FILE = "policy.toml"
"""Its name in the enrolment's folder."""
_TEXT = """# What this site takes part in, and what may leave it. What isn't named is refused.
# python -m worker.policy explain says what it means; docs/site-policy.md has every key. It holds once it is saved.

# Whose orders are carried out: the fingerprint that the operator read out.
orchestrators = ["{orchestrator}"]
# Others are survey, verify, and statistics, which tells counts of columns exactly; yours as "module:NAME@sha256:...".
orders = ["train", "evaluate", "set_parameters", "disconnect"]
workloads = ["{workload}"]
# These send the trained model and nothing else.
algorithms = ["fedavg", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "fedprox", "fednova"]
compressions = ["none"]
# Settings of the study's own that a run may give (--run-config).
run_config = []

max_epochs = 10
max_timeout_s = 3600
max_orders_per_day = 1000
# Nothing is told of fewer examples than this.
min_examples = 10

[tells]
examples_rounded_to = 10
labels = false
hardware = false
# The texts of exceptions, which may have paths and data in them.
errors = false
# Averages over all that the client trains or evaluates on.
metrics = ["loss", "accuracy", "train_loss"]
# Arrays beside the model that a workload of yours returns.
results = []

# Noise and a bound on what leaves: uncomment, and choose.
# [protects]
# clip = 1.0
# noise = 0.001
"""


def write_default(folder: Path, orchestrator: str, workload: str) -> Path | None:
    """Write the policy of an enrolled client, unless it has one; return the file if it was written.

    Args:
        folder: The enrolment's.
        orchestrator: Fingerprint of the key of the orchestrator that it is enrolled with.
        workload: What the client trains, with its parameters.

    Raises:
        ConfigurationError: If it can't be written.
    """
    path, name = folder / FILE, workload.partition(",")[0]
    if path.exists():
        return None
    named = pinned(name) if ":" in name else name
    if named.endswith(NO_FILE):
        raise ConfigurationError(
            f"CLIENT_WORKLOAD={workload}: there is no such file, and {path} has to name its digest"
        )
    try:
        replace_text(path, _TEXT.format(orchestrator=orchestrator, workload=named))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    return path
