"""What comes before a model, column by column: which feature hangs on which column, and how.

The steps themselves are asked: on rows that differ from a base row in one column only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from limecli.errors import LimecliError, NotExactError
from limecli.models.box_inverse import Inverse
from limecli.models.frames import decode
from limecli.types import Column

if TYPE_CHECKING:
    import pandas as pd

    from limecli.types import FloatArray, IntArray

FAR = 1e30  # beyond it no number is asked: squares and cubes of it are still finite
_CELLS = 4_000_000


@dataclass(frozen=True)
class Routes:
    """How the m features of a model come from the columns of the table.

    `column[k]` is the column that feature k hangs on, -1 where it is always `base[k]`. `table[j]`
    is `float[n_codes, n]` for a column of categories, feature k being in `table[j][:, place[k]]`.
    Of a column of numbers the feature is the number itself where `plain`, else a rising or falling
    function, whose value for NaN is `missing[k]` and whose inverse is `inverse`.
    """

    column: IntArray
    base: FloatArray
    table: dict[int, FloatArray]
    place: IntArray
    missing: FloatArray
    plain: bool
    inverse: Inverse


@dataclass(frozen=True, eq=False)
class Front:
    """The way from a table's columns to the features of a model inside.

    `start` makes of a DataFrame what the first step takes, `order` says which column each feature
    is while no step has changed any. `known` are numbers that encoders know as categories.
    """

    columns: tuple[Column, ...]
    start: Callable[[pd.DataFrame], Any]
    order: tuple[int, ...] | None
    steps: tuple[Callable[[Any], Any], ...] = ()
    known: tuple[float, ...] = ()

    def then(self, step: Callable[[Any], Any], known: tuple[float, ...] = ()) -> Front:
        """The way through one more step, which must be column-wise."""
        steps, known = (*self.steps, step), (*self.known, *known)
        return Front(self.columns, self.start, None, steps, known)

    def pick(self, features: IntArray) -> Front:
        """The way to some of the features."""
        order = None if self.order is None else tuple(self.order[k] for k in features)
        steps = (*self.steps, lambda rows: _array(rows)[:, features])
        return Front(self.columns, self.start, order, steps, self.known)

    @cached_property
    def sparse(self) -> bool:
        """Whether the features come as a sparse matrix, in which zeros are not written down."""
        try:
            return self.order is None and hasattr(self._ask(self._base[None]), "tocsr")
        except Exception:  # a refusal, of which `routes` will tell
            return False

    def __call__(self, codes: FloatArray) -> FloatArray:
        """`float[n, m]` features of rows `float[n, n_columns]` of numbers and codes."""
        import numpy as np

        size = max(1, _CELLS // max(codes.shape[1], 1))
        parts = [self._block(codes[i : i + size]) for i in range(0, max(len(codes), 1), size)]
        return np.concatenate(parts)

    def _block(self, codes: FloatArray) -> FloatArray:
        import numpy as np

        try:
            found: FloatArray = np.asarray(_array(self._ask(codes)), dtype=np.float64)
        except LimecliError as error:
            raise NotExactError(f"the model's first steps refuse a value: {error}") from None
        except Exception as error:  # whatever the steps raise of a value that they do not take
            raise NotExactError(_refusal(error)) from None
        return found

    def _ask(self, codes: FloatArray) -> Any:
        with _quietly():
            rows = self.start(decode(codes, self.columns))
            for step in self.steps:
                rows = step(rows)
        return rows

    @cached_property
    def _base(self) -> FloatArray:
        """A row in the middle of things."""
        import numpy as np

        return np.array([_middle(column) for column in self.columns])

    def along(self, j: int, values: FloatArray) -> FloatArray:
        """`float[n, m]` features as one column takes these values or codes."""
        return self(self._varied([(j, values)]))

    def _varied(self, wanted: Sequence[tuple[int, FloatArray]]) -> FloatArray:
        """Base rows in which one column after the other takes its values."""
        import numpy as np

        sizes = [len(values) for _, values in wanted]
        codes = np.repeat(self._base[None], sum(sizes), axis=0)
        codes[np.arange(len(codes)), np.repeat([j for j, _ in wanted], sizes)] = np.concatenate(
            [values for _, values in wanted]
        )
        return codes

    def _each(
        self, wanted: Sequence[tuple[int, FloatArray]], base: FloatArray, lenient: bool = True
    ) -> Iterator[tuple[int, FloatArray]]:
        """The features along many columns, in few calls. Where `lenient`, a value that a step
        refuses, so that the model does, too, has those of the base row.
        """
        import numpy as np

        room = max(1, _CELLS // max(len(self.columns), len(base)))
        at = 0
        while at < len(wanted):
            sizes = np.cumsum([len(values) for _, values in wanted[at:]])
            end = at + max(1, int(np.searchsorted(sizes, room, "right")))
            block = wanted[at:end]
            try:
                found = self(self._varied(block))
            except NotExactError:
                if not lenient:
                    raise
                found = np.concatenate([self._singly(j, values, base) for j, values in block])
            ends = np.cumsum([len(values) for _, values in block])[:-1]
            yield from zip((j for j, _ in block), np.split(found, ends), strict=True)
            at = end

    def _singly(self, j: int, values: FloatArray, base: FloatArray) -> FloatArray:
        import numpy as np

        found = np.repeat(base[None], len(values), axis=0)
        for i in range(len(values)):
            with suppress(NotExactError):
                found[i] = self.along(j, values[i : i + 1])
        return found

    @cached_property
    def routes(self) -> Routes:
        """Raises NotExactError where a feature hangs on two columns, or bends."""
        import numpy as np

        d = len(self.columns)
        coded = [j for j in range(d) if not self.columns[j].continuous]
        codes = [(j, np.arange(len(self.columns[j].categories or ()), dtype=float)) for j in coded]
        if self.order is not None:
            return self._plain_routes(codes)
        numbers = [j for j in range(d) if self.columns[j].continuous]
        probes = [(j, _probes(self.columns[j], self.known)) for j in numbers]
        gaps = [(j, np.array([np.nan])) for j in numbers]
        base = self(self._base[None])[0]
        column, place = np.full((2, len(base)), -1)
        table: dict[int, FloatArray] = {}
        missing, falls, low_nan = base.copy(), *np.zeros((2, len(base)), dtype=bool)
        guess = np.zeros((3, len(base)))
        for j, found in self._each(codes, base):
            hit = self._claim(column, j, found, base)
            table[j], place[hit] = found[:, hit], np.arange(len(hit))
        known = self._each(probes, base, lenient=False)
        for (j, found), (_, values), (_, gap) in zip(
            known, probes, self._each(gaps, base), strict=True
        ):
            hit = self._claim(column, j, np.concatenate([found, gap]), base)
            bends = found[:, hit]
            missing[hit] = gap[0, hit]
            falls[hit], low_nan[hit] = _falls(bends, self.columns[j].name), np.isnan(bends[0])
            guess[:, hit] = _affine(values, bends)
        inverse = Inverse(self, self._base, column, falls, low_nan, guess)
        return Routes(column, base, table, place, missing, False, inverse)

    def _claim(self, column: IntArray, j: int, found: FloatArray, base: FloatArray) -> IntArray:
        """Note and return the features that differ from the base row's somewhere."""
        import numpy as np

        differs = np.logical_and(found != base, ~(np.isnan(found) & np.isnan(base)))
        hit = np.flatnonzero(differs.any(axis=0))
        if (column[hit] >= 0).any():
            names = [self.columns[i].name for i in (int(column[hit].max()), j)]
            raise NotExactError(f"a step of the model mixes {names[0]!r} and {names[1]!r}")
        column[hit] = j
        return hit

    def _plain_routes(self, codes: list[tuple[int, FloatArray]]) -> Routes:
        import numpy as np

        column = np.array(self.order, dtype=np.int64)
        place, table = np.full(len(column), -1), {}
        nothing = np.zeros(len(column))
        base = self(self._base[None])[0] if codes else nothing
        for j, found in self._each(codes, base):
            hit = np.flatnonzero(column == j)
            table[j], place[hit] = found[:, hit], np.arange(len(hit))
        no = nothing.astype(bool)
        inverse = Inverse(self, self._base, column, no, no, np.zeros((3, len(column))))
        return Routes(column, base, table, place, nothing + np.nan, True, inverse)


