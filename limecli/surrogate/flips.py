"""What would flip a decision: a change of few features, found among samples that are on the other
side.

The features of such a sample are put back to the instance's values while the decision stays
flipped; then the numbers left move toward the instance's. A search asks the model by `yield`: rows
out, the model's answers in. So it reads as if it ran alone, and many of them share each call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray, IntArray

    Mask = NDArray[np.bool_]
    Pool = Callable[[Mask], NDArray[Any]]
    Units = Sequence[IntArray] | IntArray  # `[n, 1]` where each is one feature

_ASKED = (4, 12, 48)  # candidates asked at a time, until one of them holds
MOST_CANDIDATES = sum(_ASKED)
_UNITS = 64  # features are put back in so many groups at most, so that 1000 cost no more
_PROBES = np.array([1.0, 2.0, 3.0])  # quarters of what is left
_DEPTH = 4  # rounds of three probes each: as fine as eight bisections
_ROUNDS = 12
_DIGITS = (2, 3, 4)

T = TypeVar("T")
Asking = Generator["NDArray[Any]", "FloatArray", T]
"""Yields `[n, n_features]`, is sent `float[n, n_outputs]`, returns T."""


class Goal(Protocol):
    """What counts as flipped, given `float[n, n_outputs]`."""

    def holds(self, outputs: FloatArray) -> Mask:
        """`bool[n]`: whether each is decided otherwise."""
        ...

    def margin(self, outputs: FloatArray) -> FloatArray:
        """`float[n]`: how far each is past the border; 0 on it, which may be either side."""
        ...


@dataclass(frozen=True)
class Decision:
    """The likeliest label (of equals the first) becomes `label`, or with `leave` another one."""

    label: int
    leave: bool

    def holds(self, outputs: FloatArray) -> Mask:
        found: Mask = (outputs.argmax(axis=1) == self.label) != self.leave
        return found

    def margin(self, outputs: FloatArray) -> FloatArray:
        if outputs.shape[1] == 2:  # as most models have
            others = outputs[:, 1 - self.label]
        else:
            others = np.delete(outputs, self.label, axis=1).max(axis=1, initial=-np.inf)
        gained: FloatArray = outputs[:, self.label] - others
        return -gained if self.leave else gained


@dataclass(frozen=True)
class Crossing:
    """A regression's output comes to be at least `threshold`, or unless `upward` below it."""

    threshold: float
    upward: bool

    def holds(self, outputs: FloatArray) -> Mask:
        found: Mask = (outputs[:, 0] >= self.threshold) == self.upward
        return found

    def margin(self, outputs: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            past: FloatArray = outputs[:, 0] - self.threshold
        return past if self.upward else -past


@dataclass(frozen=True, eq=False)
class Space:
    """Where each feature may go, all `[n_features]`.

    `fixed` ones never change. `numbers` may take values from `low` to `high`, only `whole` ones if
    so. `missing` is the code of a missing category (-1: there is none).
    """

    fixed: Mask
    numbers: Mask
    whole: Mask
    low: FloatArray
    high: FloatArray
    missing: IntArray

    @classmethod
    def of_masks(cls, n: int) -> Space:
        """Superpixels shown or hidden, words kept or gone."""
        no, ends = np.zeros(n, np.bool_), np.full(n, np.inf)
        return cls(no, no, no, -ends, ends, np.full(n, -1))

    def within(self, rows: NDArray[Any], origin: NDArray[Any]) -> NDArray[Any]:
        """`[n, n_features]` with every value where it may be."""
        if self.numbers.any():
            rows = rows.clip(self.low, self.high)
            rows = np.where(self.whole, np.rint(rows), rows)
        return np.where(self.fixed, origin, rows)


def differs(rows: NDArray[Any], origin: NDArray[Any]) -> Mask:
    """Where rows, `[..., n_features]`, are not as `[n_features]`; missing values are equal."""
    found: Mask = rows != origin
    if rows.dtype.kind == "f":
        found &= ~(np.isnan(rows) & np.isnan(origin))
    return found


@dataclass(frozen=True, eq=False)
class Problem:
    """One instance, and what is to become of its decision.

    A flip must be past the border by `clear`, so that rounding cannot undo it, or exactly on it.
    `strength`, `float[n_features]`, says which features the surrogate holds to be worth changing.
    `pools` give candidates, `[n, n_features]`, given the features that shall not change; the next
    one where the last had none.
    """

    goal: Goal
    clear: float
    origin: NDArray[Any]
    space: Space
    strength: FloatArray
    pools: tuple[Pool, ...]

    def judged(self, outputs: FloatArray) -> tuple[FloatArray, Mask]:
        """Margins, and which are flipped, `[n]` for `float[n, n_outputs]`."""
        margin = self.goal.margin(outputs)
        found: Mask = margin >= self.clear if self.clear > 0.0 else margin > 0.0
        if np.count_nonzero(margin) < len(margin):  # some are on the border
            found |= (margin == 0.0) & self.goal.holds(outputs)
        return margin, found

    def flipped(self, outputs: FloatArray) -> Mask:
        """`bool[n]` for `float[n, n_outputs]`."""
        return self.judged(outputs)[1]

    def differs(self, rows: NDArray[Any]) -> Mask:
        """Where rows are not as the instance."""
        return differs(rows, self.origin)

    def changed(self, row: NDArray[Any]) -> IntArray:
        """The features in which a row differs."""
        return np.flatnonzero(self.differs(row))

    def lost(self, rows: NDArray[Any]) -> Mask:
        """Where rows lack a value that the instance has."""
        if rows.dtype.kind != "f":
            return np.zeros(rows.shape, np.bool_)
        found: Mask = np.isnan(rows) | (rows == self.space.missing)
        return found & self.differs(rows) if found.any() else found

    def only(self, row: NDArray[Any], units: Units) -> NDArray[Any]:
        """The instance with one unit of features as in `row`, for each unit."""
        return _exchanged(self.origin, row, units)

    def without(self, row: NDArray[Any], units: Units) -> NDArray[Any]:
        """`row` with one unit of features put back, for each unit."""
        return _exchanged(row, self.origin, units)


def _exchanged(row: NDArray[Any], other: NDArray[Any], units: Units) -> NDArray[Any]:
    """`row` with one unit of features as in `other`, for each unit."""
    rows = row[None].repeat(len(units), axis=0)
    if isinstance(units, np.ndarray):
        rows[np.arange(len(units)), units[:, 0]] = other[units[:, 0]]
        return rows
    for out, unit in zip(rows, units, strict=True):
        out[unit] = other[unit]
    return rows


@dataclass(frozen=True, eq=False)
class Flipped:
    """A changed instance, `[n_features]`, and what the model said of it, `float[n_outputs]`."""

    row: NDArray[Any]
    answer: FloatArray


def search(problem: Problem, count: int) -> Asking[list[Flipped]]:
    """Up to `count` flips, those of fewest features first, no set of features part of another.

    Each costs the candidates asked, at most 2 x 64 evaluations a round of putting back (two for
    each feature that is changed, if they are fewer), and about 12 for each number that is left.
    """
    found: list[Flipped] = []
    for _ in range(count):
        start = yield from _start(problem, _blocked(problem, found))
        if start is None:
            break
        fewer = yield from _fewer(problem, start)
        found.append((yield from _nearer(problem, fewer)))
    kept: list[Flipped] = []
    for flip in sorted(found, key=lambda one: len(problem.changed(one.row))):
        features = problem.differs(flip.row)
        if not any((problem.differs(other.row) <= features).all() for other in kept):
            kept.append(flip)
    return kept


def _blocked(p: Problem, found: Sequence[Flipped]) -> list[Mask]:
    """Which features the next flip must do without: all those used, or the strongest of each."""
    used, strongest = np.zeros((2, len(p.origin)), np.bool_)
    for flip in found:
        features = p.changed(flip.row)
        used[features] = True
        strongest[features[p.strength[features].argmax()]] = True
    return [used] if (used == strongest).all() else [used, strongest]


def _start(p: Problem, blocked: Sequence[Mask]) -> Asking[Flipped | None]:
    """The candidate with the fewest changes that the model decides otherwise, none lost if may be.

    Every candidate that lacks values is tried with them, too.
    """
    for pool in p.pools:
        rows = np.concatenate([np.where(mask, p.origin, pool(mask)) for mask in blocked])
        lost = p.lost(rows)
        if lost.any():
            rows = np.concatenate([np.where(lost, p.origin, rows), rows[lost.any(axis=1)]])
            lost = p.lost(rows)
        counts = p.differs(rows).sum(axis=1)
        order = np.lexsort((counts, lost.any(axis=1)))
        order = order[counts[order] > 0]
        for size in _ASKED:
            some, order = rows[order[:size]], order[size:]
            if len(some) == 0:
                break
            outputs = yield some
            good = np.flatnonzero(p.flipped(outputs))
            if len(good):
                return Flipped(some[good[0]], outputs[good[0]])
    return None


def _fewer(p: Problem, flip: Flipped) -> Asking[Flipped]:
    """The flip with features put back: those that do little at either end, together and in turn."""
    while len(changed := p.changed(flip.row)) > 1:
        units: Units = changed[:, None]
        if len(changed) > _UNITS:
            units = np.array_split(changed, _UNITS)
        n = len(units)
        rows = np.concatenate([p.only(flip.row, units), p.without(flip.row, units)])
        outputs = yield rows
        margin, good = p.judged(outputs)
        alone = good[:n]
        starts = np.cumsum([0, *map(len, units[:-1])])
        lost = np.logical_or.reduceat(p.lost(flip.row)[changed], starts)
        if alone.any():
            best = np.lexsort((-_coarse(margin[:n]), lost, ~alone))[0]
            flip = Flipped(rows[best], outputs[best])
        else:
            strength = np.maximum.reduceat(p.strength[changed], starts)
            with np.errstate(over="ignore", invalid="ignore"):
                order = np.lexsort((-strength, _coarse(margin[n:] - margin[:n]), lost))
            flip = yield from _shortest(p, flip, [units[i] for i in order])
        if n == len(changed) or len(p.changed(flip.row)) == len(changed):
            break
    return (yield from _pruned(p, flip))


def _coarse(margins: FloatArray) -> FloatArray:
    """Six digits, so that an order does not depend on what else a batch held."""
    size = float(np.abs(margins).max())
    return np.round(margins / size, 6) if 0.0 < size < math.inf else margins


def _shortest(p: Problem, flip: Flipped, units: Sequence[IntArray]) -> Asking[Flipped]:
    """The flip with the first few of the units only, by a search for how many it takes."""
    low, high = 0, len(units)
    while high - low > 1:
        lengths = sorted({low + (high - low) * i // 4 for i in (1, 2, 3)} - {low})
        rows = p.only(flip.row, [np.concatenate(units[:length]) for length in lengths])
        outputs = yield rows
        good = p.flipped(outputs)
        if not good.any():
            low = lengths[-1]
            continue
        i = int(good.argmax())
        flip = Flipped(rows[i], outputs[i])
        low, high = lengths[i - 1] if i else low, lengths[i]
    return flip


def _pruned(p: Problem, flip: Flipped) -> Asking[Flipped]:
    """The flip without features that it does not need: in the end it needs every one."""
    for _ in range(_ROUNDS):
        changed = p.changed(flip.row)
        if len(changed) < 2:
            break
        rows = p.without(flip.row, changed[:, None])
        outputs = yield rows
        margin, spare = p.judged(outputs)
        if not spare.any():
            break
        lost = p.lost(flip.row)[changed]
        order = np.lexsort((-_coarse(margin), ~lost, ~spare))[: spare.sum()]
        flip = Flipped(rows[order[0]], outputs[order[0]])
        needed = [changed[~spare]] if not spare.all() else []
        flip = yield from _shortest(p, flip, [*needed, *changed[order[:0:-1], None]])
    return flip


def _nearer(p: Problem, flip: Flipped) -> Asking[Flipped]:
    """The flip with its numbers as near to the instance's as they may be, and round."""
    changed = p.changed(flip.row)
    numbers = changed[p.space.numbers[changed] & ~np.isnan(flip.row[changed].astype(float))]
    if len(numbers) == 0:
        return flip
    row = yield from _moved(p, flip.row, numbers)
    rows = np.stack([*(_rounded(p, row, numbers, digits) for digits in _DIGITS), row])
    outputs = yield rows
    good = np.flatnonzero(p.flipped(outputs))
    if len(good) == 0:
        return flip  # a model that does not say the same twice
    best = good[0]
    return (yield from _pruned(p, Flipped(rows[best], outputs[best])))


def _moved(p: Problem, row: NDArray[Any], numbers: IntArray) -> Asking[NDArray[Any]]:
    """`row` with these numbers moved: each on its own as far as it goes, and then, as far as that
    goes, all of them.
    """
    ends = p.origin[numbers].clip(p.space.low[numbers], p.space.high[numbers])
    room = np.abs(row[numbers] - ends)  # NaN where the instance has no value to move to
    movable = room > np.where(p.space.whole[numbers], 1.0, 0.0)
    numbers, ends = numbers[movable], ends[movable]
    if len(numbers) == 0:
        return row
    whole, start = p.space.whole[numbers], row[numbers]
    way, down, rounded = ends - start, start > ends, whole.any()

    def at(shares: FloatArray) -> NDArray[Any]:
        values = start + shares * way
        if rounded:
            away = np.where(down, np.ceil(values - 1e-9), np.floor(values + 1e-9))
            values = np.where(whole, away, values)
        moved: NDArray[Any] = row[None].repeat(len(shares), axis=0)
        moved[:, numbers] = values
        return moved

    shares = yield from _furthest(p, at, np.eye(len(numbers)))
    if len(numbers) > 1:
        outputs = yield at(shares[None])
        if not p.flipped(outputs)[0]:
            shares = shares * (yield from _furthest(p, at, shares[None]))
    nearest: NDArray[Any] = at(shares[None])[0]
    return nearest


def _furthest(
    p: Problem, at: Callable[[FloatArray], NDArray[Any]], ways: FloatArray
) -> Asking[FloatArray]:
    """`float[n]`: the largest share of each of n ways that is found to be flipped still.

    `at(ways)`, for `float[n, n_numbers]`, are the rows at their ends, where no decision is flipped.
    """
    low, quarter = np.zeros(len(ways)), 0.25
    along = ways.repeat(len(_PROBES), axis=0)
    for _ in range(_DEPTH):
        probes = low[:, None] + quarter * _PROBES
        outputs = yield at(probes.reshape(-1, 1) * along)
        good = p.flipped(outputs).reshape(probes.shape)
        low = low + quarter * (good * _PROBES).max(axis=1)
        quarter /= 4
    return low


def _rounded(p: Problem, row: NDArray[Any], numbers: IntArray, digits: int) -> NDArray[Any]:
    """`row` with numbers of few digits: so many in the change itself, rounded away from before."""
    rounded = row.copy()
    for j in numbers[~p.space.whole[numbers]].tolist():
        before, after = float(p.origin[j]), float(row[j])
        change = after if math.isnan(before) else after - before
        if change == 0.0 or not math.isfinite(change):
            continue
        places = digits - 1 - math.floor(math.log10(abs(change)))
        value = round(after, places)
        if abs(value - before) < abs(change):
            value = round(value + math.copysign(10.0**-places, change), places)
        rounded[j] = min(max(value, p.space.low[j]), p.space.high[j])
    return rounded
