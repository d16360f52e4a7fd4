"""From an input of any size to an audit: prepare, explain, write, sum up, judge."""

from __future__ import annotations

import signal
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from limecli.cli.audit_inputs import Opened, Source
from limecli.cli.audit_options import AuditOptions
from limecli.cli.audit_outputs import Outputs, suffix
from limecli.cli.destinations import write_atomically
from limecli.cli.gates import GateError, GateOptions, check_background
from limecli.cli.options import CommonOptions, Engine, LimeOptions, ModelOptions
from limecli.cli.reporting import describe_background, describe_model, describe_settings
from limecli.cli.run import Run
from limecli.cli.settings import lime_settings, load_options
from limecli.errors import InputError, UsageError
from limecli.report.words import clean

if TYPE_CHECKING:
    from limecli.audit.backends import Parallelism
    from limecli.audit.gates import Gates
    from limecli.audit.job import Job
    from limecli.audit.journal import Sink
    from limecli.audit.prepare import Settled
    from limecli.types import LimeSettings

_NUM_SAMPLES = 1 << 14  # of rows, which share them
_MOST_PARCEL = 1 << 30  # bytes of a model that is sent to workers elsewhere
_TERMINATED = 143


@dataclass(frozen=True)
class Options:
    """The groups of options that all audits share."""

    common: CommonOptions
    model: ModelOptions
    lime: LimeOptions
    audit: AuditOptions
    gates: GateOptions
    require_background: bool = False


@dataclass(frozen=True)
class _Prepared:
    """What is known before the first decision is explained."""

    run: Run
    opened: Opened
    settled: Settled
    envelope: Mapping[str, Any]


def audit_and_report(
    model: str, source: Source, options: Options, preprocess: str | None = None
) -> None:
    """Explain all of a source, a line each, and sum it up. Raises GateError at the end where it
    does not reach what is demanded.
    """
    if options.lime.engine is Engine.lime:
        raise UsageError(
            "--engine lime: audits are computed by limecli's own engine",
            "limecli verify AUDIT --against lime checks them with lime's",
        )
    gates = _gates(options)
    outputs = Outputs.of(options.audit, [*source.paths, model])
    how = options.audit.parallelism()
    prepared = _prepared(model, source, options, preprocess)
    with _terminated():
        content = _audited(prepared, options, outputs, gates, how)
    failures = gates.failures(content)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise GateError(f"gate failed: {failures[0]}{more}", "the summary has all of them")


def _gates(options: Options) -> Gates:
    from limecli.audit.gates import Gates

    demanded = options.gates
    return Gates(
        demanded.min_fidelity, demanded.min_stability, demanded.max_gap,
        options.audit.max_skipped, tuple(options.audit.fail_on or ()),
    )  # fmt: skip


def _prepared(model: str, source: Source, options: Options, preprocess: str | None) -> _Prepared:
    from limecli.audit.envelope import envelope
    from limecli.audit.prepare import settled
    from limecli.report.caveats import of_audit

    console = options.common.console()
    load = load_options(source.kind, options.model, options.lime, options.audit, preprocess)
    run = Run(model, console, load)
    opened = source.open(run, options.audit.mask or ())
    if options.require_background:
        check_background(opened.background)
    default = _NUM_SAMPLES if source.kind == "tabular" else None
    lime = options.lime
    requested = lime_settings(source.kind, lime, run.predictor, opened.own, default, flips=0)
    with console.progress() as progress:
        progress.total = requested.num_samples
        job = _job(run, opened, requested)
        found = settled(job, run.predictor, opened.first, opened.real, progress)
    run.notes(found.notes)
    told = describe_settings(found.told, requested, run.predictor, opened.extra)
    if found.same_digits:  # then they change nothing
        for key in ("batch_size", "max_memory"):
            told.pop(key, None)
            told["requested"].pop(key, None)
    elif requested.batch_size or requested.max_memory:
        console.note(
            "the last digits of this model depend on how many samples it gets at a time:"
            " --batch-size and --max-memory are part of the settings"
        )
    background = describe_background(opened.background)
    first = envelope(describe_model(run), background, told, opened.read, of_audit(told, background))
    return _Prepared(run, opened, found, first)


