"""CSV: one line per instance, label and feature."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from limecli.report import words
from limecli.report.tidy import COLUMNS, report_lines
from limecli.types import Report

_FORMULA = ("=", "+", "-", "@")


class CsvFormat:
    """UTF-8 with a header line. Text that a spreadsheet would run as a formula gets a leading '."""

    suffixes = (".csv",)
    one_each = False
    binary = False

    def render(self, report: Report) -> bytes:
        """All lines; a skipped instance has one, with its reason."""
        buffer = io.BytesIO()
        write_csv(report_lines(report), buffer)
        return buffer.getvalue()


def write_csv(lines: Iterable[Mapping[str, Any]], file: BinaryIO) -> None:
    """Write a header and tidy lines as they come; `file` stays open."""
    text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            [_text(cell) if isinstance(cell, str) else cell for cell in map(line.get, COLUMNS)]
            for line in lines
        )
    finally:
        text.detach()  # or it would close the file


def _text(text: str) -> str:
    if not text.isprintable():
        # Control characters would steer a terminal that shows the file; a cell may have line
        # breaks.
        text = "\n".join(words.clean(line) for line in text.split("\n"))
    return "'" + text if text.startswith(_FORMULA) else text
