"""How good a model of a table is: the area under the ROC curve of its classes, and R² of a number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from celeriac.workloads.tables.columns import Floats


def auc(scores: Floats, is_positive: npt.NDArray[np.bool_]) -> float:
    """Return the share of pairs of a positive and a negative row in which the former scores higher; ties are half.

    It is the statistic of Mann and Whitney (1947), by ranks.

    Args:
        scores: Shape ``(n,)``.
        is_positive: Which rows are positive, some and not all; shape ``(n,)``.
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # of equal scores their mean rank, from 1
    num_positive = int(is_positive.sum())
    num_pairs = num_positive * (len(scores) - num_positive)
    return float((ranks[is_positive].sum() - num_positive * (num_positive + 1) / 2) / num_pairs)


def auc_of_classes(outputs: Floats, targets: npt.NDArray[np.int64]) -> dict[str, float]:
    """Return ``auc``: of two classes of the second, of more the mean over each against the rest.

    Classes that no row has, or all have, are left out; it is empty if none is left.

    Args:
        outputs: Logits, shape ``(n, classes)``.
        targets: Each row's class, shape ``(n,)``.
    """
    if outputs.shape[1] == 2:
        scores = {1: outputs[:, 1] - outputs[:, 0]}
    else:
        shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        shares = shifted / shifted.sum(axis=1, keepdims=True)
        scores = {place: shares[:, place] for place in range(outputs.shape[1])}
    found = [auc(scores[place], targets == place) for place in scores if 0 < (targets == place).sum() < len(targets)]
    return {"auc": float(np.mean(found))} if found else {}


def errors_of_numbers(outputs: Floats, targets: Floats) -> dict[str, float]:
    """Return ``rmse``, the root of the mean squared error, and ``r2``, the share of the variance that is explained.

    Where all targets are equal there is no ``r2``.

    Args:
        outputs: Shape ``(n,)``.
        targets: Shape ``(n,)``.
    """
    squares, variance = float(np.mean((outputs - targets) ** 2)), float(np.var(targets))
    return {"rmse": squares**0.5, **({"r2": 1 - squares / variance} if variance else {})}
