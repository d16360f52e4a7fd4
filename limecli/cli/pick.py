"""`pick`: the few decisions of an audit that show most of what the model goes by."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limecli.cli.console import Console
from limecli.cli.destinations import check_not_read, check_writable, write_atomically
from limecli.cli.grouped import grouped
from limecli.cli.options import CommonOptions
from limecli.errors import UsageError

if TYPE_CHECKING:
    from limecli.audit.pick import Pick
    from limecli.report.jsonl import AuditFile

_SHOWN = 5  # features of a decision on the terminal
_COLUMNS = ("rank", "id", "index", "prediction", "value", "label", "adds", "covered", "features")


class By(StrEnum):
    """What counts as a feature of a table."""

    condition = "condition"
    feature = "feature"


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("pick")(grouped(pick))


def pick(
    audit: Annotated[
        str, typer.Argument(metavar="AUDIT", help="Audit of limecli.", show_default=False)
    ],
    common: CommonOptions,
    number: Annotated[
        int, typer.Option("-n", "--number", min=1, help="How many decisions to choose.")
    ] = 10,
    label: Annotated[
        str | None,
        typer.Option(
            "-l", "--label", metavar="NAME", help="Take this label's weights [a decision's first]."
        ),
    ] = None,
    by: Annotated[
        By,
        typer.Option(help="Count a column's bins and categories as features, or whole columns."),
    ] = By.condition,
    significant: Annotated[
        bool, typer.Option("--significant", help="Count weights whose interval leaves out 0 only.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Take any of equal decisions, not the first in the file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write .json or .csv here."),
    ] = None,
) -> None:
    """Choose decisions whose explanations together cover the most important features."""
    from limecli.audit.pick import pick as chosen
    from limecli.audit.places import unfinished
    from limecli.report.jsonl import AuditFile

    console = common.console()
    if output is not None:
        check_output(output, [audit])
    with closing(AuditFile(audit)) as file:
        found = chosen(file, number, label, by.value, significant, seed)
    for note in (unfinished(file), *_notes(found, number, label)):
        if note:
            console.note(note)
    content = _content(found, file)
    if output is not None:
        csv = Path(output).suffix.lower() == ".csv"
        write_atomically(output, _csv(content) if csv else _json(content))
    _show(content, as_json, output, console)


def check_output(output: str, read: list[str]) -> None:
    """Raise UsageError or ReportError for what cannot be written: .json and .csv can."""
    suffix = Path(output).suffix.lower()
    if suffix not in (".json", ".csv"):
        raise UsageError(f"-o {output}: no format has the suffix {suffix or '(none)'}",
                         "known: .csv .json")  # fmt: skip
    check_writable(output)
    for path in read:
        check_not_read(output, [path])


def _notes(found: Pick, number: int, label: str | None) -> Iterator[str]:
    matrix, decisions = found.matrix, len(found.matrix.offsets)
    if not found.importance.any():
        yield "no decision has a weight other than 0: the first ones are shown"
        return
    full = found.saturated()
    if full is not None:
        one = "one decision has" if full == 1 else f"{full} decisions have"
        yield (
            f"{one} all features of the audit already: the others are those with the largest sum of"
            " |weight|"
        )
    if decisions < number:
        yield f"there are no more than {decisions} decisions to choose from"
    if matrix.others:
        what = f"label {label!r}" if label is not None else "label"
        yield f"{matrix.others} decisions do not explain this {what} and were left out"


def _content(found: Pick, file: AuditFile) -> dict[str, Any]:
    matrix = found.matrix
    return {
        "schema_version": 1,
        "audit": file.path,
        "by": found.by,
        "decisions": len(matrix.offsets),
        "skipped": matrix.skipped,
        "without_label": matrix.others,
        "features": len(matrix.names),
        "cover_everything": found.saturated(),
        "picked": list(found.told),
    }


def _json(content: Mapping[str, Any]) -> bytes:
    from limecli.report.json import json_bytes

    return json_bytes(content, indent=2) + b"\n"


def _csv(content: Mapping[str, Any]) -> bytes:
    """A line for each picked decision."""
    from limecli.audit.plain import csv_lines

    lines = ({**item, "features": _features(item, None)} for item in content["picked"])
    return b"".join(csv_lines(_COLUMNS, lines))


def _features(item: Mapping[str, Any], most: int | None) -> str:
    from limecli.report.words import weight

    parts = item["features"][:most]
    largest = max((abs(part["weight"]) for part in parts), default=0.0)
    return ", ".join(
        f"{part['condition'] or part['feature']} {weight(part['weight'], largest)}"
        for part in parts
    )


def _show(content: Mapping[str, Any], as_json: bool, output: str | None, console: Console) -> None:
    if as_json:
        sys.stdout.write(_json(content).decode())
    elif output is None:
        sys.stdout.write("\n".join(_lines(content)) + "\n")
    else:
        console.note(f"{output}: {len(content['picked'])} decisions picked")


def _lines(content: Mapping[str, Any]) -> Iterator[str]:
    from limecli.audit.plain import aligned
    from limecli.report.words import clean, number

    yield (
        f" {clean(content['audit'])}   {len(content['picked'])} of {content['decisions']:,}"
        f" decisions, {content['features']:,} {content['by']}s"
    )
    yield ""
    told = [
        [str(item["rank"]), item["id"], item["prediction"], number(item["value"]),
         f"{item['adds']:.1%}", f"{item['covered']:.1%}"]
        for item in content["picked"]
    ]  # fmt: skip
    heads = aligned([["", "decision", "decides", "", "adds", "covered"], *told], right=(0, 3, 4, 5))
    yield f" {heads[0]}  because of"
    for line, item in zip(heads[1:], content["picked"], strict=True):
        yield f" {line}  {clean(_features(item, _SHOWN))}"
    yield ""
    yield (
        "  adds, covered: share of the importance of all features, sqrt(sum of |weight|) over all"
        " decisions (Ribeiro et al. 2016, algorithm 2)"
    )