@contextmanager
def _quietly() -> Iterator[None]:
    import joblib
    import numpy as np

    with (
        np.errstate(all="ignore"),
        warnings.catch_warnings(),
        joblib.parallel_config(backend="sequential"),
    ):
        warnings.simplefilter("ignore")
        yield


def _array(rows: Any) -> Any:
    """A matrix of a matrix, a sparse matrix or a DataFrame."""
    import numpy as np

    return rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)


def _refusal(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    if "unknown categor" in text.lower():
        return "the model encodes a number column as categories: name it with --categorical"
    return f"the model's first steps refuse a value: {text}"


def _middle(column: Column) -> float:
    import numpy as np

    if column.categories is not None:
        shares = column.feature_frequencies
        values = column.feature_values
        return float(values[int(np.argmax(shares))]) if shares and values else 0.0
    return float(column.mean) if np.isfinite(column.mean) else 0.0


def _probes(column: Column, known: tuple[float, ...]) -> FloatArray:
    """Numbers from one end to the other, dense where the column's own lie."""
    import numpy as np

    spread = column.scale if np.isfinite(column.scale) else 1.0
    middle = _middle(column)
    ends = [middle - 4 * spread, middle + 4 * spread, *column.mins, *column.maxs]
    ends = [value for value in ends if np.isfinite(value)]
    wide = [sign * 10.0**power for sign in (-1, 1) for power in (-6, 0, 3, 6, 9, 20)]
    values = np.concatenate([
        [-FAR, 0.0, FAR], wide, np.linspace(min(ends), max(ends), 17), column.bins, known,
    ])  # fmt: skip
    values = np.unique(values[np.isfinite(values)])
    probes: FloatArray = np.unique(np.concatenate([values, (values[1:] + values[:-1]) / 2]))
    return probes


def _falls(found: FloatArray, name: str) -> Any:
    """Which features fall as the column rises. Raises NotExactError where one does both."""
    import numpy as np

    size = np.nanmax(np.abs(np.where(np.isfinite(found), found, 0.0)), axis=0, initial=0.0)
    with np.errstate(invalid="ignore"):
        steps = np.diff(found, axis=0)
    slack = 1e-12 * size
    down, up = (steps < -slack).any(axis=0), (steps > slack).any(axis=0)
    if (down & up).any():
        raise NotExactError(
            f"the model encodes the number column {name!r} as categories:"
            f" name it with --categorical {name}"
        )
    return down


def _affine(values: FloatArray, found: FloatArray) -> FloatArray:
    """`[3, n]`: a number x, the feature there, and the slope, from the middle of the probes."""
    import numpy as np

    a, b = len(values) // 3, 2 * len(values) // 3
    with np.errstate(all="ignore"):
        slope = (found[b] - found[a]) / (values[b] - values[a])
    return np.stack([np.full(found.shape[1], values[a]), found[a], slope])
