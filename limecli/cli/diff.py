"""`diff`: what changed between two audits of the same decisions."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from limecli.cli.console import Console
from limecli.cli.destinations import writing_atomically
from limecli.cli.gates import GateError
from limecli.cli.grouped import grouped
from limecli.cli.options import CommonOptions
from limecli.cli.pick import check_output
from limecli.errors import UsageError

if TYPE_CHECKING:
    from limecli.audit.compare import Comparison

_COLUMNS = ("id", "index", "changes", "old_status", "new_status", "old_prediction", "old_value",
            "new_prediction", "new_value", "old_top", "new_top", "sign", "weight", "fidelity",
            "reason")  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("diff")(grouped(diff))


def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Audit of before.", show_default=False)],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="Audit of the same decisions.", show_default=False)
    ],
    common: CommonOptions,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[:N|:N%],...",
            help="Exit 1 when more than N decisions [0] changed in prediction, top, sign, weight,"
            " fidelity, skipped or missing. Repeatable.",
        ),
    ] = None,
    prediction_change: Annotated[
        float | None,
        typer.Option(min=0, help="How far a value or score may move [beyond rounding; any score]."),
    ] = None,
    fidelity_change: Annotated[
        float, typer.Option(min=0, help="How far a decision's R² may move.")
    ] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write all of it here (.json, or .csv: a line for each changed decision).",
        ),
    ] = None,
) -> None:
    """Compare two audits decision by decision, within the errors of their weights."""
    from limecli.audit.compare import compare_audits
    from limecli.audit.compare.changes import Limits
    from limecli.report.jsonl import AuditFile

    console = common.console()
    allowed = [*_allowances(fail_on or ())]
    if output is not None:
        check_output(output, [old, new])
    limits = Limits(prediction_change, fidelity_change)
    with tempfile.TemporaryFile() as kept:
        with closing(AuditFile(old)) as before, closing(AuditFile(new)) as now:
            found = compare_audits(before, now, limits, kept)
        for note in found.notes:
            console.note(note)
        content = {"schema_version": 1, "old": old, "new": new, **found.as_dict()}
        if output is not None:
            parts = _csv if Path(output).suffix.lower() == ".csv" else _json
            with writing_atomically(output) as file:
                file.writelines(parts(content, kept))
        _show(content, kept, as_json, output, console)
    _check(allowed, found)


@dataclass(frozen=True)
class _Allowance:
    """How many decisions, or what share of them, may change in one way."""

    text: str
    kind: str
    most: float
    percent: bool

    def failure(self, found: Comparison) -> str | None:
        count = found.counts[self.kind]
        most = self.most / 100 * found.all if self.percent else self.most
        if count <= most:
            return None
        return f"{self.kind} changed in {count:,} of {found.all:,} decisions"


def _allowances(given: Iterable[str]) -> Iterator[_Allowance]:
    """Read --fail-on. Raises UsageError for what is no kind of change or no number."""
    from limecli.audit.compare.changes import KINDS

    for text in (part.strip() for one in given for part in one.split(",")):
        kind, colon, told = text.partition(":")
        digits = told.removesuffix("%")
        try:
            most = float(digits) if colon else 0.0
        except ValueError:
            most = -1.0
        if kind not in KINDS or not 0 <= most < float("inf"):
            raise UsageError(
                f"--fail-on {text}: not a kind of change, with a number if you like",
                f"{', '.join(KINDS)}; as {KINDS[0]}, {KINDS[0]}:10 or {KINDS[0]}:1%",
            )
        yield _Allowance(text, kind, most, told.endswith("%"))


def _check(allowed: Iterable[_Allowance], found: Comparison) -> None:
    """Raise GateError where more changed than is allowed."""
    failed = [(one, what) for one in allowed if (what := one.failure(found))]
    if failed:
        one, what = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise GateError(f"gate failed: {what}, --fail-on {one.text}{more}",
                        "-o FILE.csv lists every changed decision")  # fmt: skip


def _kept_lines(kept: BinaryIO) -> Iterator[bytes]:
    kept.seek(0)
    for line in kept:
        yield line.rstrip(b"\n")


def _json(content: Mapping[str, Any], kept: BinaryIO) -> Iterator[bytes]:
    """The whole as JSON, part by part: there may be a million changed decisions."""
    from limecli.report.json import json_bytes

    yield json_bytes(content, indent=2).removesuffix(b"\n}")
    yield b',\n  "changed": ['
    for number, line in enumerate(_kept_lines(kept)):
        yield (b",\n    " if number else b"\n    ") + line
    yield b"\n  ]\n}\n"


def _csv(_: Mapping[str, Any], kept: BinaryIO) -> Iterator[bytes]:
    """A header and a line for each changed decision."""
    from limecli.audit.plain import csv_lines

    return csv_lines(_COLUMNS, (_flat(json.loads(line)) for line in _kept_lines(kept)))


def _flat(item: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"id": item["id"], "index": item["index"]}
    told["changes"] = ", ".join(item["changes"])
    for name in ("old", "new"):
        side = item[name] or {"status": "missing"}
        told[f"{name}_status"] = side["status"]
        told[f"{name}_prediction"] = side.get("label")
        told[f"{name}_value"] = side.get("value")
        told[f"{name}_top"] = side.get("top")
        told["reason"] = side.get("reason") or told.get("reason")
    for kind in ("sign", "weight", "fidelity"):
        told[kind] = "; ".join(map(_moved, item.get(kind, ())))
    return told


def _moved(part: Mapping[str, Any]) -> str:
    """'age +0.31 -> -0.12', or '0.81 -> 0.42' of a fidelity."""
    from limecli.report.words import r2, weight

    a, b = part["old"], part["new"]
    if "feature" not in part:
        return f"{r2(a)} -> {r2(b)}"
    largest = max(abs(a), abs(b))
    return f"{part['feature']} {weight(a, largest)} -> {weight(b, largest)}"


def _show(
    content: Mapping[str, Any], kept: BinaryIO, as_json: bool, output: str | None, console: Console
) -> None:
    if as_json:
        for part in _json(content, kept):
            sys.stdout.write(part.decode())
    elif output is None:
        from limecli.audit.compare.told import lines

        sys.stdout.write("\n".join(lines(content, map(_loaded, _kept_lines(kept)))) + "\n")
    else:
        console.note(f"{output}: {content['decisions']['changed']:,} decisions changed")


def _loaded(line: bytes) -> dict[str, Any]:
    told = json.loads(line)
    return {**told, **_flat(told)}
