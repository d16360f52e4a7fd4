"""Parquet -> rows of plain cells, batch by batch, or a Table."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from limecli.errors import InputError
from limecli.inputs.files import InputFile, reading
from limecli.inputs.row_stream import MAX_CELL, BadCell, Cell, Cells

if TYPE_CHECKING:
    from limecli.inputs.table import Table

_Read = Callable[[Any], list[Cell]]
_INDEX = re.compile(r"__index_level_\d+__")  # a nameless index, as pandas stores it
_BINARY = re.compile("(large_|fixed_size_)?binary")
_BATCH_ROWS = 4096
_BATCH_BYTES = 1 << 24  # of values as they lie in the file, not compressed
_BUFFER = 1 << 20  # bytes of a column that are read ahead
_DIGITS = 40  # of an integer; DECIMAL has 38


def plain_cell(value: Any, name: str) -> Cell:
    """What a database or a typed file holds in column `name`, as a cell.

    NaN is missing, dates and times are ISO 8601, decimals are integers if they have no places.
    Bytes, lists, structures and whatever else is no single value are BadCells.
    """
    kind = type(value)
    if kind is str:
        if len(value) > MAX_CELL:
            size = f"{len(value):,} characters; at most {MAX_CELL:,} are taken"
            return BadCell(f"column {name!r} holds {size}")
        return value  # type: ignore[no-any-return]
    if kind is int or kind is bool or value is None:
        return value  # type: ignore[no-any-return]
    if kind is float:
        return None if math.isnan(value) else value
    return _other_cell(value, name)


def _other_cell(value: Any, name: str) -> Cell:
    if isinstance(value, Decimal):
        return _number_of(value)
    if isinstance(value, dt.date | dt.time):  # a datetime and pandas' own are dates
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str):  # a subclass, as the next two
        return plain_cell(str.__str__(value), name)
    if isinstance(value, int | float):
        return plain_cell(int(value) if isinstance(value, int) else float(value), name)
    if isinstance(value, bytes | bytearray | memoryview):
        return BadCell(f"column {name!r} holds bytes, not text or a number")
    if isinstance(value, list | tuple | dict | set | frozenset):
        return BadCell(f"column {name!r} holds a nested value, not a cell")
    if type(value).__module__ == "numpy":
        return plain_cell(value.item(), name)
    return BadCell(f"column {name!r} holds a {type(value).__name__}, not text or a number")


def _number_of(value: Decimal) -> int | float | None:
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= 0 and value.adjusted() < _DIGITS:
        return int(value)
    number = math.nan if value.is_nan() else float(value)
    return None if math.isnan(number) else number


def open_parquet(path: str) -> ParquetStream:
    """Open a Parquet file. Raises InputError when it is missing, damaged or pyarrow is."""
    stream = _opened(path)
    try:
        return ParquetStream(path, stream)
    except BaseException:
        stream.close()
        raise


def _opened(path: str) -> io.BufferedReader:
    with reading(path):
        return Path(path).open("rb")


class ParquetStream:
    """The rows of a Parquet file, see `RowStream`. Never more than a batch is in memory.

    A column of lists, structures or bytes holds BadCells. `unfit` names these columns and says why.
    """

    format = "parquet"
    untyped = False

    def __init__(self, name: str, handle: io.BufferedReader | io.BytesIO) -> None:
        if find_spec("pyarrow") is None:
            raise InputError(
                f"{name} is Parquet: that needs pyarrow, which is not installed",
                "install it: pip install 'limecli[parquet]'",
            )
        from pyarrow.parquet import ParquetFile

        self.name = name
        self._handle = handle
        self._sha256: str | None = None
        with _damage(name):
            self._file = ParquetFile(handle, buffer_size=_BUFFER, pre_buffer=False)
            fields = list(self._file.schema_arrow)
        twice = next((n for n, k in Counter(f.name for f in fields).items() if k > 1), None)
        if twice is not None:
            raise InputError(f"{name} has two columns named {twice!r}")
        kept = [(j, field) for j, field in enumerate(fields) if not _INDEX.fullmatch(field.name)]
        if not kept:
            raise InputError(f"{name} has no columns")
        self._readers = [(j, _reader(field.type, field.name)) for j, field in kept]
        self.columns = tuple(field.name for _, field in kept)
        reasons = {field.name: _unfit_reason(field.type, field.name) for _, field in kept}
        self.unfit: Mapping[str, str] = {key: reason for key, reason in reasons.items() if reason}

    def rows(self) -> Iterator[Cells]:
        """Every row. Raises InputError where the file is damaged. Can be called once."""
        with _damage(self.name):
            batches = self._file.iter_batches(batch_size=self._batch_rows(), use_threads=False)
        while True:
            with _damage(self.name):
                batch = next(batches, None)
                if batch is None:
                    break
                cells = [read(batch.column(j)) for j, read in self._readers]
            yield from zip(*cells, strict=True)
        with reading(self.name):
            self._handle.seek(0)
            self._sha256 = hashlib.file_digest(self._handle, "sha256").hexdigest()

    def _batch_rows(self) -> int:
        meta = self._file.metadata
        sizes = [
            meta.row_group(i).total_byte_size // max(1, meta.row_group(i).num_rows)
            for i in range(meta.num_row_groups)
        ]
        row_bytes: int = max([8 * len(self._readers), *sizes])  # the fullest row group's
        return max(1, min(_BATCH_ROWS, _BATCH_BYTES // row_bytes))

    @property
    def sha256(self) -> str | None:
        """Hash of the file's bytes, known once `rows` came to its end."""
        return self._sha256

    def close(self) -> None:
        """Close the file."""
        self._file.close(force=True)
        self._handle.close()


