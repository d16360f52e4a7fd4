"""Whether a model answers for each row by itself: only then may rows share a neighborhood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from limecli.explainers.batches import BatchedModel

if TYPE_CHECKING:
    from limecli.types import FloatArray

_CHECKED = 4  # samples that are predicted alone
_OF_RANGE, _OF_SIZE = 1e-5, 1e-6  # single precision differs by as much from batch to batch


def alike(alone: FloatArray, among_others: FloatArray, outputs: FloatArray) -> bool:
    """Whether two answers for the same rows differ by rounding only.

    Measured by the range and size of `outputs`, `float[n, n_outputs]`, label by label.
    """
    allowed = _OF_RANGE * np.ptp(outputs, axis=0) + _OF_SIZE * np.abs(outputs).max(axis=0)
    return bool((np.abs(alone - among_others) <= allowed).all())


class RowWise:
    """Asks a model for some samples alone, and compares with what it said in the batch.

    `sound` is False for a model whose answers depend on the other rows of a batch, or are not the
    same each time. `exact` says that not even the last digit depends on the batch.
    """

    def __init__(self, model: BatchedModel, rows: FloatArray, outputs: FloatArray) -> None:
        self._model = model
        picked = np.unique(np.linspace(1, len(rows) - 1, _CHECKED).astype(int))
        alone = np.concatenate([model(rows[i : i + 1]) for i in picked.tolist()])
        self.sound = alike(alone, outputs[picked], outputs)
        self.exact = self.sound and np.array_equal(alone, outputs[picked])

    def answers(self, rows: FloatArray) -> FloatArray:
        """What the model says of each row alone, `float[n, n_outputs]`, whatever the others are."""
        if not self.exact:
            return np.concatenate([self._model(row[None]) for row in rows])
        return self._model(rows)
