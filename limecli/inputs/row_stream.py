"""Rows of a file of any size, one after the other: what an audit reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from limecli.errors import InputError
from limecli.inputs.byte_stream import ByteStream, hash_file, is_regular, open_bytes
from limecli.types import Value

__all__ = [
    "ABSENT", "MAX_CELL", "MAX_RECORD", "Absent", "BadCell", "BadRow", "Cell", "Cells",
    "RowStream", "hash_file", "open_rows", "text_fault",
]  # fmt: skip

MAX_CELL = 1 << 20  # characters of one cell
MAX_RECORD = 1 << 26  # bytes or characters of one record: 64 MiB
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are no UTF-8, as "surrogateescape" has them


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read. `reason` is one clause without file name or row number."""

    reason: str


@dataclass(frozen=True)
class BadCell:
    """A cell that cannot be read; its row can, by who does not need it. `reason` as in BadRow."""

    reason: str


class Absent(Enum):
    """Has one member, so that a type checker tells it from a value."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT  # a JSON object without this key

Cell = Value | BadCell | Absent
Cells = tuple[Cell, ...]  # in the order of `columns`; None is a missing value


class RowStream(Protocol):
    """An input read once, row by row, in bounded memory.

    `name` is what to call it ("standard input" for -), `format` one of csv, jsonl, json, parquet,
    query. `untyped` says that every cell is a string whatever it means (CSV).
    """

    name: str
    format: str
    columns: tuple[str, ...]
    untyped: bool

    def rows(self) -> Iterator[Cells | BadRow]:
        """Every row, bad ones in their places. Can be called once."""

    @property
    def sha256(self) -> str | None:
        """Hash of all bytes, known once `rows` came to its end; None for a database."""

    def close(self) -> None:
        """Close the file behind it."""


def text_fault(text: str, what: str, damaged: bool = True, nul: bool = True) -> str | None:
    """Why a text that was decoded with "surrogateescape" cannot be taken; None if it can.

    `damaged` says whether its source had bytes that are no UTF-8, `nul` whether NUL is a fault.
    """
    if len(text) > MAX_CELL:
        return f"{what} holds {len(text):,} characters; at most {MAX_CELL:,} are taken"
    if nul and "\0" in text:
        return f"{what} holds a NUL byte"
    found = _ESCAPED.search(text) if damaged else None
    return found and f"{what} is not UTF-8 text (byte 0x{ord(found[0]) & 0xFF:02x})"


def open_rows(path: str) -> RowStream:
    """Open a table, or stdin for "-", its format recognised by content as `read_table` does.

    CSV and JSON Lines are streamed, Parquet by row groups; other JSON is read whole. Raises
    InputError for what is missing, empty or no table.
    """
    source = open_bytes(path)
    try:
        if source.head.startswith(b"PAR1"):
            return _open_parquet(source, path)
        return _open_text(source)
    except BaseException:
        source.close()
        raise


def _open_text(source: ByteStream) -> RowStream:
    from limecli.inputs.csv_stream import CsvStream
    from limecli.inputs.json_stream import open_json
    from limecli.inputs.table import _JSON_START

    if _JSON_START.match(source.head.decode("utf-8-sig", errors="replace")):
        return open_json(source)
    return CsvStream(source)


def _open_parquet(source: ByteStream, path: str) -> RowStream:
    from limecli.inputs.parquet_stream import open_parquet

    if not is_regular(path):
        raise InputError(
            f"{source.name} is Parquet, which cannot be read from a pipe", "store it in a file"
        )
    source.close()
    return open_parquet(path)
