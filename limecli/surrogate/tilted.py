"""lime's draws under its kernel: independent columns, each with a tilted law of its own.

Both classes answer the same question for a block of rows: how likely is it that a column lies in
each of the sets that bound a model's boxes, and what does that have to do with z?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.leaf_boxes import LeafBoxes
    from limecli.types import FloatArray, IntArray

_LEAST = 1e-100  # a kernel below it counts as this: the weights no longer depend on it
_EQUAL = 1e-15  # of two probabilities: a difference below it is rounding
_KEPT = 1 << 24  # numbers that are kept in tables for the next row
_BLOCK = 1 << 18  # numbers of a table that are computed at a time

_Key = TypeVar("_Key")
_Kept = TypeVar("_Kept")


class CodeLaws(Protocol):
    """Columns of bins or categories, by feature; see `neighborhood.laws.BinLaws`."""

    @property
    def frequencies(self) -> Mapping[int, FloatArray]:
        """`float[n_codes]`."""

    @property
    def masses(self) -> Mapping[int, NDArray[Any]]:
        """`float` or `bool[n_factors of the column, n_codes]`."""

    @property
    def curves(self) -> Mapping[int, FloatArray]:
        """`float[n_codes, n_outputs]`."""


class NumberLaws(Protocol):
    """An undiscretised background; see `neighborhood.laws.NormalLaws`."""

    @property
    def means(self) -> FloatArray:
        """`float[n_features]`."""

    @property
    def scales(self) -> FloatArray:
        """`float[n_features]`."""

    @property
    def categories(self) -> CodeLaws:
        """The columns that hold no numbers."""

    @property
    def nodes(self) -> FloatArray:
        """`float[n_nodes]`, values of a standard normal variable."""

    @property
    def node_weights(self) -> FloatArray:
        """`float[n_nodes]`, that add up to 1."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A function of one column, `[n_labels, n_rows]` each: its mean E~, its Cov~ with z divided by
    Var~(z), and the `size` of the terms of the latter.
    """

    feature: int
    mean: FloatArray
    slope: FloatArray
    size: FloatArray


@dataclass(frozen=True, eq=False)
class Tilted:
    """The tilted laws for a block of rows.

    Mean and variance of z, and whether it never varies, are `[n_features, n_rows]`. `shares` are
    P~ of each factor and `slopes` Cov~(1[in the set], z) / (Var~(z) P~), both
    `[n_factors, n_rows]`, the factors sorted by feature.
    """

    mean: FloatArray
    variance: FloatArray
    undefined: NDArray[np.bool_]
    shares: FloatArray
    slopes: FloatArray
    curves: tuple[Curve, ...]


def kept(cache: dict[_Key, _Kept], key: _Key, make: Callable[[], _Kept], size: int) -> _Kept:
    """What is in the cache, or is made and kept there; `size` is about how many numbers it is."""
    if key not in cache:
        while len(cache) >= max(_KEPT // max(size, 1), 1):
            del cache[next(iter(cache))]
        cache[key] = make()
    return cache[key]


class _ByWidth:
    """The tables of some columns at the latest kernel widths."""

    def __init__(self, laws: CodeLaws) -> None:
        self._laws, self._tables = laws, dict[float, _Tables]()
        self._size = 2 * sum(masses.size for masses in laws.masses.values())

    def __call__(self, width: float) -> _Tables:
        return kept(self._tables, width, lambda: _Tables(self._laws, width), self._size)


class TiltedBins:
    """Columns of bins: z = 1 in the row's own. Rows are codes, `int[n_rows, n_features]`."""

    def __init__(self, laws: CodeLaws) -> None:
        self._tables = _ByWidth(laws)
        self.n_features = len(laws.frequencies)

    def __call__(self, rows: NDArray[Any], width: float, labels: Sequence[int]) -> Tilted:
        """The laws at a kernel width; curves for some of the model's outputs."""
        tables = self._tables(width)
        known = tables.known(rows)
        return Tilted(*tables.z(known), *tables.factors(known), tables.curves(known, labels))


