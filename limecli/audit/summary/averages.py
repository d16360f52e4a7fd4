"""Means over many decisions, and intervals for them that know the errors go together.

The decisions of an audit share one neighborhood, and with it the sampling error of each of its
replicates. So a replicate's own mean over all decisions is formed first, and the spread of these
means tells the error (method: intervals for every weight).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.audit.records import replicates_of
from limecli.surrogate.intervals import quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

    Keys = NDArray[np.intp]

_LEVEL = 0.975  # of a one-sided quantile: 95 % intervals
_DIFFER = "decisions differ in their number of replicates"
_NONE = "the sampling error of {} was not measured by replicates"


def sampled(label: Mapping[str, Any]) -> NDArray[np.float32] | None:
    """What each replicate says of a record's label, float32[R, k] in the order of its attributions;
    None where there are not at least two.
    """
    found = replicates_of(label)
    return found if found is not None and len(found) >= 2 else None


class Averages:
    """Sums over decisions by key (a feature's number, say), and what each replicate makes of them.

    Every sum goes on where it stood, summand by summand: cutting the same decisions into other
    blocks changes no bit of it.
    """

    def __init__(self) -> None:
        self.sums: FloatArray = np.zeros(0)
        self.unknown: NDArray[np.int64] = np.zeros(0, np.int64)  # summands of unknown error
        self._replicated: dict[int, tuple[FloatArray, NDArray[np.int64]]] = {}

    def reserve(self, size: int) -> None:
        """Make room for keys below `size`."""
        if size > len(self.sums):
            size = max(size, 2 * len(self.sums))
            self.sums, self.unknown = _longer(self.sums, size), _longer(self.unknown, size)
            self._replicated = {
                count: (_longer(sums, size), _longer(entries, size))
                for count, (sums, entries) in self._replicated.items()
            }

    def add(self, keys: Keys, values: FloatArray) -> None:
        """Add `values` [m] to the sums of `keys` [m]."""
        with np.errstate(over="ignore"):
            np.add.at(self.sums, keys, values)

    def add_unknown(self, keys: Keys) -> None:
        """Say that nobody measured the error of so many summands."""
        np.add.at(self.unknown, keys, 1)

    def add_replicates(self, keys: Keys, values: FloatArray) -> None:
        """What each of R replicates says of the summands of `keys` [m]: `values` [m, R]. Such as
        are no numbers are of unknown error.
        """
        broken = ~np.isfinite(values).all(axis=1)
        if broken.any():
            self.add_unknown(keys[broken])
            keys, values = keys[~broken], values[~broken]
        count = values.shape[1]
        if count not in self._replicated:
            size = len(self.sums)
            self._replicated[count] = np.zeros((size, count)), np.zeros(size, np.int64)
        sums, entries = self._replicated[count]
        np.add.at(entries, keys, 1)
        cells = keys[:, None] * count + np.arange(count)
        np.add.at(sums.reshape(-1), cells.reshape(-1), values.reshape(-1))

    def half_width(self, key: int, decisions: int) -> tuple[float | None, str | None]:
        """Half the 95 % interval of sum / `decisions`, or None and why. 0: nothing was sampled."""
        if self.unknown[key]:
            return None, _NONE.format(_times(int(self.unknown[key])))
        found = [(r, sums[key]) for r, (sums, n) in self._replicated.items() if n[key]]
        if not found:
            return 0.0, None
        if len(found) > 1:
            return None, _DIFFER
        count, sums = found[0]
        deviation = float(np.std(sums / decisions, ddof=1)) / count**0.5
        return quantile(_LEVEL, count - 1) * deviation, None

    def interval(self, key: int, decisions: int) -> dict[str, Any]:
        """`low` and `high` of the mean sum / `decisions`, null with a reason in `no_interval`."""
        if key >= len(self.sums):  # never seen: every summand was 0
            return {"low": 0.0, "high": 0.0, "no_interval": None}
        half, why = self.half_width(key, decisions)
        if half is None or not np.isfinite(half):
            return {"low": None, "high": None, "no_interval": why or "the weights are too large"}
        mean = self.mean(key, decisions)
        return {"low": mean - half, "high": mean + half, "no_interval": None}

    def mean(self, key: int, decisions: int) -> float:
        """Sum / `decisions`."""
        return mean_of(self.sums[key], decisions) if key < len(self.sums) else 0.0

    def keep(self, keys: Keys) -> None:
        """Forget all but these keys, which are counted anew from 0 in this order."""
        keys = keys[keys < len(self.sums)]
        self.sums, self.unknown = self.sums[keys], self.unknown[keys]
        self._replicated = {
            count: (sums[keys], entries[keys])
            for count, (sums, entries) in self._replicated.items()
        }


def mean_of(total: float, count: int) -> float:
    """`total` / `count`, the largest number there is where the total is beyond it."""
    return float(np.nan_to_num(total / count))


def _longer(array: NDArray[Any], size: int) -> NDArray[Any]:
    room = np.zeros((size - len(array), *array.shape[1:]), array.dtype)
    return np.concatenate([array, room])


def _times(count: int) -> str:
    return "1 decision" if count == 1 else f"{count:,} decisions"
