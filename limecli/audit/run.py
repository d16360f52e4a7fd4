"""Runs an audit: blocks out of a stream, to the workers, back in order, into the journal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from limecli.audit.backends import Parallelism, in_order
from limecli.audit.job import ROWS_A_BLOCK, Block, Done, Job
from limecli.audit.journal import Journal, Sink
from limecli.audit.worker import explain_block
from limecli.errors import InputError, PredictError, ReportError
from limecli.report.jsonl import AuditLine

_OTHER_NUMBERS = (
    "other versions of the libraries, or another kind of machine, may compute other digits: go on"
    " where the audit began"
)


@dataclass
class Told:
    """Who hears of an audit as it goes on: each record, each note by its topic, what is done."""

    record: Callable[[Mapping[str, Any]], None]
    note: Callable[[str], None]
    progress: Callable[[int], None]
    topics: set[str] = field(default_factory=set)

    def notes(self, found: Iterable[tuple[str, str]]) -> None:
        """Say each topic's first note only: a million rows may share it."""
        for topic, text in found:
            if topic not in self.topics:
                self.topics.add(topic)
                self.note(text)


@dataclass
class Counts:
    """How a run went. `resumed` are decisions of an earlier run."""

    decisions: int = 0
    resumed: int = 0
    started: float = field(default_factory=time.monotonic)

    def rates(self) -> dict[str, float]:
        """Seconds, and decisions per second of this run alone."""
        wall_s = time.monotonic() - self.started
        new = self.decisions - self.resumed
        return {"wall_s": round(wall_s, 3), "rows_per_s": round(new / wall_s, 3) if wall_s else 0.0}


def run_audit(
    job: Job, entries: Iterator[Any], sink: Sink, how: Parallelism, told: Told, strict: bool
) -> Counts:
    """Explain every entry and write it. Raises InputError or PredictError at the first that cannot
    be explained where `strict`; ReportError where an earlier run recorded something else.
    """
    counts = Counts()
    size = ROWS_A_BLOCK if job.reader.kind == "tabular" else 1
    blocks = _blocks(entries, size)
    cut: list[AuditLine] = []
    if isinstance(sink, Journal):
        blocks, cut = _after(job, blocks, sink, told, counts, strict)
        if sink.finished:
            _check_over(blocks, sink)
            return counts
    with closing(in_order(explain_block, job, blocks, how, told.note)) as outcomes:
        for done in outcomes:
            lines = _uncut(done, cut, sink.path)
            cut = []
            told.notes(done.notes)
            _write(lines, sink, told, counts, strict)
    return counts


def _blocks(entries: Iterator[Any], size: int) -> Iterator[Block]:
    while part := tuple(islice(entries, size)):
        yield Block(part)


def _write(lines: Sequence[bytes], sink: Sink, told: Told, counts: Counts, strict: bool) -> None:
    records = [json.loads(line) for line in lines]
    bad = next((item for item in records if item["status"] == "skipped"), None)
    if strict and bad is not None:
        lines = lines[: records.index(bad)]
    sink.write(lines)
    for item in records[: len(lines)]:
        told.record(item)
    counts.decisions += len(lines)
    told.progress(len(lines))
    if strict and bad is not None:
        raise _refused(bad)


def _refused(bad: Mapping[str, Any]) -> InputError | PredictError:
    kind = PredictError if bad["kind"] == "predict" else InputError
    return kind(f"--strict: {bad['reason']}", "without --strict it is recorded as skipped")


def _after(
    job: Job,
    blocks: Iterator[Block],
    journal: Journal,
    told: Told,
    counts: Counts,
    strict: bool,
) -> tuple[Iterator[Block], list[AuditLine]]:
    """The blocks that an earlier run did not finish, and what it wrote of the first of them.

    What it did finish is read again, to see that the input still is the same. The last block is
    explained again in any case: nothing else guards the last line.
    """
    recorded = journal.recorded()
    last: tuple[Block, list[AuditLine]] | None = None
    for block in blocks:
        lines = list(islice(recorded, len(block.entries)))
        _check_same(job, block, lines, journal)
        for line in lines:
            told.record(line.content)
            if strict and line.content["status"] == "skipped":
                raise _refused(line.content)
        counts.decisions += len(lines)
        counts.resumed += len(lines)
        told.progress(len(lines))
        if lines and len(lines) == len(block.entries):
            last = block, lines
            continue
        if lines or last is None:
            return chain([block], blocks), lines
        return chain([last[0], block], blocks), last[1]
    if next(recorded, None) is not None:
        raise InputError(
            f"{journal.path} holds more decisions than the input: it has changed since",
            "give the input that the audit began with",
        )
    if last is None or journal.finished:
        return iter(()), []
    return iter([last[0]]), last[1]


def _check_same(job: Job, block: Block, lines: Sequence[AuditLine], journal: Journal) -> None:
    marks = job.reader.marks(block.entries) if lines else []
    for entry, (index, sha256), line in zip(block.entries, marks, lines, strict=False):
        item = line.content
        if item["status"] == "ok":
            same = sha256 == item["input"]["sha256"]
        elif item["kind"] == "predict":
            same = sha256 is not None
        else:  # a picture has a hash though it is damaged
            same = sha256 is None or bool(job.reader.read([entry]).skipped)
        if item["index"] != index or not same:
            raise InputError(
                f"the input has changed: {item['id']} (line {line.number} of {journal.path}) was"
                " another one when it was explained",
                "give the input that the audit began with; a query needs an ORDER BY",
            )


def _uncut(done: Done, cut: Sequence[AuditLine], path: str) -> tuple[bytes, ...]:
    """Lines of a block without those that are written already, which must be the same."""
    for line, old in zip(done.lines, cut, strict=False):
        if not old.line.startswith(line[:-1] + b',"previous":"'):
            raise ReportError(
                f"{path}, line {old.number} was edited, or would be another one here: the audit"
                " cannot go on",
                _OTHER_NUMBERS,
            )
    return done.lines[len(cut) :]


def _check_over(blocks: Iterator[Block], journal: Journal) -> None:
    if next(blocks, None) is not None:
        raise InputError(
            f"{journal.path} is finished, but the input goes on: it has changed since",
            "choose another name for a new audit: -o FILE",
        )