def parquet_table(file: InputFile) -> Table:
    """A Parquet file as a Table. Columns of lists, structures or bytes are left out.

    Raises InputError for what cannot be read, a single cell included.
    """
    import pandas as pd

    from limecli.inputs.table import Table  # which imports this module

    stream = ParquetStream(file.name, io.BytesIO(file.data))
    keep = [j for j, name in enumerate(stream.columns) if name not in stream.unfit]
    names = [stream.columns[j] for j in keep]
    rows = [tuple(row[j] for j in keep) for row in stream.rows()]
    if not rows:
        raise InputError(f"{file.name} has no rows")
    for i, row in enumerate(rows):
        fault = next((cell for cell in row if isinstance(cell, BadCell)), None)
        if fault is not None:
            raise InputError(f"{file.name}, row {i}: {fault.reason}")
    raw = pd.DataFrame(rows, columns=names, dtype=object)
    return Table(file.name, file.sha256, raw, untyped=False, unfit=stream.unfit)


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """What pyarrow raises of a damaged file: its own errors, ValueErrors, OSErrors and others."""
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{name} cannot be read as Parquet: {text}", "it may be damaged or cut short"
        ) from None


def _reader(kind: Any, name: str) -> _Read:
    """What turns a batch of the column `name`, of Arrow type `kind`, into cells."""
    from pyarrow import types

    reason = _unfit_reason(kind, name)
    if reason:
        return functools.partial(_unfit, BadCell(reason))
    if types.is_dictionary(kind):
        return functools.partial(_decoded, _reader(kind.value_type, name))
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind):
        return _as_it_is
    if types.is_float32(kind) or types.is_float64(kind):
        return _floats
    return functools.partial(_others, name)


def _unfit_reason(kind: Any, name: str) -> str:
    """Why no value of Arrow type `kind` is a cell; "" if they are."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    is_uuid = getattr(kind, "extension_name", "") == "arrow.uuid"
    kind = getattr(kind, "storage_type", kind)
    what = ""
    if types.is_nested(kind):
        what = "nested values, not cells"
    elif _BINARY.match(str(kind)) and not is_uuid:
        what = "bytes, not text or numbers"
    elif types.is_duration(kind) or types.is_interval(kind):
        what = "durations, not text or numbers"
    return what and f"column {name!r} holds {what}"


def _as_it_is(column: Any) -> list[Cell]:
    cells: list[Cell] = column.to_pylist()
    return cells


def _floats(column: Any) -> list[Cell]:
    return [None if value is None or math.isnan(value) else value for value in column.to_pylist()]


def _decoded(read: _Read, column: Any) -> list[Cell]:
    return read(column.dictionary_decode())


def _unfit(bad: BadCell, column: Any) -> list[Cell]:
    return [bad if present else None for present in column.is_valid().to_pylist()]


def _others(name: str, column: Any) -> list[Cell]:
    try:
        values = column.to_pylist()
    except Exception:  # no UTF-8, a date beyond Python's, an unknown time zone, ...
        return [_single_cell(scalar, name) for scalar in column]
    return [plain_cell(value, name) for value in values]


def _single_cell(scalar: Any, name: str) -> Cell:
    try:
        return plain_cell(scalar.as_py(), name)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        return BadCell(f"column {name!r} is not UTF-8 text (byte 0x{byte:02x})")
    except Exception:
        return BadCell(f"column {name!r} holds a {scalar.type} that cannot be read")
