"""How rows of a table become weights: lime's own draw and fit, or Sobol's, or neither (`exact`).

A design draws neighborhoods, whose row 0 is the place of the row to explain, and makes of one a
function that fits a label.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.errors import InputError
from limecli.explainers.conditions import seeded
from limecli.explainers.control import FOLDS, Control, pool_plan
from limecli.neighborhood.kernel import binary_distances, distances_to_first, kernel
from limecli.neighborhood.lime_stream import TabularDraws, draw_bins, draw_normals
from limecli.neighborhood.sobol import SobolPlan, draw_sobol
from limecli.neighborhood.tabular_space import TabularSpace
from limecli.surrogate.blocks import BlockedSamples
from limecli.surrogate.controlled import fit_controlled_replicates
from limecli.surrogate.fidelity import held_out_r2
from limecli.surrogate.fit import Fit, fit, fit_replicates
from limecli.surrogate.ridge import WeightedSamples
from limecli.types import Column, LimeSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray, IntArray

_FOLDS = 8  # of lime's draws: what held-out fidelity leaves out in turn
_OTHER = 1 << 32  # added to the seed of the samples, for which it is too large

Fitter = Callable[[int, "FloatArray"], Fit]
"""Label and its outputs, `float[1 + n]`, that of the row itself first -> its surrogate."""


@dataclass(frozen=True)
class Row:
    """A row to explain: numbers and codes as the model takes them, and the bins that they lie in
    (None without bins), both `[n_features]`. `never` are the features whose bin or category the
    background does not have.
    """

    payload: FloatArray
    codes: IntArray | None
    never: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Seen:
    """Draws as one row sees them: z as `[n_features, 1 + n]`, weights, and z of the row itself."""

    z: NDArray[Any]
    weights: FloatArray
    first: FloatArray


@dataclass(frozen=True)
class Near:
    """Draws as one row sees them, at any kernel width.

    `distances` are those of the draws, or where draws with as many bins in common are as far, by
    how many they `kept`.
    """

    z: NDArray[Any]
    distances: FloatArray
    kept: NDArray[np.unsignedinteger[Any]] | None
    first: FloatArray

    def weights(self, width: float) -> FloatArray:
        """The kernel's, `float[1 + n]`."""
        found = kernel(self.distances, width)
        return found if self.kept is None else found[self.kept]


class Space:
    """The interpretable side of a table: what of a draw is like the row, and how near it is."""

    def __init__(self, columns: Sequence[Column], settings: LimeSettings) -> None:
        self.columns = tuple(columns)
        self.table = TabularSpace(columns)
        self.binned = settings.discretizer != "none"
        self.metric = settings.distance_metric
        self._by_count = binary_distances(len(columns), self.metric)
        self._occurs, self._last = self._occurring()

    def _occurring(self) -> tuple[NDArray[np.bool_], int]:
        """`bool[n_features, codes]`: what the background has of each column; the last stands for
        all codes above. Without bins nothing is asked of numbers.
        """
        last = 1 + max((int(max(c.feature_values, default=0)) for c in self.columns), default=0)
        occurs = np.zeros((len(self.columns), last + 1), np.bool_)
        for j, column in enumerate(self.columns):
            occurs[j, np.array(column.feature_values, np.intp)] = True
            if column.continuous and not self.binned:
                occurs[j] = True
        return occurs, last

    def rows(self, payloads: FloatArray) -> list[Row]:
        """Rows of `float[n, n_features]`."""
        codes = self.table.codes(payloads)
        known = self._occurs[np.arange(len(self.columns)), np.minimum(codes, self._last)]
        never = [frozenset[int]()] * len(payloads)
        for i in np.flatnonzero(~known.all(axis=1)).tolist():
            never[i] = frozenset(np.flatnonzero(~known[i]).tolist())
        places = codes if self.binned else [None] * len(payloads)
        return [Row(*parts) for parts in zip(payloads, places, never, strict=True)]

    def near(self, draws: TabularDraws, row: Row) -> Near:
        """How a row sees the draws. Puts it in row 0."""
        draws.rows[0] = row.payload
        if row.codes is not None:
            z = self.table.matches(draws.codes, row.codes)
            z[:, 0] = True
            counted = np.uint8 if len(z) < 256 else np.uint32  # bytes are added up many at a time
            kept = z.view(np.uint8).sum(axis=0, dtype=counted)
            return Near(z, self._by_count, kept, np.ones(len(z)))
        scaled = (draws.rows - self.table.means) / self.table.scales
        for j in self.table.categorical:
            scaled[:, j] = draws.rows[:, j] == row.payload[j]
        return Near(scaled.T, distances_to_first(scaled, self.metric), None, scaled[0])

    def seen(self, draws: TabularDraws, row: Row, width: float | None) -> Seen:
        """A row's z and kernel weights."""
        near = self.near(draws, row)
        return Seen(near.z, near.weights(width or 1.0), near.first)


