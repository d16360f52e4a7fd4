"""Neighborhoods with what the model says of them, which grow when more samples are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.explainers.designs import Design
from limecli.neighborhood.lime_stream import TabularDraws

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray


@dataclass(frozen=True)
class Asked:
    """A neighborhood, row 0 left to the row to explain, and its outputs `float[n_outputs, 1 + n]`.

    `calls` is what they cost.
    """

    draws: TabularDraws
    by_label: FloatArray
    calls: int

    @classmethod
    def of(cls, draws: TabularDraws, outputs: FloatArray, calls: int) -> Asked:
        """From outputs as a model gives them, `float[1 + n, n_outputs]`."""
        return cls(draws, np.ascontiguousarray(outputs.T), calls)

    def outputs(self, label: int, answer: FloatArray) -> FloatArray:
        """One label's outputs, that of the row itself (`answer`, `float[n_outputs]`) first."""
        outputs: FloatArray = self.by_label[label].copy()
        outputs[0] = answer[label]
        return outputs


class Levels:
    """A neighborhood, and each next one twice as large, which holds the one before.

    `ask` predicts rows, `float[n, n_features]`, and says how many evaluations that took.
    """

    def __init__(
        self,
        first: Asked,
        design: Design,
        centre: FloatArray | None,
        ask: Callable[[FloatArray], tuple[FloatArray, int]],
    ) -> None:
        self._levels = [first]
        self._design, self._centre, self._ask = design, centre, ask

    def __getitem__(self, level: int) -> Asked:
        """The first is number 0."""
        while level >= len(self._levels):
            self._levels.append(self._grown(self._levels[-1]))
        return self._levels[level]

    def _grown(self, last: Asked) -> Asked:
        more, blocks = self._design.more(last.draws, self._centre), self._design.blocks
        answers, calls = self._ask(more.rows[1:])
        draws = TabularDraws(
            _joined(last.draws.rows, more.rows[1:], blocks),
            np.ascontiguousarray(_joined(last.draws.codes.T, more.codes.T[1:], blocks).T),
        )
        outputs = _joined(last.by_label.T, answers, blocks)
        return Asked.of(draws, outputs, last.calls + calls)


def _joined(old: NDArray[Any], new: NDArray[Any], blocks: int) -> NDArray[Any]:
    """`[1 + n, ...]` and as many new ones as one array, block by block; row 0 stays where it is."""
    shape = (blocks, -1, *old.shape[1:])
    both = np.concatenate([old[1:].reshape(shape), new.reshape(shape)], axis=1)
    return np.concatenate([old[:1], both.reshape(-1, *old.shape[1:])])
