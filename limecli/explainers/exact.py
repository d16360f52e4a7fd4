"""`--sampler exact`: weights without samples, for models that are sums over boxes of columns.

Claimed only once the boxes have reproduced the model on draws, edges, atoms and missing values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.errors import NotExactError, PredictError
from limecli.explainers.designs import Design, Fitter, Row, Seen, SobolDesign, Space
from limecli.leaf_boxes import LeafBoxes
from limecli.neighborhood.laws import bin_laws, normal_laws
from limecli.neighborhood.lime_stream import TabularDraws
from limecli.neighborhood.sobol import SobolPlan
from limecli.surrogate.boxes import evaluate, probes
from limecli.surrogate.exact import Moments, exact_bins, exact_fit, exact_normals
from limecli.surrogate.fit import Fit
from limecli.types import LimeSettings, PredictFn, Predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_CHECKED = SobolPlan(replicates=16, points=128)  # draws to check on, and to measure fidelity by
_TOLERANCE = 1e-6  # of the range of the outputs
_ADDITIONS = 32  # roundings of a sum of hundreds of trees, as they add up at random


class ExactDesign(Design):
    """Exact weights. Its draws serve to check the boxes, to measure fidelity, and to find flips."""

    sampler = "exact"

    def __init__(
        self, predictor: Predictor, space: Space, settings: LimeSettings, ask: PredictFn
    ) -> None:
        """`ask` is the model. Raises NotExactError where its weights have no closed form here."""
        if predictor.leaf_boxes is None:
            raise NotExactError("the model is no scikit-learn, XGBoost or LightGBM estimator")
        if settings.distance_metric != "euclidean":
            raise NotExactError(f"of {settings.distance_metric} distances nothing is known exactly")
        boxes = predictor.leaf_boxes()
        super().__init__(space)
        self._sobol = SobolDesign(space, settings, _CHECKED)
        self.blocks, self.num_samples = self._sobol.blocks, self._sobol.num_samples
        self.same_digits = not boxes.curves  # trees add up row by row, in a fixed order
        self.draws = self._sobol.draw(None)
        self.outputs = _checked(boxes, self.draws, space, ask)
        self._foreseen: dict[tuple[bytes, int], Moments] = {}
        self._width = 0.0  # that of what was foreseen
        around = bool(settings.sample_around_instance)
        self._exact = (
            exact_bins(boxes, bin_laws(space.columns, boxes))
            if space.binned
            else exact_normals(boxes, normal_laws(space.columns, boxes), around)
        )

    def draw(self, centre: FloatArray | None) -> TabularDraws:
        """See `Design`."""
        return self.draws if centre is None else self._sobol.draw(centre)

    def fitter(
        self,
        draws: TabularDraws,
        row: Row,
        settings: LimeSettings,
        scored: Sequence[int] | None,
    ) -> Fitter:
        """See `Design`. The draws only measure fidelity."""
        seen = self._space.seen(draws, row, settings.kernel_width)
        made: dict[int, Fit] = {}

        def fitted(label: int, outputs: FloatArray) -> Fit:
            if label not in made:
                found = self._fit(row, settings, seen.first, label)
                made[label] = replace(found, fidelity=self._r2(seen, found, outputs, scored))
            return made[label]

        return fitted

    def r2(
        self,
        draws: TabularDraws,
        row: Row,
        settings: LimeSettings,
        outputs: FloatArray,
        label: int,
        tuning: Sequence[int],
    ) -> float | None:
        """See `Design`."""
        seen = self._space.seen(draws, row, settings.kernel_width)
        found = self._fit(row, settings, seen.first, label)
        return self._r2(seen, found, outputs, tuning)

    def foresee(
        self, rows: Sequence[Row], settings: LimeSettings, labels: Sequence[Sequence[int]]
    ) -> None:
        """The moments of many rows at once, which is faster than one by one."""
        wanted: dict[tuple[int, ...], dict[bytes, NDArray[Any]]] = {}
        for row, of_row in zip(rows, labels, strict=True):
            wanted.setdefault(tuple(of_row), {})[_place(row).tobytes()] = _place(row)
        self._width = settings.kernel_width or 1.0
        self._foreseen = {
            (cell, label): moments
            for of_row, cells in wanted.items()
            for cell, moments in zip(
                cells,
                self._exact.many(np.stack([*cells.values()]), self._width, of_row),
                strict=True,
            )
            for label in of_row
        }

    def _fit(self, row: Row, settings: LimeSettings, first: FloatArray, label: int) -> Fit:
        place, width = _place(row), settings.kernel_width or 1.0
        moments = self._foreseen.get((place.tobytes(), label))
        if moments is None or self._width != width:
            moments = self._exact.moments(place, width, (label,))
        k = settings.num_features or len(first)
        return exact_fit(moments, label, first, settings.feature_selection, k)

    def _r2(
        self, seen: Seen, found: Fit, outputs: FloatArray, scored: Sequence[int] | None
    ) -> float | None:
        """Weighted R² on draws that no weight rests on; on some of their blocks only."""
        features = [feature for feature, _ in found.pairs]
        weights = np.array([weight for _, weight in found.pairs])
        said = weights @ seen.z[features].astype(np.float64)
        said += found.intercept
        if scored is None:
            return weighted_r2(outputs[1:], said[1:], seen.weights[1:])
        part = 1 + np.flatnonzero(np.isin(np.arange(len(said) - 1) // _CHECKED.points, scored))
        return weighted_r2(outputs[part], said[part], seen.weights[part])


def _place(row: Row) -> NDArray[Any]:
    """What a row's exact weights depend on."""
    return row.payload if row.codes is None else row.codes


