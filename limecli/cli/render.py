"""`render`: an audit or a JSON report as another file, without the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from limecli.cli.console import Console
from limecli.cli.destinations import (
    check_not_read,
    check_writable,
    write_atomically,
    writing_atomically,
)
from limecli.cli.grouped import grouped
from limecli.cli.options import CommonOptions
from limecli.errors import ReportError, UsageError

if TYPE_CHECKING:
    from limecli.report.jsonl import AuditFile
    from limecli.report.reading import Recorded

_TABLES = (".csv", ".parquet")
_SUMMARIES = (".html", ".json")
_FIRST_LINE = 1 << 28  # bytes; an envelope is shorter
_WRONG = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)
_Taken = TypeVar("_Taken")


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("render")(grouped(render))


def render(
    report: Annotated[
        str,
        typer.Argument(
            metavar="REPORT",
            help="Audit (JSONL) or JSON report of limecli; - for a report on stdin.",
            show_default=False,
        ),
    ],
    common: CommonOptions,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write a file, format by suffix, repeatable: .csv .parquet (one line per decision,"
            " label and feature); of an audit also .html .json (its summary).",
        ),
    ] = None,
) -> None:
    """Write an audit or a JSON report as a table, a page or a summary."""
    console = common.console()
    files = {path: Path(path).suffix.lower() for path in output or ()}
    audited = _is_audit(report)
    _check(report, files, (*_TABLES, *_SUMMARIES) if audited else _TABLES)
    if audited:
        _render_audit(report, files, console)
    else:
        _render_report(report, files)


def _is_audit(path: str) -> bool:
    """Whether the first line of a file is a whole object without explanations: an envelope."""
    if path == "-":
        return False
    if ".jsonl" in Path(path).suffixes:
        return True
    try:
        if not Path(path).is_file():  # a pipe can be read once only
            return False
        with Path(path).open("rb") as file:
            content = json.loads(file.readline(_FIRST_LINE))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "explanations" not in content


def _check(report: str, files: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Raise UsageError or ReportError for what cannot be written, before anything is read."""
    if not files:
        raise UsageError("nothing to write", f"say where: -o FILE, with one of {' '.join(known)}")
    for path, suffix in files.items():
        if suffix not in known:
            what = "an audit" if ".html" in known else "a report"
            raise UsageError(
                f"-o {path}: {what} is not rendered as {suffix or 'a file without suffix'}",
                f"known: {' '.join(sorted(known))}",
            )
        check_writable(path)
        check_not_read(path, [report])
    if ".parquet" in files.values():
        from limecli.report.parquet import check_parquet

        check_parquet()


def _write_table(
    path: str, suffix: str, lines: Iterator[dict[str, Any]], envelope: Mapping[str, Any]
) -> None:
    from limecli.report.csv import write_csv
    from limecli.report.parquet import write_parquet

    with writing_atomically(path) as file:
        if suffix == ".csv":
            write_csv(lines, file)
        else:
            write_parquet(lines, file, envelope)


def _render_report(path: str, files: Mapping[str, str]) -> None:
    from limecli.report.parquet import report_envelope
    from limecli.report.reading import read_report

    report = read_report(path)
    versions = dict(report.versions)
    provenance = {"limecli": versions.pop("limecli"), "versions": versions}
    envelope = report_envelope(report.model, report.background, report.settings, provenance)
    for output, suffix in files.items():
        _write_table(output, suffix, _report_lines(report), envelope)


def _report_lines(report: Recorded) -> Iterator[dict[str, Any]]:
    from limecli.report.tidy import tidy_lines

    for item in report.explanations:
        yield from tidy_lines(item, report.kind, report.model["task"])


def write_table(audit_path: str, path: str) -> AuditFile:
    """An audit as a table, its format by the suffix of `path`; the audit, read to its end."""
    with closing(_opened(audit_path)) as audit:
        _write_table(path, Path(path).suffix.lower(), _audit_lines(audit), audit.envelope)
    return audit


def _render_audit(path: str, files: Mapping[str, str], console: Console) -> None:
    """Every table is a pass over the audit of its own; its summaries share one."""
    for output, suffix in files.items():
        if suffix in _TABLES:
            _note_end(write_table(path, output), console)
    summaries = {output: suffix for output, suffix in files.items() if suffix in _SUMMARIES}
    if summaries:
        with closing(_opened(path)) as audit:
            _write_summaries(audit, summaries)
            _note_end(audit, console)


def _note_end(audit: AuditFile, console: Console) -> None:
    if audit.end is None:
        console.note(
            f"{audit.path}: unfinished or cut: {audit.chain.count:,} decisions, no end line"
        )


def _opened(path: str) -> AuditFile:
    """The audit. Raises ReportError where its first line lacks what everything here rests on."""
    from limecli.report.jsonl import AuditFile

    audit = AuditFile(path)
    envelope = audit.envelope
    model, parts = envelope.get("model"), ("provenance", "background", "input")
    if (
        not isinstance(model, dict)
        or model.get("task") not in ("classification", "regression")
        or envelope["settings"].get("kind") not in ("tabular", "image", "text")
        or not all(isinstance(envelope.get(part), dict | None) for part in parts)
    ):
        audit.close()
        raise ReportError(
            f"{path} is no audit that limecli wrote: its first line is not whole",
            "make it again: limecli audit",
        )
    return audit


def _audit_lines(audit: AuditFile) -> Iterator[dict[str, Any]]:
    from limecli.report.tidy import tidy_lines

    envelope = audit.envelope
    kind, task = envelope["settings"]["kind"], envelope["model"]["task"]
    sentences = envelope.get("caveats") or ()
    for lines in _each(audit, lambda record: tidy_lines(record, kind, task, sentences)):
        yield from lines


def _each(audit: AuditFile, take: Callable[[Mapping[str, Any]], _Taken]) -> Iterator[_Taken]:
    """What `take` makes of every record. Raises ReportError for one that limecli never writes."""
    from limecli.audit.places import malformed

    for record in audit.records():
        try:
            found = take(record.content)
        except _WRONG:
            raise malformed(audit.path, f"line {record.number}") from None
        yield found


def _write_summaries(audit: AuditFile, files: Mapping[str, str]) -> None:
    from limecli.audit.gates import Gates
    from limecli.audit.summary import Summary
    from limecli.report.html import LowestFidelity, summary_page
    from limecli.report.json import json_bytes

    summary, lowest = Summary(audit.envelope, Gates()), LowestFidelity()

    def add(record: Mapping[str, Any]) -> None:
        summary.add(record)
        lowest.add(record)

    for _ in _each(audit, add):
        pass
    content = summary.content()
    for output, suffix in files.items():
        if suffix == ".json":
            data = json_bytes(content, indent=2) + b"\n"
        else:
            data = summary_page(content, lowest.decisions(), audit.envelope, audit.end)
        write_atomically(output, data)
