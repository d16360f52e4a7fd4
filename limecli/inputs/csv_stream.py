"""CSV, TSV and their like, row by row: the cells that `read_table` gives, in bounded memory."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator

from limecli.errors import InputError
from limecli.inputs.byte_stream import BOM, ByteStream
from limecli.inputs.files import InputFile
from limecli.inputs.row_stream import (
    MAX_CELL,
    MAX_RECORD,
    BadCell,
    BadRow,
    Cell,
    Cells,
    text_fault,
)

# What pandas.read_csv takes for a missing value, and an empty cell.
MISSING = frozenset({
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip
_HEADER = 1 << 20  # characters in which a header lies


def separator_of(text: str) -> str:
    """The separator that a table's first line holds most often: tab, comma, semicolon or bar."""
    lines = text[:_HEADER].splitlines() if text[:_HEADER].strip() else text.splitlines()
    header = next((line for line in lines if line.strip()), "")
    separator = max("\t,;|", key=header.count)
    return separator if separator in header else ","


class _Lines:
    """Lines with their ends (LF, CRLF or CR), and what the record under way holds of them.

    Who takes a record sets `held` to 0. `dubious` says that the record may have bytes that are no
    UTF-8 (as lone surrogates) or NUL, `ended` that no line is left.
    """

    def __init__(self, source: ByteStream) -> None:
        self._source = source
        self.held = 0
        self.first = self.number = 0  # of the record, and of the last line, from 1
        self.line = ""
        self.dubious = self.ended = False

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks():
            self.dubious = _is_dubious(block) or (self.held > 0 and self.dubious)
            for data in block.splitlines(keepends=True):
                line = data.decode(errors="surrogateescape")
                self.number += 1
                if not self.held:
                    self.first = self.number
                self.held += len(line)
                self._check(self.held)
                self.line = line
                yield line
        self.ended = True

    def _blocks(self) -> Iterator[bytes]:
        """Bytes that end where a line does."""
        parts: list[bytes] = []
        size = 0
        for number, read in enumerate(iter(self._source.read, b"")):
            block = read if number else read.removeprefix(BOM)
            # the \n that belongs to a last \r may come with the next block
            cut = (block.rfind(b"\n") + 1) or (block.rfind(b"\r", 0, -1) + 1)
            if cut:
                yield b"".join((*parts, block[:cut]))
                parts, size = [], 0
            parts.append(block[cut:])
            size += len(block) - cut
            if self.held + size > MAX_RECORD:
                self.first = self.first if self.held else self.number + 1
                self._check(self.held + size)
        yield b"".join(parts)

    def _check(self, size: int) -> None:
        if size > MAX_RECORD:
            raise InputError(
                f"{self._source.name}: what begins in line {self.first} is longer than"
                f" {MAX_RECORD >> 20} MiB and no row of a table",
                "is a quote not closed there?",
            )

    def check_quote(self) -> None:
        """Raise InputError when a record came to its end only because the file did."""
        if self.ended:
            raise InputError(
                f"{self._source.name} cannot be read as a table: the quote that opens in the row"
                f" of line {self.first} is never closed"
            )

    def is_blank(self, row: list[str]) -> bool:
        """Whether pandas leaves out the record just taken: its line is empty or holds spaces."""
        return not row or (len(row) == 1 and not self.line.strip(" \t\r\n"))


def _is_dubious(block: bytes) -> bool:
    try:
        return b"\0" in block or not (block.isascii() or block.decode())
    except UnicodeDecodeError:
        return True


class CsvStream:
    """Rows of delimited text. Raises InputError when the header makes no table."""

    format = "csv"
    untyped = True

    def __init__(self, source: ByteStream) -> None:
        self.name = source.name
        self._source = source
        self._lines = _Lines(source)
        self._iterator = iter(self._lines)
        # a limit of the process; a lower one would end the file at the first long cell
        csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD))
        self._separator = separator_of(source.head.decode(errors="replace").removeprefix("\ufeff"))
        self.columns = self._header()

    def _header(self) -> tuple[str, ...]:
        """Read up to the first line that is not blank; every byte of it has to be UTF-8."""
        lines, kept, blank = self._lines, list[str](), 0
        for row in csv.reader(_keep(self._iterator, kept.append), delimiter=self._separator):
            lines.check_quote()
            lines.held = 0
            if not lines.is_blank(row):
                break
            blank = len(kept)
        bom = BOM if self._source.head.startswith(BOM) else b""
        read = bom + "".join(kept).encode(errors="surrogateescape")
        InputFile(self.name, read).decoded()
        if blank == len(kept):
            raise InputError(f"{self.name} is empty")
        return _column_names(self.name, "".join(kept[blank:]), self._separator)

    def rows(self) -> Iterator[Cells | BadRow]:
        """Every row that is not blank; cells as strings, missing ones as None."""
        lines, width = self._lines, len(self.columns)
        for row in csv.reader(self._iterator, delimiter=self._separator):
            if lines.ended:
                lines.check_quote()
            dubious = lines.dubious or lines.held > MAX_CELL
            lines.held = 0
            if len(row) < 2 and lines.is_blank(row):
                continue
            if len(row) == width + 1 and row[-1] in MISSING:
                row.pop()  # a separator that ends every line is no column
            if len(row) != width:
                plural = "" if len(row) == 1 else "s"
                yield BadRow(f"{len(row)} cell{plural}, the header has {width}")
            elif dubious:
                yield tuple(map(_checked, row, self.columns))
            elif MISSING.isdisjoint(row):
                yield tuple(row)
            else:
                yield tuple([None if cell in MISSING else cell for cell in row])

    @property
    def sha256(self) -> str | None:
        """Hash of the file, once all rows are read."""
        return self._source.sha256

    def close(self) -> None:
        """Close the file."""
        self._source.close()


def _keep(lines: Iterator[str], keep: Callable[[str], None]) -> Iterator[str]:
    for line in lines:
        keep(line)
        yield line


def _checked(cell: str, column: str) -> Cell:
    if cell in MISSING:
        return None
    fault = text_fault(cell, f"column {column!r}")
    return cell if fault is None else BadCell(fault)


def _column_names(source: str, text: str, separator: str) -> tuple[str, ...]:
    """The names that pandas gives to the columns of a header, stripped."""
    import pandas as pd

    if "\0" in text:
        raise InputError(f"{source} is no table: its header holds a NUL byte")
    try:
        head = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, header=None, index_col=False
        )
        found = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{source} cannot be read as a table: {error}") from None
    names = [name.strip() for name in head.iloc[0] if isinstance(name, str)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{source} has two columns named {twice!r}")
    return tuple(str(name).strip() for name in found.columns)
