"""CSV, TSV, JSON, JSONL and Parquet -> rows by column name, and rows -> Instances."""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from limecli.errors import InputError, UsageError
from limecli.inputs.files import InputFile, read_input
from limecli.inputs.json_table import json_types, read_json
from limecli.inputs.parquet_stream import parquet_table

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


# "[cm] height" may begin a CSV: only what can follow in JSON makes it JSON.
_HEADER = 1 << 20  # characters in which a header lies
_JSON_START = re.compile(r'\s*(\{\s*["}]|\[\s*[\[{\]"\d\-tfn])')


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
