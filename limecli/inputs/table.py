"""CSV, TSV, JSON, JSONL and Parquet -> rows by column name, and rows -> Instances."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from limecli.errors import InputError, UsageError
from limecli.inputs.files import InputFile, read_input
from limecli.inputs.json_table import json_types, read_json
from limecli.inputs.parquet_stream import parquet_table
from limecli.inputs.row_stream import Absent, BadCell
from limecli.types import Background, Category, Column, Instance, Skipped, Value

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


# "[cm] height" may begin a CSV: only what can follow in JSON makes it JSON.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TRUTHS = {"True": 1, "true": 1, "TRUE": 1, "False": 0, "false": 0, "FALSE": 0}
_HEADER = 1 << 20  # characters in which a header lies
_KNOWN = 1024  # short spellings that the encoder of a column remembers
_JSON_START = re.compile(r'\s*(\{\s*["}]|\[\s*[\[{\]"\d\-tfn])')

_Coded = tuple[float, Value, str]  # code, value, value as JSON


@dataclass(frozen=True)
class Table:
    """A table as it stands in the file. `raw` holds missing cells as None.

    `untyped` says that every cell is a string whatever it means (CSV); other formats have types.
    `reread` reads the same content once more, typed. `unfit` are columns left out, and why.
    """

    name: str
    sha256: str | None
    raw: pd.DataFrame
    untyped: bool = True
    reread: Callable[[], pd.DataFrame] | None = field(default=None, repr=False, compare=False)
    unfit: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_cells(cls, name: str, columns: Sequence[str], rows: list[Any], untyped: bool) -> Table:
        """Some rows of a stream, their cells in the order of `columns`."""
        import pandas as pd

        raw = pd.DataFrame(rows, columns=list(columns), dtype=object)
        return cls(name, None, raw, untyped)

    def __len__(self) -> int:
        return len(self.raw)

    @property
    def columns(self) -> list[str]:
        """Column names in the file's order."""
        return list(self.raw.columns)

    @cached_property
    def typed(self) -> pd.DataFrame:
        """The columns as `pandas.read_csv` would type them: numbers, booleans, strings."""
        import pandas as pd

        if self.reread is not None:
            typed = self.reread()
            typed.columns = self.raw.columns
            for name in typed.columns[typed.dtypes.map(lambda kind: kind.kind in "OU")]:
                # pandas keeps "NA" as a word beside whole numbers of more than 64 bits
                words = self.raw[name].isna() & typed[name].notna()
                if words.any():
                    typed[name] = typed[name].mask(words)
            return typed
        infer = _read_csv_types if self.untyped else json_types
        return pd.DataFrame({name: infer(self.raw[name]) for name in self.columns})

    @cached_property
    def cells(self) -> dict[str, NDArray[Any]]:
        """`raw` by column, nothing copied: a row costs the same in a table of any length."""
        return {name: self.raw[name].to_numpy() for name in self.columns}


def read_table(path: str) -> Table:
    """Read a table, its format recognised by content. Raises InputError for what is no table."""
    file = read_input(path)
    if file.data.startswith(b"PAR1"):
        return parquet_table(file)
    text = file.text()
    is_json = _JSON_START.match(text) is not None
    reread = None if is_json else _csv_reader(text)
    raw = read_json(file, text) if reread is None else _read_delimited(file, text, reread)
    if len(raw) == 0:
        raise InputError(f"{file.name} has no rows" + ("" if is_json else ", only a header"))
    typed = None if reread is None else functools.partial(reread, low_memory=False)
    return Table(file.name, file.sha256, raw, not is_json, typed)


def _csv_reader(text: str) -> Callable[..., pd.DataFrame]:
    """`pandas.read_csv` of this text, its separator found in the header."""
    lines = text[:_HEADER].splitlines() if text[:_HEADER].strip() else text.splitlines()
    header = next(line for line in lines if line.strip())
    separator = max("\t,;|", key=header.count)
    separator = separator if separator in header else ","

    def read(**options: Any) -> pd.DataFrame:
        import pandas as pd

        frame: pd.DataFrame = pd.read_csv(
            io.StringIO(text), sep=separator, **{"index_col": False, **options}
        )
        return frame

    return read