class TiltedNormals:
    """Scaled numbers, drawn around the background's mean or `around` the row itself.

    With a = (x - mean) / scale, z is N(a / (1 + w²), w² / (1 + w²)), around the row
    N(a, w² / (1 + w²)). Categories are as in bins. Rows are numbers and codes without NaN,
    `float[n_rows, n_features]`.
    """

    def __init__(self, laws: NumberLaws, boxes: LeafBoxes, around: bool) -> None:
        self._laws, self._around, self._curves = laws, around, boxes.curves
        self._tables = _ByWidth(laws.categories)
        self.n_features = len(laws.means)
        numbers = np.ones(self.n_features, np.bool_)
        numbers[list(laws.categories.frequencies)] = False
        self._numbers = numbers
        order = np.argsort(boxes.feature, kind="stable")
        self._of_number = numbers[boxes.feature[order]]
        factors = order[self._of_number]
        # Each end once: the sets of one column share most of theirs.
        ends = np.concatenate([boxes.low[factors], boxes.high[factors]])
        features = np.tile(boxes.feature[factors], 2)
        order = np.lexsort((ends, features))
        new = np.diff(features[order], prepend=-1) != 0
        new[1:] |= ends[order[1:]] != ends[order[:-1]]
        places = np.empty_like(order)
        places[order] = np.cumsum(new) - 1
        self._low, self._high = np.split(places, 2)
        self._feature = features[order[new]]
        with np.errstate(over="ignore"):
            self._ends = (ends[order[new]] - laws.means[self._feature]) / laws.scales[self._feature]

    def __call__(self, rows: NDArray[Any], width: float, labels: Sequence[int]) -> Tilted:
        """The laws at a kernel width; curves for some of the model's outputs."""
        laws, numbers = self._laws, self._numbers
        tables = self._tables(width)
        variance = 1.0 / (1.0 + width**-2)
        mean = ((rows - laws.means) / laws.scales).T
        if not self._around:
            mean = mean * (1.0 - variance)
        spread = np.full(mean.shape, variance)
        undefined = np.zeros(mean.shape, np.bool_)
        known = tables.known(rows)
        mean[~numbers], spread[~numbers], undefined[~numbers] = tables.z(known)
        shares = np.empty((len(self._of_number), len(rows)))
        slopes = np.empty_like(shares)
        places = self._of_number
        shares[places], slopes[places] = self._factors(mean, variance**0.5)
        shares[~places], slopes[~places] = tables.factors(known)
        curves = (*tables.curves(known, labels), *self._of_numbers(mean, variance**0.5, labels))
        return Tilted(mean, spread, undefined, shares, slopes, curves)

    def _factors(self, mean: FloatArray, std: float) -> tuple[FloatArray, FloatArray]:
        """P = Phi(B) - Phi(A) and (phi(A) - phi(B)) / (std P), A and B the standardised ends."""
        from scipy.special import ndtr

        z = (self._ends[:, None] - mean[self._feature]) / std
        below = ndtr(z)
        with np.errstate(over="ignore"):
            density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        share = np.maximum(below[self._high] - below[self._low], 0.0)
        change = density[self._low] - density[self._high]
        change /= std * np.where(share > 0, share, np.inf)
        return share, change

    def _of_numbers(self, mean: FloatArray, std: float, labels: Sequence[int]) -> list[Curve]:
        laws, found = self._laws, []
        weights, towards = laws.node_weights, laws.node_weights * laws.nodes / std
        for j, curve in self._curves.items():
            if self._numbers[j]:
                z = mean[j][:, None] + std * laws.nodes
                x = laws.means[j] + laws.scales[j] * z
                values = curve(x.ravel())[:, labels].reshape(*x.shape, len(labels))
                found.append(
                    Curve(
                        j,
                        np.einsum("n,rnl->lr", weights, values),
                        np.einsum("n,rnl->lr", towards, values),
                        np.einsum("n,rnl->lr", np.abs(towards), np.abs(values)),
                    )
                )
        return found


