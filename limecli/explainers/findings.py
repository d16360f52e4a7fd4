"""What is found out about an explanation once its weights are there: flips, real rows, locality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from limecli.explainers.flips import Flipper
from limecli.explainers.real_rows import Nearness, RealRows
from limecli.types import Column, Explanation, LimeSettings, Predictor

if TYPE_CHECKING:
    from limecli.types import FloatArray


class Findings:
    """Adds to the explanations of one run.

    `settings` are an engine's own, every default resolved. `columns` and `real`, real rows as
    `float[m, n_features]`, are None for texts and pictures.
    """

    def __init__(
        self,
        predictor: Predictor,
        settings: LimeSettings,
        columns: Sequence[Column] | None,
        real: FloatArray | None,
        outputs: FloatArray | None = None,
    ) -> None:
        """`outputs`: what the model says of `real`, `float[m, n_outputs]`, where that is known."""
        self._near = None if columns is None else Nearness(columns, settings)
        self._flipper = Flipper(predictor, settings, columns)
        self._real = None
        if columns is not None and real is not None:
            self._real = RealRows(predictor, tuple(columns), settings, real, outputs)

    def added(self, explanations: Sequence[Explanation]) -> list[Explanation]:
        """The explanations with all that could be found out; `model_calls` has its cost."""
        return [self._judged(one) for one in self._flipper.found(explanations)]

    def _judged(self, one: Explanation) -> Explanation:
        calls = one.model_calls
        if self._real is not None:
            one = self._real.judged(one)
            calls += self._real.calls
        if self._near is None:
            return one
        near = self._near.of(one.instance.payload, one.neighborhood)
        return replace(one, locality=near, model_calls=calls)
