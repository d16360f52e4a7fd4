"""`verify` for audits: every line, the files by their hashes, a sample of decisions computed again.

An audit may come from anybody, as a report may: see `replay.py`. Its query is not asked again on
its word either.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limecli.audit.job import Job
from limecli.audit.replay import (
    Beside,
    Checked,
    Decision,
    at,
    beside,
    explained_again,
    not_there,
    recorded_envelope,
    sample,
    unmasked,
    with_records,
)
from limecli.cli.audit_inputs import Opened
from limecli.cli.console import Console
from limecli.cli.recalled import Recalled, RecalledAudit, is_there
from limecli.cli.replay import Given, Replay
from limecli.cli.run import Prepared, Run
from limecli.cli.verify import (
    background_differences,
    compare_all,
    description_differences,
    hash_difference,
    model_differences,
    other_versions,
)
from limecli.errors import LimecliError, ReportError, UsageError
from limecli.report.differences import Compared, Difference
from limecli.report.jsonl import AuditFile
from limecli.report.reading import Recorded
from limecli.report.verdict import AuditVerdict, Tally

if TYPE_CHECKING:
    from limecli.audit.worker import Worker
    from limecli.types import LimeSettings

_SAMPLE, _LIMES_SAMPLE = 100, 10
_MOST_BY_LIME = 1000
_FIRST_LINE = 1 << 28  # bytes; an envelope is shorter
Taken = tuple[Decision, Mapping[str, Any] | None, Any]


@dataclass(frozen=True)
class Asked:
    """What only audits can be asked. `sample` is a number, "all", or None for the default."""

    against: str | None = None
    hashes_only: bool = False
    last_hash: str | None = None
    sample: str | None = None
    seed: int = 0
    query: str | None = None
    database: str | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for what makes no sense."""
        if (self.query is None) != (self.database is None):
            raise UsageError("--query and --database go together")
        told = self.last_hash or "0" * 64
        if len(told) != 64 or set(told.lower()) - set("0123456789abcdef"):
            raise UsageError(f"--last-hash {told[:80]}: a sha256 has 64 hexadecimal digits")
        size = self.size
        if self.against == "lime" and (size is None or size > _MOST_BY_LIME):
            raise UsageError(
                f"--sample {self.sample}: lime explains {_MOST_BY_LIME:,} decisions at most,"
                " each with samples of its own"
            )

    @property
    def size(self) -> int | None:
        """How many decisions to compute again, None for all. Raises UsageError."""
        if self.sample == "all":
            return None
        if self.sample is None:
            return _LIMES_SAMPLE if self.against == "lime" else _SAMPLE
        if not (self.sample.isdecimal() and 0 < int(self.sample) < 10**9):
            raise UsageError(f"--sample {self.sample[:80]}: give a number, or all")
        return int(self.sample)


def is_audit(path: str) -> bool:
    """Whether a file is called .jsonl, or its first line is that of an audit."""
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
    return isinstance(content, dict) and "settings" in content and "explanations" not in content


@dataclass(frozen=True)
class _Audit:
    """An audit that was read to its end. `picked` are the decisions to compute again, None for all;
    `read` is what its envelope says of the input.
    """

    path: str
    report: Recorded
    read: Mapping[str, Any]
    finished: bool
    first: Decision | None
    picked: list[Decision] | None

    @property
    def wanted(self) -> Iterable[Decision]:
        """In the order of the input."""
        return Checked(AuditFile(self.path)).decisions() if self.picked is None else self.picked


def verdict_on_audit(path: str, given: Given, asked: Asked, console: Console) -> AuditVerdict:
    """Check the lines, then the files or a sample of the decisions.

    What keeps decisions from being computed again is only told where the lines are wrong anyway.
    """
    file = AuditFile(path)
    checked, report = Checked(file), recorded_envelope(file)
    size = 0 if asked.hashes_only else asked.size
    picked = sample(checked.decisions(), size, asked.seed) if size else None
    if not size:
        _ = sum(1 for _ in checked.decisions())
    if asked.last_hash is not None and asked.last_hash.lower() != checked.last_hash:
        checked.faults.append(f"the last hash is not the one that was kept, {asked.last_hash}")
        checked.wrong += 1
    audit = _Audit(path, report, file.envelope["input"], checked.finished, checked.first, picked)
    base = AuditVerdict(
        path, report.kind, None, checked.count, checked.last_hash, tuple(checked.faults),
        checked.wrong, versions=other_versions(report.versions), kept=asked.last_hash is not None,
    )  # fmt: skip
    if asked.hashes_only:
        return _hashes(base, audit, given)
    if not checked.count:
        return replace(base, not_again="there is no decision")
    try:
        return _computed(base, audit, given, asked, console)
    except LimecliError as error:
        if not base.wrong:
            raise
        return replace(base, not_again=error.message)


