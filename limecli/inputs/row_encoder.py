"""Rows of a table -> Instances: numbers, and categories by their codes."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from limecli.errors import InputError
from limecli.inputs.row_stream import Absent, BadCell
from limecli.inputs.table import Table
from limecli.types import Background, Category, Column, Instance, Skipped, Value

if TYPE_CHECKING:
    from numpy.typing import NDArray


_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TRUTHS = {"True": 1, "true": 1, "TRUE": 1, "False": 0, "false": 0, "FALSE": 0}
_KNOWN = 1024  # short spellings that the encoder of a column remembers
_Coded = tuple[float, Value, str]  # code, value, value as JSON


def to_number(text: Value) -> float:
    """A cell as a finite float. Raises ValueError for anything else."""
    if isinstance(text, str) and not _NUMBER.fullmatch(text.strip()):
        raise ValueError(text)  # float() would take 1_000 and digits of any script
    try:
        number = float(text.strip() if isinstance(text, str) else text)  # type: ignore[arg-type]
    except OverflowError:
        raise ValueError(text) from None
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def category_key(value: Category, numeric: bool) -> str:
    """What makes two spellings the same category: 1 and 1.0 are, True and true are."""
    if value is None:
        return "missing"
    if numeric:
        try:
            return repr(float(value))
        except (ValueError, OverflowError):
            pass
    text = str(value)
    return "=" + (text.title() if text in ("true", "TRUE", "false", "FALSE") else text)


def codes_of(categories: Sequence[Category], numeric: bool) -> dict[str, int]:
    """Each category's code by its key. Of truths 0 and 1 are other spellings: databases have no
    others.
    """
    codes = {category_key(value, numeric): code for code, value in enumerate(categories)}
    present = [value for value in categories if value is not None]
    if present and all(isinstance(value, bool) for value in present):
        for key, code in [*codes.items()]:
            for other in {"=True": ("=1", "=1.0"), "=False": ("=0", "=0.0")}.get(key, ()):
                codes.setdefault(other, code)
    return codes


@dataclass
class _Coder:
    """A column as the encoder meets it: codes by key for categories, the range for numbers."""

    column: Column
    numeric: bool
    categories: list[Category]
    codes: dict[str, int]
    seen: frozenset[float]
    low: float
    high: float
    known: dict[str | None, _Coded] = field(default_factory=dict)  # spellings without a note

    @classmethod
    def of(cls, column: Column) -> _Coder:
        numeric, known = is_numeric(column), list(column.categories or ())
        codes = codes_of(known, numeric)
        low, high = (min(column.mins), max(column.maxs)) if column.mins else (-math.inf, math.inf)
        return cls(column, numeric, known, codes, frozenset(column.feature_values), low, high)


class RowEncoder:
    """Turns rows into Instances by a Background's columns.

    Categories that the background never saw get a code of their own, after all others: `columns`
    holds them once every row is encoded. `notes` says what was unusual, once a column.
    """

    def __init__(self, background: Background) -> None:
        self._coders = [_Coder.of(column) for column in background.columns]
        self._names = background.feature_names
        by_name = sorted({name: j for j, name in enumerate(self._names)}.items())
        self._json = [(f"{json.dumps(name)}: ", j) for name, j in by_name]
        self._table: Table | None = None
        self._cells: list[NDArray[Any]] = []
        self.notes: dict[str, str] = {}

    @property
    def columns(self) -> tuple[Column, ...]:
        """The background's columns, with the categories met since."""
        return tuple(
            c.column if c.column.continuous else replace(c.column, categories=tuple(c.categories))
            for c in self._coders
        )

    def encode(
        self, table: Table, i: int, row_id: str, index: int | None = None
    ) -> Instance | Skipped:
        """Row `i` as `float[n_features]` of numbers and codes, or why it cannot be.

        `index` is what the row is called, if the table is a piece of a longer one.
        """
        import numpy as np

        if table is not self._table:
            self._table, self._cells = table, [table.cells[name] for name in self._names]
        index = i if index is None else index
        row: list[_Coded] = []
        for coder, cells in zip(self._coders, self._cells, strict=True):
            raw = cells[i]
            coded = coder.known.get(raw)  # finds strings and None only: 1 is not True here
            if coded is None:
                try:
                    coded = self._code(coder, raw, f"{table.name}, row {index}")
                except InputError as error:
                    return Skipped(row_id, index, error.message, "input")
            row.append(coded)
        codes, values, texts = zip(*row, strict=True)
        named = ", ".join([name + texts[j] for name, j in self._json])
        digest = hashlib.sha256(f"{{{named}}}".encode()).hexdigest()  # of JSON, its keys sorted
        payload = np.array(codes, dtype=np.float64)
        return Instance(row_id, index, "tabular", payload, digest, table.name, values)

    def _code(self, coder: _Coder, raw: Any, where: str) -> _Coded:
        name = coder.column.name
        if isinstance(raw, BadCell | Absent):
            lacks = f"there is no column {name!r}"
            raise InputError(f"{where}: {raw.reason if isinstance(raw, BadCell) else lacks}")
        is_category = coder.column.categories is not None
        try:
            code, value, odd = (_category if is_category else _number)(coder, raw)
        except ValueError:
            raise InputError(f"{where}, column {name!r}: {raw!r} is not a number") from None
        coded = code, value, json.dumps(value) if is_category or value is None else repr(value)
        if odd:
            self.notes.setdefault(name, f"{where}: {name!r} is {odd}")
        elif len(coder.known) < _KNOWN and (raw is None or (type(raw) is str and len(raw) < 64)):
            coder.known[raw] = coded
        return coded


def _number(coder: _Coder, raw: Value) -> tuple[float, Value, str]:
    """A number, how it is shown, what is odd about it. Raises ValueError for anything else."""
    low, high = coder.low, coder.high
    if raw is None:
        never = "missing, which never happens in the background"
        return math.nan, None, "" if coder.column.has_missing else never
    if low >= 0 and high <= 1:  # a model fitted on booleans remembers them as numbers
        raw = _TRUTHS.get(str(raw), raw)
    number, odd = to_number(raw), ""
    if not low <= number <= high:
        odd = f"{number:g}, outside the background's range {low:g} to {high:g}"
    return number, int(number) if number.is_integer() and abs(number) < 2**53 else number, odd


def _category(coder: _Coder, raw: Value) -> tuple[float, Value, str]:
    """A category's code, its spelling in the background, what is odd about it. Raises ValueError.

    An unseen one gets the type that the known ones have: the model sees 9, not "9".
    """
    key, odd = category_key(raw, coder.numeric), ""
    code = coder.codes.get(key)
    if code is None:
        new: Category = raw
        if coder.numeric and raw is not None:
            number, whole = to_number(raw), any(type(known) is int for known in coder.categories)
            new = int(number) if whole and number.is_integer() else number
        elif isinstance(raw, float) and not math.isfinite(raw):
            new = None
        code = coder.codes[key] = len(coder.categories)
        coder.categories.append(new)
    if code not in coder.seen:
        odd = (
            f"{'missing' if raw is None else repr(raw)}, which never occurs in the background:"
            " it has no weight (lime's own rests on one sample and means little)"
        )
    return float(code), coder.categories[code], odd


def is_numeric(column: Column) -> bool:
    """Whether the categories of a column are numbers."""
    present = [value for value in column.categories or () if value is not None]
    return bool(present) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in present
    )
