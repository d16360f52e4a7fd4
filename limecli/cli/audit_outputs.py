"""Where an audit goes: checked before anything is computed, put in its place at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limecli.cli.console import Console
from limecli.cli.destinations import check_not_read, check_writable
from limecli.errors import UsageError

if TYPE_CHECKING:
    from limecli.audit.journal import Journal, Sink
    from limecli.cli.audit_options import AuditOptions

LINES = ".jsonl"
TABLES = (".csv", ".parquet")
_SUMMARIES = (".json", ".html")
_STDOUT = ("-", "/dev/stdout")


@dataclass(frozen=True)
class Outputs:
    """`main` is where the lines are written; None for standard output. `tables` and `summaries`
    are made from them at the end.
    """

    main: str | None
    tables: tuple[str, ...]
    summaries: tuple[str, ...]

    @classmethod
    def of(cls, options: AuditOptions, read: Sequence[str]) -> Outputs:
        """Check the options; `read` are files that must stay as they are.

        Raises UsageError for suffixes that are not known and for --resume without a file,
        ReportError for places that cannot be written.
        """
        known = (LINES, *TABLES, ".html")
        for path in options.files:
            if suffix(path) not in known and path not in _STDOUT and not is_stream(path):
                raise UsageError(
                    f"-o {path}: no audit is written as {suffix(path) or 'a file without suffix'}",
                    f"known: {' '.join(known)}",
                )
        for path in options.summary or ():
            if suffix(path) not in _SUMMARIES:
                raise UsageError(f"--summary {path}: a summary is .json or .html")
        pages = [path for path in options.files if suffix(path) == ".html"]
        tables = [path for path in options.files if suffix(path) in TABLES]
        lines = [path for path in options.files if path not in (*pages, *tables, *_STDOUT)]
        if len(lines) > 1:
            raise UsageError(
                f"-o {lines[0]} and -o {lines[1]}: the lines are written once", "copy the file"
            )
        for path in (*lines, *tables, *pages, *(options.summary or ())):
            check_writable(path)
            check_not_read(path, read)
        if any(suffix(path) == ".parquet" for path in tables):
            from limecli.report.parquet import check_parquet

            check_parquet()
        main = next(iter([*lines, *tables, *pages]), None)
        if main is not None and not is_stream(main):
            main = os.path.realpath(main)  # a link stays one
        if options.resume and (main is None or is_stream(main)):
            raise UsageError("--resume needs a file to go on with: -o FILE.jsonl")
        return cls(main, tuple(tables), (*pages, *(options.summary or ())))

    def sink(self, envelope: Mapping[str, Any], resume: bool, console: Console) -> Sink:
        """What takes the lines; the first is written, or was. Raises UsageError for a file that a
        stopped run left, unless `resume`; then whatever differs from what it began with.
        """
        from limecli.audit.journal import Stream
        from limecli.report.jsonl import line_of

        if self.main is None:
            return Stream(sys.stdout.buffer, line_of(envelope))
        if is_stream(self.main):
            return Stream(Path(self.main).open("wb", buffering=0), line_of(envelope))
        journal = _opened(self.main, resume)
        try:
            _begin(journal, self.main, envelope, resume, console)
        except BaseException:
            journal.close()
            raise
        return journal

    def settle(self, sink: Sink) -> None:
        """Write the tables; give the lines their name or, where nobody wants them, remove them."""
        from limecli.audit.journal import Journal
        from limecli.cli.render import write_table

        if not isinstance(sink, Journal) or self.main is None:
            return
        for path in self.tables:
            write_table(sink.path, path)
        if suffix(self.main) == LINES:
            sink.named(self.main)
        else:
            Path(sink.path).unlink()


def suffix(path: str) -> str:
    """In small letters, with its dot."""
    return Path(path).suffix.lower()


def is_stream(path: str) -> bool:
    """Whether nothing can be appended to it later."""
    from limecli.audit import journal

    return journal.is_stream(path)


def _opened(path: str, resume: bool) -> Journal:
    """The journal of a file; with `resume` the file itself if it is finished."""
    from limecli.audit.journal import SUFFIX, Journal

    partial = path + SUFFIX
    there = _is_there(path, resume) and not Path(partial).exists()
    return Journal(path if there and _is_finished(path) else partial)


def _is_there(path: str, resume: bool) -> bool:
    return resume and suffix(path) == LINES and Path(path).is_file()


def _is_finished(path: str) -> bool:
    """Whether a file's last line is the end of an audit."""
    with Path(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4096))
        last = file.read().splitlines(keepends=True)[-1:]
    return any(x.startswith(b'{"status":"end"') and x.endswith(b"\n") for x in last)


def _begin(
    journal: Journal, path: str, envelope: Mapping[str, Any], resume: bool, console: Console
) -> None:
    from limecli.audit.envelope import check_same
    from limecli.report.jsonl import AuditFile, line_of

    if journal.is_empty and _is_there(path, resume):  # its tail was cut off
        with closing(AuditFile(path)) as cut:
            check_same(cut.envelope, envelope, path)
        journal.take(path)
    left = journal.envelope()
    if left is not None and resume:
        check_same(left.envelope, envelope, journal.path)
        finished = journal.path == path
        what = "is finished: summed up again" if finished else "is there: going on with it"
        console.note(f"{journal.path} {what}")
        return
    if resume:
        console.note(f"nothing to go on with: {path} begins anew")
    if left is not None and next(left.records(), None) is not None:
        raise UsageError(
            f"{journal.path} holds an audit that was stopped",
            "go on with it: --resume; or remove it to begin anew",
        )
    journal.begin(line_of(envelope))