def _read_delimited(file: InputFile, text: str, read: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            raw = read(dtype=str)
            head = read(dtype=str, header=None, index_col=None, nrows=1)
        except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
            text = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
            raise InputError(f"{file.name} cannot be read as a table: {text}") from None
    raw.columns = [str(name).strip() for name in raw.columns]
    names = [str(name).strip() for name in head.iloc[0] if isinstance(name, str)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{file.name} has two columns named {twice!r}")
    return raw.astype(object).where(raw.notna(), None)


def _read_csv_types(column: pd.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    text = io.StringIO()
    column.to_csv(text, index=False, header=["x"], na_rep="")
    text.seek(0)
    return pd.read_csv(text, skip_blank_lines=False, low_memory=False)["x"]


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A hint naming the closest known name, or all of them when there are few."""
    import difflib

    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"there are: {shown}" if known else ""


def require_column(table: Table, name: str, option: str) -> None:
    """Raise UsageError when an option names a column that the table does not have."""
    if name not in table.columns:
        raise UsageError(
            f"{option} {name}: {table.name} has no such column", did_you_mean(name, table.columns)
        )


def check_features(table: Table, features: Sequence[str]) -> None:
    """Raise InputError naming the features that the table lacks."""
    missing = [name for name in features if name not in table.columns]
    if not missing:
        return
    unfit = next((name for name in missing if name in table.unfit), None)
    if unfit is not None:
        raise InputError(f"{table.name}: {table.unfit[unfit]}")
    spare = [name for name in table.columns if name not in features]
    hints = [did_you_mean(name, spare) for name in missing if spare]
    hint = next((text for text in hints if text.startswith("did you mean")), "")
    if len(missing) == 1 and hint:
        hint = hint.replace("did you mean", f"{missing[0]!r}: did you mean", 1)
    names = ", ".join(repr(name) for name in missing[:8]) + (", ..." if len(missing) > 8 else "")
    plural = "s" if len(missing) > 1 else ""
    raise InputError(
        f"{table.name} lacks the column{plural} {names} that the model needs",
        hint or f"its columns are: {', '.join(table.columns[:12])}",
    )


def select_rows(table: Table, choice: str | None, id_column: str | None) -> list[int]:
    """The row numbers (from 0) behind `--row N|A:B|id=VALUE|all`; None means the only row, or few.

    Raises UsageError for a choice that cannot be read, InputError for a row that is not there.
    """
    n = len(table)
    if choice is None:
        if n <= 20:
            return list(range(n))
        raise UsageError(f"{table.name} has {n} rows", "say which: --row N, A:B, id=VALUE or all")
    if choice == "all":
        return list(range(n))
    if choice.startswith("id="):
        return _rows_with_id(table, choice.removeprefix("id="), id_column)
    start, colon, stop = choice.partition(":")
    try:
        if colon:
            chosen = list(range(n))[
                slice(int(start) if start else None, int(stop) if stop else None)
            ]
        else:
            chosen = [int(start) + n if int(start) < 0 else int(start)]
    except ValueError:
        raise UsageError(
            f"--row {choice} cannot be read", "use N, A:B, id=VALUE or all; rows count from 0"
        ) from None
    if not chosen or not all(0 <= i < n for i in chosen):
        raise InputError(
            f"--row {choice} picks no row: {table.name} has the rows 0 to {n - 1}",
            "rows count from 0, and A:B ends before B",
        )
    return chosen


def _rows_with_id(table: Table, value: str, id_column: str | None) -> list[int]:
    column = id_column or "id"
    if column not in table.columns:
        raise UsageError(f"--row id={value} needs a column of ids", "name it with --id-column")
    found = [i for i, item in enumerate(table.raw[column]) if str(item) == value]
    if not found:
        raise InputError(f"{table.name}: no row has {column} = {value}")
    return found


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
        codes = {category_key(value, numeric): code for code, value in enumerate(known)}
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
