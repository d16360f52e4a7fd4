"""Where the decisions of an audit stand in its file, so that some can be read again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

from limecli.errors import ReportError
from limecli.report.jsonl import AuditFile, AuditLine


def placed(audit: AuditFile) -> Iterator[tuple[int, AuditLine]]:
    """Every decision with the byte that its line begins at."""
    offset = len(audit.envelope_line) + 1
    for line in audit.records():
        yield offset, line
        offset += len(line.line) + 1


def unfinished(audit: AuditFile) -> str:
    """A sentence on an audit, read to its end, that has no end line; else nothing."""
    if audit.end is not None:
        return ""
    torn = " and breaks off within a line" if audit.torn else ""
    return f"{audit.path} has no end line{torn}: the run was not finished, or its tail was cut off"


def malformed(path: str, where: str) -> ReportError:
    """What to raise for a line that is JSON, but not what limecli writes."""
    return ReportError(f"{path}, {where}: not a decision as limecli writes it")


class Again:
    """Reads single decisions of an audit again. Raises ReportError where that is impossible."""

    def __init__(self, path: str) -> None:
        self.path = path
        if not Path(path).is_file():
            raise ReportError(
                f"{path} cannot be read twice: it is no file", "save it to a file first"
            )
        self._file: BinaryIO = Path(path).open("rb")  # noqa: SIM115 - closed by the with statement

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def at(self, offset: int) -> Mapping[str, Any]:
        """The decision that begins at this byte."""
        self._file.seek(offset)
        try:
            content = json.loads(self._file.readline())
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise ReportError(f"{self.path} changed while it was read", "compare it again")
        return content