def _hashes(base: AuditVerdict, audit: _Audit, given: Given) -> AuditVerdict:
    """Compare the files' hashes; nothing in them is looked at."""
    from limecli.inputs.picture_stream import open_pictures
    from limecli.inputs.row_stream import hash_file
    from limecli.models.interface import ModelFile

    model, background = audit.report.model, audit.report.background or {}
    pictures = audit.report.kind == "image"
    hash_input = (lambda path: open_pictures([path]).sha256) if pictures else hash_file
    given_input = given.inputs[0] if given.inputs else None
    found: list[Difference] = []
    checked, unchecked = [], []
    for what, recorded, typed, hashed in (
        ("model", model, given.model, lambda path: ModelFile(path).sha256),
        ("background", background, given.background, hash_file),
        ("input", audit.read, given_input, hash_input),
    ):
        path, digest = typed or recorded.get("path"), recorded.get("sha256")
        path = path if isinstance(path, str) else ""
        if not recorded or recorded.get("source") == "model":
            continue  # a background that is no file
        if digest is None:
            unchecked.append(f"the audit holds no sha256 of its {what}")
        elif is_there(path.removeprefix("@"), folders=True):
            checked.append(what)
            found += hash_difference(what, digest, hashed(path))
        elif typed is None or ":" in typed:
            unchecked.append(f"{what}: {path} is no file here")
        else:
            checked.append(what)
            found += hash_difference(what, digest, None)
    return replace(
        base, differences=tuple(found), checked=tuple(checked), unchecked=tuple(unchecked)
    )


def _computed(
    base: AuditVerdict, audit: _Audit, given: Given, asked: Asked, console: Console
) -> AuditVerdict:
    """Load, open and compute again; a model that is another one is not even opened."""
    report, pictures = _with_first(audit), audit.report.kind == "image"
    replay = Replay(report, replace(given, inputs=()) if pictures else given)
    base = replace(base, against=asked.against or "limecli")
    replay.settings(asked.against)  # raises for what is not here before a model is loaded
    load = replay.load_options()
    changed = model_differences(replay, console)
    if not changed:
        run = Run(replay.model, console, load)
        if report.model["sha256"] is not None:
            changed = hash_difference("model", report.model["sha256"], run.predictor.sha256)
    if changed:
        return replace(base, differences=changed, checked=("model",), not_again="another model")
    replay.use_class_names(run)
    recalled = Recalled(report, given.inputs, given.background)
    subject = RecalledAudit(recalled, audit.read, asked.query, asked.database)
    opened = subject.opened(run, _told_pictures(audit))
    elsewhere = pictures and bool(given.inputs)  # other paths: other ids, and another hash of them
    found, checked = _differences(report, {} if elsewhere else audit.read, run, opened)
    base = replace(base, differences=found, checked=checked)
    names = None if elsewhere else (audit.read["path"], opened.read["path"])
    listed = not pictures or elsewhere or opened.read["sha256"] is not None
    how = Beside(names, not elsewhere, "limecli" not in base.versions, listed)
    try:
        if asked.against == "lime":
            return _by_lime(base, audit, replay, run, opened, how)
        worker = _worker(replay, run, opened)
    except UsageError as error:  # an option that nobody typed
        report.refuse(error.message)
    tally = _tally(audit, worker, opened, how, console)
    if audit.picked is None and audit.finished and next(opened.entries, None) is not None:
        more = Difference("decisions after the last one", None, "in the input")
        base = replace(base, differences=(*base.differences, more))
    return replace(base, sampled=tally)


def _differences(
    report: Recorded, read: Mapping[str, Any], run: Run, opened: Opened
) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """What differs in the files, and which of their hashes were compared."""
    found = [
        *description_differences(report, run), *background_differences(report, opened.background)
    ]  # fmt: skip
    known = {"model": report.model, "background": report.background or {}}
    checked = [name for name, told in known.items() if told.get("sha256") is not None]
    recorded, here = read.get("sha256"), opened.read["sha256"]
    if recorded is not None and here is not None:
        found += hash_difference("input", recorded, here)
        checked.append("input")
    return tuple(found), tuple(checked)