def weighted_r2(outputs: FloatArray, said: FloatArray, weights: FloatArray) -> float | None:
    """R² of what a surrogate said, `float[n]`; None where the outputs are all the same."""
    total = float(weights.sum())
    if total <= 0:
        return None
    centred = outputs - float(weights @ outputs) / total
    squares = float(weights @ (centred * centred))
    seen = outputs if weights.all() else outputs[weights > 0]
    if squares <= 0 or np.ptp(seen) == 0:
        return None
    left = outputs - said
    return 1.0 - float(weights @ (left * left)) / squares


def _checked(boxes: LeafBoxes, draws: TabularDraws, space: Space, ask: PredictFn) -> FloatArray:
    """What the model says of the draws, once the boxes have said the same there and where its
    answers change. Raises NotExactError when they have not.
    """
    rows = draws.rows[1:]
    outputs = ask(rows)
    _compare(boxes, rows, outputs)
    edges = _edges(boxes, rows, space)
    if not len(edges):
        return outputs  # categories only: the draws have them all
    try:
        at_edges = ask(edges)
    except PredictError:
        raise NotExactError("the model takes no value at its own thresholds") from None
    _compare(boxes, edges, at_edges)
    return outputs


def _compare(boxes: LeafBoxes, rows: FloatArray, outputs: FloatArray) -> None:
    worst = float(np.abs(evaluate(boxes, rows) - outputs).max(initial=0.0))
    largest = float(np.abs(outputs).max(initial=0.0))
    allowed = _TOLERANCE * max(float(np.ptp(outputs)), _TOLERANCE * largest)
    if np.array_equal(outputs, outputs.astype(np.float32)):  # added up in single precision
        allowed += _ADDITIONS * float(np.finfo(np.float32).eps) * largest
    if not worst <= allowed:
        raise NotExactError(f"its leaves do not add up to its predictions (off by {worst:.2g})")


def _edges(boxes: LeafBoxes, rows: FloatArray, space: Space) -> FloatArray:
    """Draws moved to where the answers change: thresholds, the floats after them, edges of bins,
    and missing values where the background has them. Half of the columns of each at a time.
    """
    found = probes(boxes, space.table.n_features)
    values = {}
    for j, column in enumerate(space.columns):
        if not column.continuous:
            continue
        gap = [np.nan] if column.has_missing else []
        at = np.concatenate([found.get(j, np.empty(0)), column.bins, column.mins, column.maxs])
        values[j] = np.append(at[np.isfinite(at)], gap)
    most = max((len(at) for at in values.values()), default=0)
    moved = np.resize(rows, (2 * most, rows.shape[1])).copy()
    for number, (j, at) in enumerate(values.items()):
        places = np.arange(number % 2, 2 * most, 2)
        moved[places, j] = np.resize(at, len(places))
    return moved
