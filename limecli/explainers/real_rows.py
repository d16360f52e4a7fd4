"""Whether an explanation holds for real rows, and how near its row the neighborhood lies.

Perturbed rows may look like no real ones, and a model can tell them apart (Slack et al. 2020). So a
surrogate is scored on real rows, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.errors import InputError, PredictError
from limecli.explainers.batches import BYTES_A_CELL, BatchedModel, batch_size_for
from limecli.explainers.conditions import bin_code
from limecli.neighborhood.kernel import binary_distances, distances_to_first, kernel
from limecli.neighborhood.tabular_space import TabularSpace
from limecli.types import (
    Cell,
    Column,
    Explanation,
    LimeSettings,
    Locality,
    Neighborhood,
    Predictor,
    Surrogate,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray, IntArray

_LEAST_ROWS = 10.0  # effective ones, for an R²
_MOST_REFUSALS = 64  # calls that the model may refuse before the remaining rows are given up
_CACHE = 1 << 24  # bytes of z that are kept for rows to come
_ROUNDING = 1e-12  # of the largest output: smaller deviations are no answer of the model
_SLIGHT = 1e-6  # of the outputs' range: smaller ones come from rows next to no weight


@dataclass(frozen=True, eq=False)
class _Answered:
    """The rows that the model takes, `[m, n_features]`, and its outputs as `[n_outputs, m]`.

    `scaled` are those in units of the `largest` of each label, `float[n_outputs]`, and `floors` the
    least deviations, in these units, that are an answer of the model.
    """

    rows: FloatArray
    by_label: FloatArray
    largest: list[float]
    scaled: FloatArray
    floors: list[float]

    @classmethod
    def of(cls, rows: FloatArray, outputs: FloatArray) -> _Answered:
        """From outputs as a model gives them, `float[m, n_outputs]`."""
        by_label = np.ascontiguousarray(outputs.T)
        largest = np.abs(by_label).max(axis=1, initial=0.0)
        scaled = by_label / np.where(largest > 0, largest, 1.0)[:, None]
        ranges = np.ptp(scaled, axis=1) if scaled.size else largest
        floors = np.maximum(_ROUNDING, _SLIGHT * ranges)
        return cls(rows, by_label, largest.tolist(), scaled, floors.tolist())


@dataclass(frozen=True, eq=False)
class _View:
    """The rows as one instance sees them: z, `[n_features, m]`, kernel weights `float[m]` in units
    of the largest (None where they tell nothing), and the places of those that share all its bins;
    None without bins.
    """

    z: NDArray[Any]
    weights: FloatArray | None
    sharing: IntArray | None

    @classmethod
    def of(cls, z: NDArray[Any], weights: FloatArray, sharing: IntArray | None) -> _View:
        """From the kernel's weights; they tell nothing where few rows have most of them."""
        heaviest = float(weights.max())
        if heaviest == 0:
            return cls(z, None, sharing)
        weights = weights / heaviest
        total = float(weights.sum())
        enough = total * total >= _LEAST_ROWS * float(weights @ weights)
        return cls(z, weights if enough else None, sharing)


