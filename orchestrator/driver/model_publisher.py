"""Publishing the model, and what goes along with it: where clients can read it, compressed as the run says."""

from __future__ import annotations

from pathlib import Path

from celeriac.compressors.models import pack_model
from orchestrator.driver.context import RunContext
from orchestrator.store.facts import RESULTS
from tasks import arrays, auxiliary, results
from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.digests import digest_of_file


def publish_model(context: RunContext, after_round: int) -> BlobRef:
    """Put the model that round ``after_round`` ended with where clients can read it."""
    name = context.scope.model(after_round)
    return _publish_file(context, name, context.folder.checkpoint(after_round), context.digests.get(after_round, ""))


def publish_start(context: RunContext, after_round: int) -> BlobRef:
    """Put the model that a round is to start from where clients can read it, compressed as the run says."""
    name, path = context.scope.model(after_round), context.folder.checkpoint(after_round)
    return _publish_packed(context, name, path, context.digests.get(after_round, ""))


def publish_surveyed(context: RunContext, round_number: int, digest: str) -> BlobRef:
    """Put the aggregate of a round's first exchange where clients can read it, compressed as the run says."""
    name, path = context.scope.surveyed(round_number), context.folder.surveyed(round_number)
    return _publish_packed(context, name, path, digest)


def publish_broadcast(context: RunContext, after_round: int) -> BlobRef | None:
    """Put what the algorithm sends along with the model, and results, beside it; return None if there is nothing."""
    path = context.folder.state(after_round)
    for_clients = {name for name, result in RESULTS.of(context.folder).items() if result.to_clients}
    if not (context.algorithm.broadcast or for_clients) or not path.exists():
        return None
    state = auxiliary.split(arrays.map_file(path))[1]
    found = {name: values for name, values in state.get(results.KIND, {}).items() if name in for_clients}
    sets = {kind: state[kind] for kind in context.algorithm.broadcast if kind in state}
    if not (found or sets):
        return None
    packed = results.join(pack_model(context.compressor, auxiliary.join({}, sets)), found)
    return blob.publish(context.services.blobs, context.scope.broadcast(after_round), arrays.encode(packed))


def _publish_packed(context: RunContext, name: str, path: Path, digest: str) -> BlobRef:
    if context.compressor is None or not context.compressor.also_models:
        return _publish_file(context, name, path, digest)
    packed = pack_model(context.compressor, arrays.map_file(path))
    return blob.publish(context.services.blobs, name, arrays.encode(packed))


def _publish_file(context: RunContext, name: str, path: Path, digest: str) -> BlobRef:
    ref = BlobRef(name=name, size_bytes=path.stat().st_size, digest=digest or digest_of_file(path))
    context.services.blobs.put_file(ref, path)
    return ref
