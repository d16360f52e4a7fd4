"""Mean |weight| per feature in two audits, and how far apart the means are.

Rows of a table share their samples, so their errors go together: the interval of a mean is that of
its spread over replicates, never of errors row by row (method 6). The sign of each weight is taken
as known: then the mean of |weight| is linear in the weights, and every replicate has one. Means are
over the decisions that show the feature in both audits: which features are shown has an error, too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.audit.compare.apart import LEVEL, Known, spread
from limecli.surrogate.intervals import quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

MOST = 1 << 16  # features that have a mean: texts bring new words without end
_BLOCK = 512  # decisions that are summed at once
_OTHERS = 0  # the column of features beyond the most


class Means:
    """Sums of |weight| by feature, over the decisions that both audits explain."""

    def __init__(self, same_draws: bool) -> None:
        self._same_draws = same_draws
        self._columns: dict[Hashable, int] = {}
        self._names = [""]
        self._counts: NDArray[np.int64] = np.zeros(1, np.int64)  # of decisions with it in both
        self._sides = (_Sums(), _Sums())
        self._waiting: list[int] = []  # columns of what both show
        self._decisions = 0
        self.full = False  # whether there were more features than have a mean

    def add(self, old: Known, new: Known) -> None:
        """One decision."""
        both = []
        for key, i in old.places.items():
            j = new.places.get(key)
            if j is not None:
                both.append((i, j))
        columns = [self._column(old, place) for place in range(len(old.keys))]
        self._sides[0].shown += columns
        self._sides[1].shown += [self._column(new, place) for place in range(len(new.keys))]
        if both:
            mine, theirs = zip(*both, strict=True)
            self._waiting += [columns[i] for i in mine]
            self._sides[0].add(old, mine)
            self._sides[1].add(new, theirs)
        self._decisions += 1
        if self._decisions % _BLOCK == 0:
            self._sum()

    def _column(self, known: Known, place: int) -> int:
        key = known.keys[place]
        found = self._columns.get(key)
        if found is None:
            if len(self._names) > MOST:
                self.full = True
                return _OTHERS
            found = self._columns[key] = len(self._names)
            self._names.append(known.parts[place]["feature"])
        return found

    def _sum(self) -> None:
        columns, d = np.array(self._waiting, np.int64), len(self._names)
        self._counts = _added(self._counts, np.bincount(columns, minlength=d))
        for side in self._sides:
            side.sum(columns, d)
        self._waiting.clear()

    def strongest(self, most: int) -> list[dict[str, Any]]:
        """For each feature its means, their difference, the 95 % interval of that, if known, and
        how many decisions show it in the old audit, the new one, and both; the strongest first.
        """
        self._sum()
        counts = np.maximum(self._counts, 1)
        old, new = (side.totals / counts for side in self._sides)
        margins = self._margins(counts)
        largest = np.maximum(self._sides[0].totals, self._sides[1].totals)
        order = np.argsort(-largest[1:], kind="stable")[:most] + 1
        found = []
        for j in order.tolist():
            gap = float(new[j]) - float(old[j])
            half = None if margins is None else float(margins[j])
            low, high = (None, None) if half is None else (gap - half, gap + half)
            told: list[float | None] = [float(old[j]), float(new[j]), gap, low, high]
            if not self._counts[j]:
                told = [None] * 5
            values = dict(zip(("old", "new", "difference", "low", "high"), told, strict=True))
            shown = {
                "decisions": int(self._counts[j]),
                "shown_old": int(self._sides[0].counts[j]),
                "shown_new": int(self._sides[1].counts[j]),
            }
            found.append({"feature": self._names[j], **values, **shown})
        return found

    def _margins(self, counts: NDArray[np.int64]) -> FloatArray | None:
        """Half the 95 % interval of each difference; None where replicates do not tell."""
        level = 1 - LEVEL / 2
        one, other = self._sides
        if one.untold or other.untold:
            return None
        a, b = one.replicates, other.replicates
        if self._same_draws and a is not None and b is not None and len(a) == len(b):
            return np.asarray(quantile(level, len(a) - 1.0) * spread(b - a) / counts)
        factor = quantile(level, min(one.degrees, other.degrees))
        return np.asarray(factor * np.hypot(one.errors(), other.errors()) / counts)


class _Sums:
    """One audit's sums. `replicates` `[R, d]` are of those weights that have an error; `untold`
    where some have one that no replicates tell of. `counts` are the decisions that show a feature.
    """

    def __init__(self) -> None:
        self.totals: FloatArray = np.zeros(1)
        self.counts: NDArray[np.int64] = np.zeros(1, np.int64)
        self.shown: list[int] = []  # columns, waiting to be counted
        self.replicates: FloatArray | None = None
        self.untold = False
        self._weights: list[float] = []
        self._said: list[FloatArray] = []  # of the replicates, `[R, k]` each
        self._places: list[int] = []  # among the weights, of what they are about

    @property
    def degrees(self) -> float:
        return np.inf if self.replicates is None else len(self.replicates) - 1.0

    def errors(self) -> FloatArray:
        """Standard errors of `totals`."""
        return np.zeros(len(self.totals)) if self.replicates is None else spread(self.replicates)

    def add(self, known: Known, places: Iterable[int]) -> None:
        """The weights of one decision at some places; they wait until `sum`."""
        places = list(places)
        first = len(self._weights)
        self._weights += [known.weights[i] for i in places]
        if known.exact or self.untold:
            return
        found = known.replicates
        if self.replicates is None and found is not None:
            self.replicates = np.zeros((len(found), 1))
        if found is None or self.replicates is None or len(found) != len(self.replicates):
            self.untold = True
            return
        self._said.append(found.take(places, axis=1))
        self._places += range(first, len(self._weights))

    def sum(self, columns: NDArray[np.int64], d: int) -> None:
        """Add what waits to the sums by column, `[m]`, of which there are `d`."""
        weights = np.array(self._weights, np.float64)
        self.totals = _added(self.totals, np.bincount(columns, np.abs(weights), d))
        shown = np.array(self.shown, np.int64)
        self.counts = _added(self.counts, np.bincount(shown, minlength=d))
        if self.replicates is not None and not self.untold:
            self.replicates = np.pad(self.replicates, ((0, 0), (0, d - self.replicates.shape[1])))
            if self._said:
                signed = np.concatenate(self._said, axis=1) * np.sign(weights[self._places])
                into = columns[self._places]
                self.replicates += [np.bincount(into, values, d) for values in signed]
        self._weights, self.shown, self._said, self._places = [], [], [], []


def _added(sums: NDArray[Any], more: NDArray[Any]) -> NDArray[Any]:
    """Sums with more columns than before."""
    found: NDArray[Any] = np.pad(sums, (0, len(more) - len(sums))) + more
    return found
