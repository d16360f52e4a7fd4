"""JSON Lines of an audit: an envelope, one line a decision, an end; each bound to the one before.

`previous` is the sha256 of the line before, without its newline. The end line holds that of the
last decision: whoever kept it can tell whether a line was edited or the tail cut off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from limecli.errors import ReportError
from limecli.report.json import SCHEMA_VERSION, json_bytes

END = "end"
_LONGEST = 1 << 28  # bytes of a line: anything longer is no audit of ours
_NO_AUDIT = "give an audit as limecli writes it: limecli audit tabular|text|image ... -o FILE.jsonl"


def line_of(content: Mapping[str, Any]) -> bytes:
    """One strict JSON object on one line, UTF-8, without its newline."""
    return json_bytes(content, indent=None)


class Chain:
    """Binds lines to the ones before them. `head` is the sha256 of the last line, `count` how many
    decisions there were.
    """

    def __init__(self, envelope: bytes) -> None:
        self.head, self.count = _hash(envelope), 0

    def linked(self, line: bytes) -> bytes:
        """A decision's line with `previous` as its last key."""
        found = b'%s,"previous":"%s"}' % (line[:-1], self.head.encode())
        self.passed(found)
        return found

    def passed(self, line: bytes) -> None:
        """Go on from a line that is bound already."""
        self.head, self.count = _hash(line), self.count + 1

    def end(self) -> bytes:
        """The last line."""
        return line_of({"status": END, "count": self.count, "sha256": self.head})


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


@dataclass(frozen=True)
class AuditLine:
    """A line of an audit: the bytes, and what they say. `number` counts from 1, the envelope."""

    number: int
    line: bytes
    content: Mapping[str, Any]


_DAMAGED = "what stands before it is whole; a stopped audit can be cut there and gone on with"


class AuditFile:
    """An audit, read a line at a time, its chain checked on the way.

    `envelope` holds what all decisions share. After `records()` came to its end, `end` is the end
    line, or None where it is missing: the run was not finished, or its tail was cut off. Raises
    ReportError for what is no audit, of a newer schema, or edited.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.end: Mapping[str, Any] | None = None
        self.torn = b""  # an unfinished last line
        try:
            self._file: BinaryIO = Path(path).open("rb")  # noqa: SIM115 - read line by line
        except FileNotFoundError:
            raise ReportError(f"{path}: no such audit", "check the path") from None
        except OSError as error:
            raise ReportError(f"{path} cannot be read: {error.strerror or error}") from None
        line = self._file.readline(_LONGEST)
        self.envelope_line = line.removesuffix(b"\n")
        try:
            self.envelope = self._envelope(line)
        except ReportError:
            self._file.close()
            raise
        self.chain = Chain(self.envelope_line)

    def _envelope(self, line: bytes) -> Mapping[str, Any]:
        try:
            whole = line.endswith(b"\n")
            content = json.loads(line, parse_constant=_no_number) if whole else None
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict) or type(content.get("schema_version")) is not int:
            raise ReportError(f"{self.path} is no audit: its first line is no envelope", _NO_AUDIT)
        if content["schema_version"] > SCHEMA_VERSION:
            raise ReportError(
                f"{self.path} is an audit of schema {content['schema_version']}; this limecli reads"
                f" up to {SCHEMA_VERSION}",
                "update limecli",
            )
        if "explanations" in content or not isinstance(content.get("settings"), dict):
            raise ReportError(f"{self.path} is a report, but no audit", _NO_AUDIT)
        return content

    def records(self) -> Iterator[AuditLine]:
        """Every decision in its order, the end line not among them."""
        for number, line in enumerate(iter(lambda: self._file.readline(_LONGEST), b""), start=2):
            if not line.endswith(b"\n"):
                self.torn = line
                return
            if self.end is not None:
                raise ReportError(f"{self.path}, line {number}: there is more after its end")
            bare = line[:-1]
            content = self._content(bare, number)
            if content["status"] == END:
                self._check_end(content, number)
                self.end = content
                continue
            if content.get("previous") != self.chain.head:
                raise ReportError(
                    f"{self.path}, line {number}: a line before it was edited, removed or added"
                    " (it is bound to another one)",
                    "the hash chain tells of every change since the audit was made",
                )
            self.chain.passed(bare)
            yield AuditLine(number, bare, content)

    def _content(self, line: bytes, number: int) -> Mapping[str, Any]:
        try:
            content = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict) or content.get("status") not in ("ok", "skipped", END):
            raise ReportError(
                f"{self.path}, line {number} is damaged: no line of an audit", _DAMAGED
            )
        return content

    def _check_end(self, content: Mapping[str, Any], number: int) -> None:
        if (content.get("count"), content.get("sha256")) != (self.chain.count, self.chain.head):
            raise ReportError(
                f"{self.path}, line {number}: the end tells of {content.get('count')} decisions and"
                " another last hash: lines before it were edited, removed or added"
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()