def _tally(audit: _Audit, worker: Worker, opened: Opened, how: Beside, console: Console) -> Tally:
    """The decisions explained again, and compared one by one."""
    tally = Tally()
    wanted = beside(at(audit.path, audit.wanted), opened.entries)
    with console.progress("decisions") as progress:
        for one, record, here in explained_again(worker, wanted):
            tally.add(how.compared(one, record, here))
            progress(1)
    return tally


def _with_first(audit: _Audit) -> Recorded:
    """The envelope with one explanation, which knows the labels and the superpixels."""
    if audit.first is None:
        return audit.report
    ((_, record),) = at(audit.path, [audit.first])
    try:
        return with_records(audit.report, [record or {}])
    except ReportError:  # the comparison tells, if it is in the sample
        return audit.report


def _told_pictures(audit: _Audit) -> Iterator[tuple[int, str, str | None]]:
    """Index, id and path of the pictures to compute again that were explained."""
    for one, record in at(audit.path, audit.wanted):
        if not one.skipped:
            source = (record or {}).get("input")
            path = source.get("path") if isinstance(source, dict) else None
            yield one.index, one.id, path if isinstance(path, str) else None


def _settings(replay: Replay, run: Run) -> LimeSettings:
    """As the audit was run: of texts and pictures each may have a sampler of its own."""
    asked = replay.report.settings.get("requested", {}).get("sampler")
    found = replace(replay.settings(), labels=replay.labels(run.predictor))
    free = replay.kind != "tabular" and asked == "auto"
    return replace(found, sampler="auto") if free else found


def _worker(replay: Replay, run: Run, opened: Opened) -> Worker:
    from limecli.audit.prepare import settled
    from limecli.audit.worker import Worker

    predictor, settings = run.predictor, _settings(replay, run)
    job = Job(
        uuid.uuid4().hex, predictor.path, predictor.sha256, run.load, predictor.class_names,
        opened.reader, settings, masked=frozenset(opened.extra.get("mask") or ()),
    )  # fmt: skip
    with run.console.progress() as progress:
        progress.total = settings.num_samples
        found = settled(job, predictor, opened.first, opened.real, progress)
    return Worker(found.job, run.unbound)


def _by_lime(
    base: AuditVerdict, audit: _Audit, replay: Replay, run: Run, opened: Opened, how: Beside
) -> AuditVerdict:
    """The sampled decisions as a report, compared with lime's own classes."""
    run.console.note(
        "lime draws and asks about the samples of each decision anew: --sample says how many"
        f" decisions [{_LIMES_SAMPLE}]"
    )
    taken: list[Taken] = [*beside(at(audit.path, audit.wanted), opened.entries)]
    tally = Tally()
    records = [*_comparable(replay, run, opened, taken, tally)]
    if not records:
        return replace(base, sampled=tally)
    prepared = _prepared(run, opened, [entry for _, _, entry in taken if entry is not None])
    report = with_records(replay.report, records)
    settings = replace(replay.settings("lime"), labels=replay.labels(run.predictor))
    again = Replay(report, replace(replay.given, inputs=()))
    compared, tolerance, allowed = compare_all(again, run, prepared, settings, how.same_name)
    for found in compared:
        tally.add(found)
    return replace(base, sampled=tally, tolerance=tolerance, allowed=allowed)


def _comparable(
    replay: Replay, run: Run, opened: Opened, taken: list[Taken], tally: Tally
) -> Iterator[Mapping[str, Any]]:
    """Records whose entry is there, masked parts filled in; the others are findings."""
    masked = frozenset(opened.extra.get("mask") or ())
    here: dict[int, Mapping[str, Any]] = {}
    if masked:
        worker = _worker(replay, run, opened)
        worker.job = replace(worker.job, masked=frozenset())
        here = {one.index: found or {} for one, _, found in explained_again(worker, iter(taken))}
    for one, record, entry in taken:
        try:
            with_records(replay.report, [record or {}])
        except ReportError as error:
            tally.add(Compared(one.id, one.index, False, reason=error.message))
            continue
        if entry is None:
            tally.add(not_there(one))
        elif record is not None:
            yield unmasked(record, here.get(one.index, {}), masked)


def _prepared(run: Run, opened: Opened, entries: list[Any]) -> Prepared:
    """Entries as the explainers of single decisions take them."""
    read = opened.reader.read(entries)
    background = opened.background
    if background is not None and read.columns is not None:
        background = replace(background, columns=read.columns)
    names = run.predictor.class_names
    run.predictor = replace(opened.reader.bound(run.unbound, read.columns), class_names=names)
    return Prepared(read.instances, read.skipped, background, opened.real)