class _Column:
    """A column of bins or categories: its tilted law for each code that a row may have.

    The code after the last stands for all that the background never had.
    """

    def __init__(self, frequencies: FloatArray, rho: float) -> None:
        f = np.append(frequencies / frequencies.sum(), 0.0)
        rest = _others(f)
        total = f + rho * rest
        self.mean, self.variance = f / total, (f / total) * (rho * rest / total)
        self.undefined = (f == 0) | (rest == 0)
        self._f, self._rest, self._total, self._rho = f[:, None], rest[:, None], total[:, None], rho

    def tilt(self, values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """E~g, E[g | z = 1] - E[g | z = 0] and the size of these two, for functions g of the code,
        `[n_codes, n_functions]`: each `[n_codes + 1, n_functions]`.
        """
        g = np.append(values, np.zeros((1, values.shape[1])), axis=0)
        others = _others(self._f * g)
        far = others / np.where(self._rest > 0, self._rest, 1.0)
        size = np.abs(g) + np.abs(far)
        change = g - far
        change[self.undefined] = 0.0
        change[np.abs(change) <= _EQUAL * size] = 0.0
        return (self._f * g + self._rho * others) / self._total, change, size


def _others(x: FloatArray) -> FloatArray:
    """The sum of all but each, along the first axis, without subtracting."""
    found = np.zeros_like(x)
    found[1:] = np.cumsum(x[:-1], axis=0)
    found[:-1] += np.cumsum(x[:0:-1], axis=0)[::-1]
    return found


class _Tables:
    """Columns of bins or categories at one kernel width, side by side."""

    def __init__(self, laws: CodeLaws, width: float) -> None:
        rho = max(float(np.exp(-0.5 / width**2)), _LEAST)
        features = sorted(laws.frequencies)
        columns = [_Column(laws.frequencies[j], rho) for j in features]
        self._features = np.array(features, np.int64)
        self._last = np.array([len(laws.frequencies[j]) for j in features], np.int64)
        self._first = _offsets(self._last + 1)
        self._mean = _joined([column.mean for column in columns])
        self._variance = _joined([column.variance for column in columns])
        self._undefined = _joined([column.undefined for column in columns]).astype(np.bool_)
        self._curves = {
            i: column.tilt(laws.curves[j])
            for i, (j, column) in enumerate(zip(features, columns, strict=True))
            if j in laws.curves
        }
        # A table has a line for each code: factor g of column c is at base[g] + code x stride[c].
        self._stride = np.array([len(laws.masses[j]) for j in features], np.int64)
        self._column = np.repeat(np.arange(len(features)), self._stride)
        base = _offsets(self._stride * (self._last + 1)) - _offsets(self._stride)
        self._base = base[self._column] + np.arange(len(self._column))
        tables = [
            _table(column, laws.masses[j]) for j, column in zip(features, columns, strict=True)
        ]
        self._shares = _joined([share for share, _ in tables])
        self._slopes = _joined([slope for _, slope in tables])

    def known(self, rows: NDArray[Any]) -> IntArray:
        """`int[n_columns, n_rows]`: codes as the tables count them, of `[n_rows, n_features]`."""
        found = rows[:, self._features].T.astype(np.int64)
        last = self._last[:, None]
        return np.where((found < 0) | (found > last), last, found)

    def z(self, known: IntArray) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Mean and variance of z, and whether it never varies, `[n_columns, n_rows]` each."""
        at = self._first[:, None] + known
        return self._mean[at], self._variance[at], self._undefined[at]

    def factors(self, known: IntArray) -> tuple[FloatArray, FloatArray]:
        """Shares and slopes, `[n_factors of these columns, n_rows]` each."""
        at = (known * self._stride[:, None]).take(self._column, axis=0)
        at += self._base[:, None]
        return self._shares.take(at), self._slopes.take(at)

    def curves(self, known: IntArray, labels: Sequence[int]) -> tuple[Curve, ...]:
        """The columns' own functions."""
        return tuple(
            Curve(int(self._features[i]), *(part[known[i]][:, labels].T for part in parts))
            for i, parts in self._curves.items()
        )


def _table(column: _Column, masses: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    """Shares and slopes of a column's factors, `[(n_codes + 1) x n_factors]` each."""
    n_factors, n_codes = masses.shape
    shares = np.empty((n_codes + 1, n_factors))
    slopes = np.empty_like(shares)
    step = max(_BLOCK // (n_codes + 1), 1)
    for start in range(0, n_factors, step):
        some = slice(start, start + step)
        share, change, _ = column.tilt(masses[some].T.astype(np.float64))
        shares[:, some] = share
        slopes[:, some] = change / np.where(share > 0, share, 1.0)
    return shares.ravel(), slopes.ravel()


def _offsets(lengths: IntArray) -> IntArray:
    return np.asarray(np.cumsum(lengths) - lengths)


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0)
