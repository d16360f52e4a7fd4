"""JSON Lines, object by object; other JSON is read whole, as `read_table` does."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

from limecli.errors import InputError
from limecli.inputs.byte_stream import ByteStream, byte_lines
from limecli.inputs.files import InputFile
from limecli.inputs.json_table import read_json
from limecli.inputs.row_stream import (
    ABSENT,
    MAX_CELL,
    MAX_RECORD,
    BadCell,
    BadRow,
    Cell,
    Cells,
    text_fault,
)

_BROKEN = BadRow("line is no JSON object")
_PATIENCE = 10_000  # lines among which one has to be an object


def open_json(source: ByteStream) -> JsonLines | JsonTable:
    """The rows of JSON. Raises InputError when it holds none."""
    return JsonLines(source) if _is_lines(source) else JsonTable(source)


def _is_lines(source: ByteStream) -> bool:
    """Whether the first lines are objects of their own, not parts of one text."""
    text = source.head.decode("utf-8-sig", errors="replace")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) < 2 or not lines[0].startswith("{"):
        return False
    try:
        return isinstance(json.loads(lines[0]), dict)
    except json.JSONDecodeError as error:
        # an object that goes on in the next line, or a broken line among whole ones
        return error.pos < len(lines[0]) and isinstance(_object(lines[1].encode()), dict)
    except (ValueError, RecursionError):
        return isinstance(_object(lines[1].encode()), dict)


class JsonLines:
    """One object a line. The keys of the first one are the columns; other keys are left out."""

    format = "jsonl"
    untyped = False

    def __init__(self, source: ByteStream) -> None:
        self.name = source.name
        self._source = source
        self._objects = _objects(source)
        self._ahead: list[dict[str, Cell] | BadRow] = []
        self.columns = self._first_keys()

    def _first_keys(self) -> tuple[str, ...]:
        for row in self._objects:
            self._ahead.append(row)
            if isinstance(row, dict) and row:
                return tuple(row)
            if len(self._ahead) == _PATIENCE:
                break
        raise InputError(
            f"{self.name} is JSON, but no list of objects with one key a column",
            f"no object in the first {len(self._ahead):,} lines",
        )

    def rows(self) -> Iterator[Cells | BadRow]:
        """Every line that is not blank; ABSENT where an object lacks a key."""
        ahead, self._ahead = self._ahead, []
        columns = self.columns
        for row in chain(ahead, self._objects):
            if isinstance(row, BadRow):
                yield row
            else:
                yield tuple([row.get(name, ABSENT) for name in columns])

    @property
    def sha256(self) -> str | None:
        """Hash of the file, once all rows are read."""
        return self._source.sha256

    def close(self) -> None:
        """Close the file."""
        self._source.close()


def _objects(source: ByteStream) -> Iterator[dict[str, Cell] | BadRow]:
    for line in byte_lines(source, MAX_RECORD):
        if isinstance(line, int):
            yield BadRow(f"the line holds {line:,} bytes; at most {MAX_RECORD:,} are taken")
        elif line and not line.isspace():
            yield _object(line)


def _object(line: bytes) -> dict[str, Cell] | BadRow:
    damaged = False
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text, damaged = line.decode(errors="surrogateescape"), True
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return _BROKEN
    if not isinstance(content, dict):
        return _BROKEN
    checked: tuple[type, ...] = (float, dict, list)
    if damaged or len(line) > MAX_CELL:
        checked = (str, *checked)
    for key, value in content.items():
        if isinstance(value, checked):
            content[key] = _cell(key, value, damaged)
    return content


def _cell(key: str, value: Any, damaged: bool) -> Cell:
    if isinstance(value, dict | list):
        return BadCell(f"column {key!r} holds a nested value, not a cell")
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None if math.isnan(value) else str(value)
    fault = text_fault(value, f"column {key!r}", damaged, nul=False)
    return value if fault is None else BadCell(fault)


class JsonTable:
    """A list of objects, or one of the ways in which pandas writes a table, read whole."""

    format = "json"
    untyped = False

    def __init__(self, source: ByteStream) -> None:
        self.name = source.name
        self._source = source
        file = InputFile(source.name, source.read_all())
        self._frame = read_json(file, file.text())
        self.columns = tuple(self._frame.columns)

    def rows(self) -> Iterator[Cells | BadRow]:
        """Every object; None where one lacks a key."""
        yield from self._frame.itertuples(index=False, name=None)

    @property
    def sha256(self) -> str | None:
        """Hash of the file."""
        return self._source.sha256

    def close(self) -> None:
        """Close the file."""
        self._source.close()
