"""How strongly two columns of codes go together: Cramér's V without its upward bias, and an
interval for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

_NORMAL = 1.959963984540054
_LEVEL = 0.975
_ROWS = 4
_MANY = 1e3  # a noncentrality above which the square root of chi-square is as good as normal


def cramers_v(table: NDArray[np.int64]) -> float | None:
    """0 (no association) to 1 (one column tells the other). Its square is (phi - e) / (k - e): phi
    the squared contingency, k its maximum, and e what it is on average without association, as in
    Bergsma 2013, who however lowers strong association, too, where rows are few.

    `table` [r, c] counts rows by the codes of both columns. None where one of them is constant, or
    there are too few rows to tell.
    """
    table = _occupied(table)
    chi2, scale = _chi2(table), _scale(table)
    if chi2 is None or scale is None:
        return None
    n, df = int(table.sum()), _df(table)
    return float(np.sqrt(min(max(0.0, chi2 / n - df / (n - 1)) / scale, 1.0)))


def interval_of_v(table: NDArray[np.int64]) -> tuple[float, float] | None:
    """A 95 % interval of Cramér's V, as if the rows were a sample.

    For weak association chi-square is noncentral chi-square (Smithson 2003, chapter 4); the
    stronger it is, the more its error is that of a smooth function of the shares (Bishop, Fienberg
    and Holland 1975, 11.3). The first one's ends move by the ratio of both standard deviations.
    """
    table = _occupied(table)
    chi2, scale = _chi2(table), _scale(table)
    if chi2 is None or scale is None:
        return None
    n, df = int(table.sum()), _df(table)
    square = max(chi2 - df, 0.0) / n
    ratio = np.sqrt((2 * df + n * _variance(table)) / (2 * df + 4 * n * square))
    low, high = (np.sqrt(end / n) for end in _noncentralities(chi2, df))
    middle = np.sqrt(square)
    ends = (middle - ratio * (middle - low), middle + ratio * (high - middle))
    # Of many codes in few rows nobody knows how much of chi-square is chance: all of it, or none.
    uncorrected = np.sqrt(chi2 / n / (min(table.shape) - 1))
    low, high = ends[0] / np.sqrt(scale), max(ends[1] / np.sqrt(scale), uncorrected)
    return min(max(float(low), 0.0), 1.0), min(float(high), 1.0)


def _occupied(table: NDArray[np.int64]) -> NDArray[np.int64]:
    table = table[table.sum(axis=1) > 0]
    return table[:, table.sum(axis=0) > 0]


def _df(table: NDArray[np.int64]) -> int:
    rows, columns = table.shape
    return int((rows - 1) * (columns - 1))


def _scale(table: NDArray[np.int64]) -> float | None:
    """How far the squared contingency can rise above what chance alone makes it on average."""
    n = int(table.sum())
    if min(table.shape) < 2:
        return None
    rise = min(table.shape) - 1 - _df(table) / (n - 1)
    return rise if rise > 0 else None


def _chi2(table: NDArray[np.int64]) -> float | None:
    if min(table.shape) < 2:
        return None
    n = int(table.sum())
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    return float(((table - expected) ** 2 / expected).sum())


def _variance(table: NDArray[np.int64]) -> float:
    """Variance, times n, of the squared contingency sum p_ij^2 / (p_i p_j) - 1, by its gradient
    2 p_ij / (p_i p_j) - sum_k p_ik^2 / (p_i^2 p_k) - sum_l p_lj^2 / (p_l p_j^2).
    """
    n = table.sum()
    # With a few rows without association, as in Agresti and Coull 1998: nothing is for sure.
    p = (table + _ROWS * np.outer(table.sum(axis=1), table.sum(axis=0)) / n**2) / (n + _ROWS)
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    share: FloatArray = p / np.outer(rows, columns)
    gradient = 2 * share - ((share**2) @ columns)[:, None] - (rows @ share**2)
    mean = float((p * gradient).sum())
    return max(float((p * gradient**2).sum()) - mean**2, 0.0)


def _noncentralities(chi2: float, df: int) -> tuple[float, float]:
    """The noncentralities for which `chi2` is the 97.5 % and the 2.5 % quantile."""
    from scipy.special import chdtr, chndtrinc

    if chi2 - df > _MANY:
        # sqrt(X) of noncentral X is about normal with deviation sqrt((df + 2 nc) / (2 (df + nc))).
        size = np.sqrt(chi2 - df)
        deviation = np.sqrt((2 * df + 4 * (chi2 - df)) / (4 * (chi2 - df)))
        return (size - _NORMAL * deviation) ** 2, (size + _NORMAL * deviation) ** 2
    low = 0.0 if chdtr(df, chi2) <= _LEVEL else float(chndtrinc(chi2, df, _LEVEL))
    high = 0.0 if chdtr(df, chi2) <= 1 - _LEVEL else float(chndtrinc(chi2, df, 1 - _LEVEL))
    return low, high
