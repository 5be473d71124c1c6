"""Whether the users' own code that a run names is what it was when the run began, by the digests of its files."""

from __future__ import annotations

from orchestrator.config import RunConfig
from orchestrator.store.facts import OWN_CODE
from orchestrator.store.run_folder import RunFolder
from tasks.errors import ConfigurationError
from tasks.plugins import NO_FILE, digest_of
from tasks.spec import WorkloadSpec


def note_own_code(config: RunConfig, folder: RunFolder) -> None:
    """Keep the digests of the users' own code in the run's folder; code that isn't found here has none."""
    found = {spec: digest_of(spec) for spec in _specs(config)}
    OWN_CODE.note(folder, {spec: found[spec] for spec in sorted(found) if found[spec] != NO_FILE})


def check_own_code(config: RunConfig, folder: RunFolder, *, accepts_changed: bool) -> None:
    """Check that the code which a run names is what it was; where it may be another, keep that.

    A run's folder says what is imported to go on with it, and what is there by that name may have come since.

    Raises:
        ConfigurationError: If it is another.
    """
    former = OWN_CODE.of(folder)
    changed = sorted(spec for spec, digest in former.items() if digest_of(spec) not in (NO_FILE, digest))
    if changed and not accepts_changed:
        raise ConfigurationError(
            f"{', '.join(changed)}: the file has changed since the run in {folder.path} began: go on with it as it is "
            "now by --accept-changed-code (federate(accept_changed_code=True)), or put it back"
        )
    if changed:
        note_own_code(config, folder)


def _specs(config: RunConfig) -> list[str]:
    """Return what of a run may be a user's own, as ``module:name`` or by a name of ours."""
    one_each = (config.algorithm, config.aggregator, config.compression, config.select, config.policy)
    several = (*config.schedule, *config.mix, *config.verify, *config.observe)
    return [spec for spec in (WorkloadSpec.parse(config.workload).name, *one_each, *several) if ":" in spec]
