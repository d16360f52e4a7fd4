"""Texts of a file of any size: each line, or a column of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from limecli.errors import UsageError
from limecli.inputs.byte_stream import ByteStream, byte_lines, open_bytes
from limecli.inputs.row_stream import (
    MAX_CELL,
    Absent,
    BadCell,
    BadRow,
    Cell,
    RowStream,
    open_rows,
    text_fault,
)
from limecli.inputs.table import did_you_mean

_MAX_BYTES = 4 * MAX_CELL  # a character has at most four


@dataclass(frozen=True)
class TextLine:
    """A text, or why there is none. `index` counts all lines or rows from 0; `id` may be None."""

    index: int
    id: str | None
    text: str | BadRow


class LineStream(Protocol):
    """Texts read once, one after the other, in bounded memory. `format` as in RowStream, or lines.

    `name` is what to call it ("standard input" for -).
    """

    name: str
    format: str

    def lines(self) -> Iterator[TextLine]:
        """Every text, bad ones in their places. Can be called once."""

    @property
    def sha256(self) -> str | None:
        """Hash of all bytes, known once `lines` came to its end."""

    def close(self) -> None:
        """Close the file behind it."""


def open_lines(path: str, column: str | None = None, id_column: str | None = None) -> LineStream:
    """Open a file of lines, or a table whose `column` has the texts; "-" is stdin.

    Raises InputError for what is missing, empty or no text, UsageError for a column that is not
    there.
    """
    if column is None:
        return PlainLines(open_bytes(path))
    rows = open_rows(path)
    try:
        return ColumnLines(rows, column, id_column)
    except BaseException:
        rows.close()
        raise


class PlainLines:
    """Each line that holds something, as `line_instances` takes them."""

    format = "lines"

    def __init__(self, source: ByteStream) -> None:
        self.name = source.name
        self._source = source

    def lines(self) -> Iterator[TextLine]:
        """Lines without their ends."""
        for index, line in enumerate(byte_lines(self._source, _MAX_BYTES)):
            if isinstance(line, int):
                reason = f"the line holds {line:,} bytes; at most {MAX_CELL:,} characters are taken"
                yield TextLine(index, None, BadRow(reason))
                continue
            text = line.decode(errors="surrogateescape").removesuffix("\r")
            if text.strip():
                fault = text_fault(text, "the line")
                yield TextLine(index, None, text if fault is None else BadRow(fault))

    @property
    def sha256(self) -> str | None:
        """Hash of the file, once all lines are read."""
        return self._source.sha256

    def close(self) -> None:
        """Close the file."""
        self._source.close()


class ColumnLines:
    """The cells of a table's column as texts."""

    def __init__(self, rows: RowStream, column: str, id_column: str | None) -> None:
        self.name, self.format = rows.name, rows.format
        self._rows = rows
        self._column = column
        self._place = _place(rows, column)
        self._id_place = None if id_column is None else _place(rows, id_column)

    def lines(self) -> Iterator[TextLine]:
        """The cell of every row."""
        for index, row in enumerate(self._rows.rows()):
            if isinstance(row, BadRow):
                yield TextLine(index, None, row)
            else:
                yield TextLine(index, self._id(row), self._text(row[self._place]))

    def _id(self, row: Sequence[Cell]) -> str | None:
        cell = None if self._id_place is None else row[self._id_place]
        return None if cell is None or isinstance(cell, BadCell | Absent) else str(cell)

    def _text(self, cell: Cell) -> str | BadRow:
        if isinstance(cell, BadCell):
            return BadRow(cell.reason)
        if cell is None or isinstance(cell, Absent):
            return BadRow(f"column {self._column!r} is missing")
        text = str(cell)
        return text if text.strip() else BadRow(f"column {self._column!r} is empty")

    @property
    def sha256(self) -> str | None:
        """Hash of the file, once all rows are read."""
        return self._rows.sha256

    def close(self) -> None:
        """Close the file."""
        self._rows.close()


def _place(rows: RowStream, column: str) -> int:
    if column not in rows.columns:
        raise UsageError(
            f"{rows.name} has no column {column!r}", did_you_mean(column, rows.columns)
        )
    return rows.columns.index(column)
