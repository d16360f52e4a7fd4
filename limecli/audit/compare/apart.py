"""How far two weights are apart, measured in their errors.

Draws that both audits share err together, so the difference is taken replicate by replicate; else
the errors add up as those of independent draws. Exact weights have none.

Several weights of a decision are compared at once: each test gets 5 % divided by their number
(Bonferroni), so that of decisions whose weights did not change at most 5 % seem changed.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.audit.records import replicates_of
from limecli.surrogate.intervals import quantile

if TYPE_CHECKING:
    from limecli.types import FloatArray

LEVEL = 0.05  # of unchanged decisions may seem changed
_ROUNDING = 1e-6  # of the largest weight: differences below it mean nothing
_FEWEST = 8  # replicates that there are where a record does not hold them


class Known:
    """A label's weights with their errors; `keys` tell its attributions apart, in their order.

    `weights` are in the same order, `places` the place of each key, `top` that of the strongest
    (None where there is none). `degrees` are those of the errors' estimates, inf where there are
    many. `replicates` is `float[R, k]`, None where there are none.
    """

    def __init__(self, label: Mapping[str, Any], keys: Sequence[Hashable]) -> None:
        self.parts: Sequence[Mapping[str, Any]] = label["attributions"]
        self.keys = keys
        self.weights: list[float] = [item["weight"] for item in self.parts]
        if not all(map(math.isfinite, self.weights)):
            raise ValueError("a weight is no number")
        self.places = dict(zip(keys, range(len(keys)), strict=True))
        ranks = [item["rank"] for item in self.parts]
        self.top = ranks.index(1) if ranks else None
        self.largest = max(map(abs, self.weights), default=0.0)
        self.exact = label["interval"] == "exact"
        found = replicates_of(label)
        self.replicates: FloatArray | None = None
        if found is not None and len(found) > 1:
            self.replicates = found.astype(np.float64)
        self.degrees = math.inf
        if label["interval"] == "replicates":
            self.degrees = (_FEWEST if found is None else len(found)) - 1.0

    def error(self, place: int) -> float | None:
        """The standard error of a weight; 0 where it is exact, None where nothing tells."""
        low, high = self.parts[place]["low"], self.parts[place]["high"]
        if low is None or high is None:
            return None
        return float(high - low) / (2 * quantile(1 - LEVEL / 2, self.degrees))

    def leaves_out_0(self, place: int) -> bool:
        """Whether the interval of a weight does, and the weight is more than rounding."""
        low, high = self.parts[place]["low"], self.parts[place]["high"]
        sure = low is not None and high is not None and (low > 0 or high < 0)
        return sure and abs(self.weights[place]) > _ROUNDING * self.largest


@dataclass(frozen=True)
class Gap:
    """A weight that changed, by its places in both; `margin` is what its errors explain."""

    old: int
    new: int
    margin: float


def shared(old: Known, new: Known) -> list[tuple[int, int]]:
    """Places of the features whose weights both know with an error, in the old order."""
    found = []
    for key, i in old.places.items():
        j = new.places.get(key)
        if j is not None and old.parts[i]["low"] is not None and new.parts[j]["low"] is not None:
            found.append((i, j))
    return found


def gaps(
    old: Known, new: Known, pairs: Sequence[tuple[int, int]], tests: int, same_draws: bool
) -> Iterator[Gap]:
    """The weights that changed, of `pairs` of places. `tests` is how many weights of the decision
    are compared in all.
    """
    if not pairs:
        return
    noise = _ROUNDING * max(old.largest, new.largest)
    a, b = old.weights, new.weights
    moved = [pair for pair in pairs if abs(b[pair[1]] - a[pair[0]]) > noise]
    if not moved:
        return
    margins = _margins(old, new, moved, 1 - LEVEL / (2 * tests), same_draws)
    for (i, j), margin in zip(moved, margins, strict=True):
        if abs(b[j] - a[i]) > margin:
            yield Gap(i, j, margin)


def _margins(
    old: Known, new: Known, pairs: Sequence[tuple[int, int]], level: float, same_draws: bool
) -> list[float]:
    """How far apart chance brings each pair of weights."""
    one, other = old.replicates, new.replicates
    if same_draws and one is not None and other is not None and len(one) == len(other):
        mine, theirs = zip(*pairs, strict=True)
        errors = spread(other.take(theirs, axis=1) - one.take(mine, axis=1))
        margins: list[float] = (quantile(level, len(one) - 1.0) * errors).tolist()
        return margins
    factor = joint_quantile(level, old, new)
    return [factor * math.hypot(old.error(i) or 0.0, new.error(j) or 0.0) for i, j in pairs]


def spread(replicates: FloatArray) -> FloatArray:
    """The standard error of the mean over replicates, `[k]` of `[R, k]`."""
    count = len(replicates)
    deviations = replicates - replicates.sum(axis=0) / count
    squares = np.einsum("rj,rj->j", deviations, deviations)
    return np.asarray(np.sqrt(squares / (count * (count - 1.0))))


def joint_quantile(level: float, old: Known, new: Known) -> float:
    """A quantile of the difference of two independent estimates, in standard errors.

    By the smaller degrees of freedom of both: errors of few scramblings are not quite normal.
    Welch's degrees found 7.3 % of unchanged decisions changed where 5 % were allowed (a forest, 8
    scramblings of 512 points, 16 seeds against each other), the smaller ones 4.1 %.
    """
    return quantile(level, min(old.degrees, new.degrees))


def on_top(side: Known, other: Hashable) -> bool:
    """Whether the first rank is sure, or at least that the first is stronger than `other`."""
    first = side.top
    if first is None:
        return False
    ranks = side.parts[first]["ranks"]
    if ranks is not None and list(ranks) == [1, 1]:
        return True
    a, place = side.weights[first], side.places.get(other)
    b = 0.0 if place is None else side.weights[place]
    gap = abs(a) - abs(b)
    if gap <= _ROUNDING * abs(a):
        return False
    if side.exact:
        return side.error(first) is not None
    if place is None:
        return False
    errors = side.error(first), side.error(place)
    if errors[0] is None or errors[1] is None:
        return False
    error = math.hypot(errors[0], errors[1])
    if side.replicates is not None:
        signed = side.replicates[:, [first, place]] @ np.sign([[a], [-b]])
        error = float(spread(signed)[0])
    return gap > quantile(1 - LEVEL / 2, side.degrees) * error