def _job(run: Run, opened: Opened, settings: LimeSettings) -> Job:
    from limecli.audit.job import Job

    predictor = run.predictor
    return Job(
        uuid.uuid4().hex, predictor.path, predictor.sha256, run.load, predictor.class_names,
        opened.reader, settings, masked=frozenset(opened.extra.get("mask") or ()),
    )  # fmt: skip


def _audited(
    prepared: _Prepared, options: Options, outputs: Outputs, gates: Gates, how: Parallelism
) -> Mapping[str, Any]:
    """Explain everything, write it, and return the summary. What is written when something fails
    stays for `--resume`.
    """
    from limecli.audit.journal import Journal
    from limecli.audit.run import Told, run_audit
    from limecli.audit.summary import Summary
    from limecli.audit.worker import seat
    from limecli.report.html import LowestFidelity

    run, opened, console = prepared.run, prepared.opened, prepared.run.console
    job = replace(prepared.settled.job, parcel=_parcel(run, how))
    seat(job, run.unbound)
    summary, lowest = Summary(prepared.envelope, gates), LowestFidelity()

    def record(content: Mapping[str, Any]) -> None:
        summary.add(content)
        lowest.add(content)

    sink = outputs.sink(prepared.envelope, options.audit.resume, console)
    try:
        with console.progress("decisions") as progress:
            told = Told(record, console.note, progress)
            counts = run_audit(job, opened.entries, sink, how, told, options.audit.strict)
        _check_unchanged(opened)
        sink.finish()
        outputs.settle(sink)
    except BaseException:
        if isinstance(sink, Journal) and sink.written and not opened.changed():
            console.note(f"{sink.chain.count:,} decisions are kept: --resume goes on with them")
        raise
    finally:
        sink.close()
    content = summary.content({**counts.rates(), "backend": how.backend, "jobs": how.jobs})
    _write_summaries(outputs, content, lowest, prepared.envelope, sink)
    _tell(content, sink, options)
    _check_any(content)
    return content


def _check_unchanged(opened: Opened) -> None:
    if opened.changed():
        raise InputError(
            f"{opened.read['path']} changed while it was read", "audit a copy that nobody writes to"
        )


def _parcel(run: Run, how: Parallelism) -> bytes | None:
    """The model's bytes, for workers on other machines."""
    path = Path(run.predictor.path)
    if how.scheduler is None or not path.is_file() or path.stat().st_size > _MOST_PARCEL:
        return None
    return path.read_bytes()


def _write_summaries(
    outputs: Outputs,
    content: Mapping[str, Any],
    lowest: Any,
    envelope: Mapping[str, Any],
    sink: Sink,
) -> None:
    from limecli.report.html import summary_page
    from limecli.report.json import json_bytes

    end = {"status": "end", "count": sink.chain.count, "sha256": sink.chain.head}
    for path in outputs.summaries:
        if suffix(path) == ".json":
            data = json_bytes(content, indent=2) + b"\n"
        else:
            data = summary_page(content, lowest.decisions(), envelope, end)
        write_atomically(path, data)


def _tell(content: Mapping[str, Any], sink: Sink, options: Options) -> None:
    """The summary and the last hash, on stderr."""
    from limecli.audit.summary.lines import summary_lines

    if options.common.quiet:
        return
    if options.common.error_format.value == "json":
        options.common.console().note(f"last hash {sink.chain.head}")
        return
    lines = [*summary_lines(content), f"last hash {sink.chain.head}",
             "  it shows edits only if it is kept elsewhere; not signed"]  # fmt: skip
    sys.stderr.write("".join(f"{clean(line)}\n" for line in lines))


def _check_any(content: Mapping[str, Any]) -> None:
    """Raise InputError where nothing at all could be explained."""
    counts = content["counts"]
    if counts["skipped"] and not counts["explained"]:
        first = content["skipped"]["by_reason"][0]["reason"]
        raise InputError(f"all {counts['skipped']:,} were skipped: {first}")


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends the run in good order, as Ctrl-C does."""

    def end(*_: Any) -> NoReturn:
        raise SystemExit(_TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