class RealRows:
    """Real rows to judge explanations by: each is predicted once, when the first is judged.

    `rows` is `float[m, n_features]` of numbers and codes as `predict_fn` takes them, `outputs`
    (`float[m, n_outputs]`) the model's answers where they are known. `settings` are those that an
    explainer has resolved. Rows that the model refuses are left out, and without discretisation
    those with a missing number.
    """

    def __init__(
        self,
        predictor: Predictor,
        columns: tuple[Column, ...],
        settings: LimeSettings,
        rows: FloatArray,
        outputs: FloatArray | None = None,
    ) -> None:
        self._settings, self._space = settings, TabularSpace(columns)
        self._rows, self._outputs = rows, outputs
        self._width = settings.kernel_width or 1.0
        self._binned = settings.discretizer != "none"
        size = batch_size_for(settings, BYTES_A_CELL * len(columns))
        self._model = BatchedModel(predictor, size, lambda _: None)
        self._refusals = 0
        self._cell = lru_cache(max(1, _CACHE // max(1, rows.size)))(self._seen_from_cell)

    @property
    def calls(self) -> int:
        """How many evaluations the rows have cost so far."""
        return self._model.calls

    @property
    def known(self) -> tuple[FloatArray, FloatArray]:
        """The rows that count, `[m, n_features]`, and the answers to them, `[m, n_outputs]`."""
        return self._answered.rows, self._answered.by_label.T

    def judged(self, explanation: Explanation) -> Explanation:
        """The explanation with `real_rows`, each surrogate with `fidelity_rows` and `cell`.

        The fidelity is None where the model answers the same for all rows, or where the kernel
        leaves fewer than 10 effective rows (Kish: (sum w)² / sum w²). The cell counts other rows:
        of those that equal the instance one is taken for itself. Its range has the instance's own
        prediction in it. Without bins, or without rows, there is no cell.
        """
        answered = self._answered
        count = answered.by_label.shape[1]
        if not count:
            return replace(explanation, real_rows=0)
        payload = explanation.instance.payload
        view = self._view(payload)
        others = None if view.sharing is None else _others(answered.rows, view.sharing, payload)
        judged = []
        for surrogate in explanation.surrogates:
            outputs = answered.by_label[surrogate.index]
            cell = None if others is None else _cell(surrogate, outputs[others])
            r2 = _r2(surrogate, view, answered)
            judged.append(replace(surrogate, fidelity_rows=r2, cell=cell))
        return replace(explanation, surrogates=tuple(judged), real_rows=count)

    @cached_property
    def _answered(self) -> _Answered:
        rows, outputs = self._rows, self._outputs
        if not self._binned:
            numbers = np.setdiff1d(np.arange(rows.shape[1]), self._space.categorical)
            usable = np.isfinite(rows[:, numbers]).all(axis=1)
            rows, outputs = rows[usable], None if outputs is None else outputs[usable]
        if outputs is None:
            found = self._ask(rows)
            rows = np.concatenate([rows[:0], *(part for part, _ in found)])
            outputs = np.concatenate([answers for _, answers in found] or [np.empty((0, 0))])
        return _Answered.of(rows, outputs)

    def _ask(self, rows: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        """The rows that the model takes, in parts, each with its outputs."""
        if not len(rows) or self._refusals >= _MOST_REFUSALS:
            return []
        try:
            return [(rows, self._model(rows))]
        except (InputError, PredictError):
            self._refusals += 1
        if len(rows) == 1:
            return []
        # Missing values are what models refuse most.
        missing = np.isnan(rows).any(axis=1)
        if missing.any() and not missing.all():
            return self._ask(rows[~missing]) + self._ask(rows[missing])
        half = len(rows) // 2
        return self._ask(rows[:half]) + self._ask(rows[half:])

    def _view(self, payload: FloatArray) -> _View:
        if self._binned:
            return self._cell(self._space.codes(payload[None]).tobytes())
        space, metric = self._space, self._settings.distance_metric
        z, first = self._scaled, (payload - space.means) / space.scales
        if space.categorical:
            z = z.copy()
            for j in space.categorical:
                z[j] = self._answered.rows[:, j] == payload[j]
                first[j] = 1.0
        with np.errstate(over="ignore"):  # infinitely far: no weight
            weights = kernel(_distances(z, first, metric), self._width)
        return _View.of(z, weights, None)

    @cached_property
    def _scaled(self) -> FloatArray:
        """`float[n_features, m]`: numbers as an undiscretised surrogate takes them."""
        scaled = (self._answered.rows - self._space.means) / self._space.scales
        return np.ascontiguousarray(scaled.T)

    @cached_property
    def _codes(self) -> NDArray[np.int64]:
        """`int[n_features, m]`: bins and categories of the rows."""
        return np.ascontiguousarray(self._space.codes(self._answered.rows).T, np.int64)

    @cached_property
    def _by_count(self) -> FloatArray:
        distances = binary_distances(self._space.n_features, self._settings.distance_metric)
        return kernel(distances, self._width)

    def _seen_from_cell(self, codes: bytes) -> _View:
        """The view of all instances in a cell, `int64[n_features]` of codes as bytes."""
        z = self._codes == np.frombuffer(codes, np.int64)[:, None]
        counted = np.uint8 if len(z) < 256 else np.uint32  # bytes are added up many at a time
        count = z.view(np.uint8).sum(axis=0, dtype=counted)
        sharing = np.flatnonzero(count == len(z))
        return _View.of(z, self._by_count[count], sharing)


def _distances(z: FloatArray, first: FloatArray, metric: str) -> FloatArray:
    """`float[m]`: from `first` to each of the m columns of z."""
    if metric == "cosine":
        return distances_to_first(np.vstack([first, z.T]), metric)[1:]
    away = z - first[:, None]
    if metric == "manhattan":
        return np.asarray(np.abs(away).sum(axis=0))
    return np.asarray(np.sqrt(np.einsum("ij,ij->j", away, away)))


def _others(rows: FloatArray, sharing: IntArray, payload: FloatArray) -> IntArray:
    """The places of rows in the instance's cell that are not the instance itself."""
    if not len(sharing):
        return sharing
    near = rows[sharing]
    same = ((near == payload) | (np.isnan(near) & np.isnan(payload))).all(axis=1)
    return np.delete(sharing, same.argmax()) if same.any() else sharing


def _cell(surrogate: Surrogate, outputs: FloatArray) -> Cell:
    own = surrogate.model_prediction
    if not len(outputs):
        return Cell(0, own, own)
    low, high = outputs.min(initial=own), outputs.max(initial=own)
    return Cell(len(outputs), float(low), float(high))


def _r2(surrogate: Surrogate, view: _View, answered: _Answered) -> float | None:
    """Kernel-weighted R² of a surrogate for the outputs of its label, see `judged`."""
    label, weights = surrogate.index, view.weights
    largest = answered.largest[label]
    if weights is None or largest == 0:
        return None
    # In units of the largest output and weight: squares of any of them must stay numbers.
    y, floor = answered.scaled[label], answered.floors[label]
    total = float(weights.sum())
    spread = y - weights @ y / total
    squares = float(weights @ (spread * spread))
    if squares <= floor * floor * total:
        return None
    features = [found.index for found in surrogate.attributions]
    slopes = np.array([found.weight for found in surrogate.attributions]) / largest
    with np.errstate(over="ignore", invalid="ignore"):
        left = y - surrogate.intercept / largest - slopes @ view.z[features]
        r2 = 1.0 - float(weights @ (left * left)) / squares
    return r2 if math.isfinite(r2) else None


class Nearness:
    """How near the kernel-weighted neighborhood of a row lies, for infinitely many draws."""

    def __init__(self, columns: Sequence[Column], settings: LimeSettings) -> None:
        self._columns, self._settings = tuple(columns), settings
        # Its square must be a number.
        self._closeness = min(1.0 / (settings.kernel_width or 1.0), 1e150)
        self._binned = settings.discretizer != "none"
        kept = [j for j, c in enumerate(columns) if self._binned or not c.continuous]
        self._kept = [(j, columns[j], _own_shares(columns[j])) for j in kept]

    def of(self, payload: FloatArray, neighborhood: Neighborhood | None = None) -> Locality | None:
        """In bins every metric depends on how many are shared, whose law is known. Undiscretised,
        only categories can be shared. There the euclidean law is known: with scaled features of
        N(0, 1), the row at a and w² the squared width, its middle is a / (1 + w²). For other
        metrics it is taken from the `neighborhood`; None without it.
        """
        closeness, count = self._closeness, len(self._kept)
        values = payload.tolist()
        shares = np.array([
            of_code.get(bin_code(column, values[j]), 0.0) for j, column, of_code in self._kept
        ])  # fmt: skip
        moves = count < len(self._columns) and not self._settings.sample_around_instance
        if self._settings.distance_metric == "euclidean":
            shared = float(_tilted(shares, closeness).sum())
            toward = 1.0 / (1.0 + closeness * closeness) if moves else None
            return Locality(shared, count, toward)
        if self._binned:
            return Locality(_mean_shared(shares, self._settings.distance_metric, closeness), count)
        if neighborhood is None:
            return None
        z, weights = neighborhood.interpretable()
        middle = z @ (weights / weights.sum())
        shared = float(middle[[j for j, _, _ in self._kept]].sum())
        return Locality(shared, count, _way(self._columns, payload, middle) if moves else None)


def _own_shares(column: Column) -> dict[float, float]:
    """By code, the probability that a draw lies in that bin or category."""
    total = sum(column.feature_frequencies)
    pairs = zip(column.feature_values, column.feature_frequencies, strict=True)
    return {float(code): frequency / total for code, frequency in pairs}


def _tilted(shares: FloatArray, closeness: float) -> FloatArray:
    """Those probabilities under the kernel: q / (q + (1 - q) exp(-1 / (2 w²)))."""
    elsewhere = (1.0 - shares) * math.exp(-0.5 * closeness * closeness)
    return np.asarray(shares / np.where(shares > 0, shares + elsewhere, 1.0))


def _mean_shared(shares: FloatArray, metric: str, closeness: float) -> float:
    """E~ of how many bins are shared, by its probabilities (Poisson binomial) and the kernel.

    In logarithms: in many columns both run below what a number holds.
    """
    n = len(shares)
    with np.errstate(divide="ignore", over="ignore"):
        hit, miss = np.log(shares), np.log1p(-shares)
        logs = np.full(n + 1, -np.inf)
        logs[0] = 0.0
        for j in range(n):
            logs[1 : j + 2] = np.logaddexp(logs[1 : j + 2] + miss[j], logs[: j + 1] + hit[j])
            logs[0] += miss[j]
        logs -= 0.5 * (binary_distances(n, metric) * closeness) ** 2
    chances = np.exp(logs - logs.max())
    return float(np.arange(n + 1.0) @ chances / chances.sum())


def _way(columns: Sequence[Column], payload: FloatArray, middle: FloatArray) -> float | None:
    """The share of the way from a row to the background's mean; None for a row that is there."""
    numbers = [j for j, column in enumerate(columns) if column.continuous]
    a = np.array([(payload[j] - columns[j].mean) / columns[j].scale for j in numbers])
    length = float(a @ a)
    return float((a - middle[numbers]) @ a) / length if length else None