class Design(ABC):
    """One way to draw and to fit. `blocks` is what held-out fidelity leaves out one of in turn,
    `alpha` the penalty of the fits that a kernel width is chosen by.
    """

    sampler: str
    blocks: int
    num_samples: int
    alpha = 0.0

    def __init__(self, space: Space) -> None:
        self._space = space

    @abstractmethod
    def draw(self, centre: FloatArray | None) -> TabularDraws:
        """A neighborhood around `centre`, or of the background. Row 0 is left to the row."""

    def more(self, draws: TabularDraws, centre: FloatArray | None) -> TabularDraws:
        """As many new rows as there are, block by block; row 0 says nothing.

        Only for designs that `--settle` can go on with.
        """
        raise NotImplementedError

    def foresee(  # noqa: B027 - most have nothing to foresee
        self, rows: Sequence[Row], settings: LimeSettings, labels: Sequence[Sequence[int]]
    ) -> None:
        """Compute together what these rows will ask for, each for its labels, one after another."""

    @abstractmethod
    def fitter(
        self,
        draws: TabularDraws,
        row: Row,
        settings: LimeSettings,
        scored: Sequence[int] | None,
    ) -> Fitter:
        """What fits the labels of one row. Fidelity is measured on the blocks `scored`."""

    def r2(
        self,
        draws: TabularDraws,
        row: Row,
        settings: LimeSettings,
        outputs: FloatArray,
        label: int,
        tuning: Sequence[int],
    ) -> float | None:
        """Held-out R² of a label on some blocks, to choose a width by; outputs as for a Fitter."""
        seen = self._space.seen(draws, row, settings.kernel_width)
        n = (len(outputs) - 1) // self.blocks * self.blocks
        samples = BlockedSamples(seen.z[:, 1 : n + 1], seen.weights[1 : n + 1], self.blocks)
        k = settings.num_features or len(seen.first)
        method = settings.feature_selection
        return held_out_r2(samples, outputs[1 : n + 1], seen.first, method, k, self.alpha, tuning)


class LimeDesign(Design):
    """lime's stream and lime's fit."""

    sampler, blocks, alpha = "lime", _FOLDS, 1.0

    def __init__(self, space: Space, settings: LimeSettings) -> None:
        super().__init__(space)
        self._settings = settings
        self.num_samples = settings.num_samples

    def draw(self, centre: FloatArray | None) -> TabularDraws:
        """See `Design`."""
        rng, n = seeded(self._settings, self._space.columns), self.num_samples
        if self._space.binned:
            return draw_bins(rng, self._space.table, n)
        return draw_normals(rng, self._space.table, n, centre)

    def fitter(
        self,
        draws: TabularDraws,
        row: Row,
        settings: LimeSettings,
        scored: Sequence[int] | None,
    ) -> Fitter:
        """See `Design`. The row itself is one of the samples."""
        seen = self._space.seen(draws, row, settings.kernel_width)
        samples = WeightedSamples(seen.z, seen.weights)
        k = settings.num_features or len(seen.first)

        def fitted(_label: int, outputs: FloatArray) -> Fit:
            return fit(samples, outputs, seen.first, settings.feature_selection, k, scored)

        return fitted


class SobolDesign(Design):
    """Independent scramblings of Sobol's sequence, each fitted for itself."""

    sampler = "sobol"

    def __init__(self, space: Space, settings: LimeSettings, plan: SobolPlan) -> None:
        super().__init__(space)
        self._seed, self._plan = settings.seed, plan
        self.blocks, self.num_samples = plan.replicates, plan.replicates * plan.points
        self._controls: dict[int, Control] = {}  # by how many draws there are

    def draw(self, centre: FloatArray | None) -> TabularDraws:
        """See `Design`."""
        return self._drawn(self._plan, centre, 0, self._seed)

    def more(self, draws: TabularDraws, centre: FloatArray | None) -> TabularDraws:
        """The next points of every scrambling."""
        points = (len(draws.rows) - 1) // self.blocks
        return self._drawn(SobolPlan(self.blocks, 2 * points), centre, points, self._seed)

    def _drawn(
        self, plan: SobolPlan, centre: FloatArray | None, start: int, seed: int
    ) -> TabularDraws:
        space = self._space
        found = draw_sobol(space.table, plan, seed, space.binned, centre, start)
        return TabularDraws(
            np.vstack([found.rows[:1], found.rows]), np.hstack([found.codes[:, :1], found.codes])
        )

    def fitter(
        self,
        draws: TabularDraws,
        row: Row,
        settings: LimeSettings,
        scored: Sequence[int] | None,
    ) -> Fitter:
        """See `Design`. Rows that see the draws alike have the same fit: it is made once."""
        seen = self._space.seen(draws, row, settings.kernel_width)
        if not seen.weights[1:].any():
            raise InputError(
                "the row lies so far from the background that the kernel gives no sample a weight",
                "a larger --kernel-width, or --discretizer quartile",
            )
        samples = BlockedSamples(seen.z[:, 1:], seen.weights[1:], self.blocks)
        k = settings.num_features or len(seen.first)
        method = settings.feature_selection
        wanted = settings.control_variate and self.blocks >= FOLDS
        control = self._control(draws, row, settings) if wanted else None
        if control is not None:
            of_pool = self._space.seen(control.pool, row, settings.kernel_width)
            pool = BlockedSamples(of_pool.z[:, 1:], of_pool.weights[1:], self.blocks)
        made: dict[int, Fit] = {}

        def fitted(label: int, outputs: FloatArray) -> Fit:
            if label in made:
                return made[label]
            if control is None:
                found = fit_replicates(samples, outputs[1:], seen.first, method, k, scored)
            else:
                said, said_of_pool = control.of(label, outputs[1:])
                found = fit_controlled_replicates(
                    samples, outputs[1:], said, pool, said_of_pool, seen.first, method, k, scored
                )
            made[label] = found
            return found

        return fitted

    def _control(self, draws: TabularDraws, row: Row, settings: LimeSettings) -> Control:
        """That of the draws; rows that share them share it."""
        n = len(draws.rows) - 1
        found = self._controls.get(n)
        if found is None or found.draws is not draws:
            table = self._space.table
            plan = pool_plan(self.blocks, n // self.blocks, table.n_features)
            centre = row.payload if settings.sample_around_instance else None
            pool = self._drawn(plan, centre, 0, self._seed + _OTHER)
            found = self._controls[n] = Control(draws, pool, self.blocks, table.categorical)
        return found
