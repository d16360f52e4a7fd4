"""Whether a model answers for each row by itself: only then may rows share a neighborhood."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.explainers.batches import BatchedModel
from limecli.types import PredictFn

if TYPE_CHECKING:
    from limecli.types import FloatArray

_MANY = 32
_CHECKED = 4  # samples that are predicted alone
_FEW_ROWS = 64  # that many are asked for one by one; for more, as many samples are tried alone
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
    same each time.
    """

    def __init__(
        self,
        model: BatchedModel,
        rows: FloatArray,
        outputs: FloatArray,
        same_digits: bool = False,
    ) -> None:
        """`same_digits` says that the model is known to round alike in every batch."""
        self._model, self._rows, self._outputs = model, rows, outputs
        self._same_digits = same_digits
        self.sound = alike(*self._compared(_CHECKED), outputs)

    def _compared(self, count: int) -> tuple[FloatArray, FloatArray]:
        picked = np.unique(np.linspace(1, len(self._rows) - 1, count).astype(int))
        alone = np.concatenate([self._model(self._rows[i : i + 1]) for i in picked.tolist()])
        return alone, self._outputs[picked]

    @cached_property
    def same_digits(self) -> bool:
        """Whether not even the last digit depends on the batch, as far as many samples show."""
        return self._same_digits or np.array_equal(*self._compared(_FEW_ROWS))

    def answers(self, rows: FloatArray, among: int | None) -> FloatArray:
        """What the model says of each row alone, `float[n, n_outputs]`, for rows among so many.

        None: they are a block that is always asked for as a whole.
        """
        if among is None or (among > _FEW_ROWS and self.same_digits):
            return self._model(rows)
        return np.concatenate([self._model(row[None]) for row in rows])


def rounding(predict_fn: PredictFn, payloads: Sequence[Any]) -> float:
    """The most that a model's answers for some instances differ between batches of one and many."""
    some = payloads[:_CHECKED]
    many = [some[i % len(some)] for i in range(_MANY)]
    as_batch = list if isinstance(some[0], str) else np.stack
    together = predict_fn(as_batch(many))[: len(some)]
    alone = np.concatenate([predict_fn(as_batch([payload])) for payload in some])
    return float(np.abs(together - alone).max())
