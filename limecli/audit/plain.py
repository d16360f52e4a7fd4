"""Plain text in columns: for terminals, and as CSV. Text from files is data: it steers nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from limecli.report.words import clean

_FORMULA = ("=", "+", "-", "@")  # what a spreadsheet would run
_WIDEST = 60  # characters of a cell


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Lines with columns of even width, two blanks between; those in `right` end at one place."""
    from rich.cells import cell_len

    cells = [[cut(clean(cell)) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        parts = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - cell_len(cell))
            parts.append(blank + cell if place in right else cell + blank)
        lines.append("  ".join(parts).rstrip())
    return lines


def cut(text: str, width: int = _WIDEST) -> str:
    """At most so many characters of a terminal."""
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def share(count: float, of: float) -> str:
    """A percentage; never 0 or 100 for what is not all or nothing."""
    if not of or count in (0, of):
        return "100 %" if count else "0 %"
    percent = 100 * count / of
    return "< 0.1 %" if percent < 0.05 else "> 99.9 %" if percent > 99.95 else f"{percent:.1f} %"


def csv_lines(columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """A header, and a line of CSV for each mapping; as safe for spreadsheets as a CSV report."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for line in lines:
        yield _taken(buffer)
        writer.writerow([_safe(line.get(name)) for name in columns])
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    found = buffer.getvalue().encode("utf-8", "backslashreplace")
    buffer.seek(0)
    buffer.truncate()
    return found


def _safe(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = clean(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
