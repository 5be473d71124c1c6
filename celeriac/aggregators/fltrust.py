"""FLTrust: updates scaled to the length of an update that the orchestrator trained, and weighed by their angle to it.

Cao, Fang, Liu, Gong: FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping, NDSS 2021
(https://arxiv.org/abs/2012.13995), section IV-B and Algorithm 2. With g_i the change by client i, and g_0 the change by
training on the orchestrator's root data, from the same model w:

    TS_i = ReLU(<g_i, g_0> / (|g_i| |g_0|))             (equation 2)
    g~_i = |g_0| / |g_i| * g_i                          (equation 3)
    w <- w + alpha * sum_i TS_i g~_i / sum_i TS_i       (equation 4, and Algorithm 2, line 13)

The rate alpha is 1: the algorithm's own step follows (``--algorithm``). It needs no honest majority, but root data like
the clients'. In the paper, server and clients take equally many steps; here the orchestrator trains on the root data as
a client would, and g_0 has the resulting length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from celeriac.aggregators import AggregationError, AggregatorContext, WeightedUpdate, needs_root
from celeriac.aggregators.blocks import Floats, mean_of_rows, reduce_blocks
from celeriac.aggregators.combining import in_order, medians_of_untrained, origin_of, within_limits
from celeriac.geometry import compared
from tasks.arrays import Array, Arrays
from tasks.auxiliary import MARK


@needs_root
def aggregate_fltrust(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Return the model moved by the mean of the updates' changes, scaled to the root's length and weighed by trust.

    Weights don't count, as in the paper: clients could claim any number of examples. Nor does ``num_byzantine``. The
    order of the updates affects the last bits alone.

    The paper has neither sets nor buffers. Sets that go with updates (``@c/…``) can't be compared with the root's: the
    result is their mean weighed by trust, without scaling. Arrays that aren't trained get the median of all updates:
    see :func:`celeriac.aggregators.combining.medians_of_untrained`.

    Raises:
        AggregationError: If no update is trusted, so that equation 4 would divide by zero; if training on the root data
            changed nothing; or if there is no such data.
    """
    if context.train_root is None:
        raise AggregationError("fltrust needs root data of the orchestrator: the workload has none")
    parameters = [update.parameters for update in updates]
    origin = {name: values for name, values in origin_of(updates, context).items() if not name.startswith(MARK)}
    found = compared(parameters, context.train_root(), origin)
    if not found.reference_length:
        raise AggregationError("fltrust has no direction to compare with: training on the root data changed nothing")
    trust = np.maximum(0.0, found.cosines)
    if not trust.any():
        raise AggregationError(f"fltrust trusts none of {len(updates)} updates: all point away from the root data's")
    return in_order(
        parameters[0],
        {
            **_moved(parameters, origin, trust, found.reference_length / np.where(trust > 0, found.lengths, 1.0)),
            **_means_of_sets(parameters, trust, context),
            **medians_of_untrained(updates, context),
        },
    )


def _moved(updates: Sequence[Arrays], origin: Arrays, trust: Floats, scales: Floats) -> dict[str, Array]:
    """Return w + sum_i TS_i s_i (x_i - w) / sum_i TS_i for the trained arrays, in float64 and rounded once."""
    shares = (trust * scales / trust.sum()).tolist()

    def move(rows: Array) -> Floats:
        values = within_limits(rows)
        start = values[0].astype(np.float64)
        moved: Floats = start.copy()
        for row, share in zip(values[1:], shares, strict=True):
            if share:
                moved += share * (row - start)
        return moved

    return reduce_blocks([origin, *updates], origin, move)


def _means_of_sets(updates: Sequence[Arrays], trust: Floats, context: AggregatorContext) -> Mapping[str, Array]:
    names = [
        name for name, values in updates[0].items() if name.startswith(MARK) and context.is_trained(name, values.dtype)
    ]
    weights = trust.tolist()
    return reduce_blocks(updates, names, lambda rows: mean_of_rows(within_limits(rows), weights))
