"""An audit read back: its chain checked line by line, its decisions explained again."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limecli.audit.backends import one_thread
from limecli.audit.job import ROWS_A_BLOCK, Block
from limecli.audit.records import replicates_of
from limecli.audit.worker import Worker
from limecli.errors import ReportError
from limecli.report.comparison import compare
from limecli.report.differences import Compared, Difference, scale_of
from limecli.report.json import SCHEMA_VERSION
from limecli.report.jsonl import END, AuditFile, Chain
from limecli.report.reading import Recorded, fault_in, parsed

Record = Mapping[str, Any]
MOST_FAULTS = 100  # that are told one by one
_LONGEST = 1 << 28  # bytes of a line
_SKIPPED_SHARE = 10  # one in so many of a sample is a skipped decision, where there are any
_FLOAT32 = 1e-6  # as near as replicates must be, which are kept in single precision
_WRONG = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Decision:
    """A line of an audit that tells of a decision: its number from 1, the byte it begins at."""

    number: int
    offset: int
    id: str
    index: int
    skipped: bool


class Checked:
    """Reads an audit to its end and collects every line that is not what its neighbors say. It
    closes the one given, which would stop at the first such line.

    Once `decisions` is exhausted: `faults` are sentences (the first MOST_FAULTS of `wrong`),
    `count` the decisions, `last_hash` that of the last one, `finished` whether there is an end.
    """

    def __init__(self, audit: AuditFile) -> None:
        self.faults: list[str] = []
        self.wrong = self.count = 0
        self.finished = False
        self.first: Decision | None = None  # that was explained
        audit.close()
        self._path = audit.path
        self._every = audit.envelope["settings"].get("kind") != "text"  # blank lines have no record
        self._chain = Chain(audit.envelope_line)
        self._before = "line 1 (the envelope)"
        self._last = -1
        self._begin = len(audit.envelope_line) + 1

    @property
    def last_hash(self) -> str:
        """The sha256 of the last decision's line."""
        return self._chain.head

    def decisions(self) -> Iterator[Decision]:
        """Every decision whose index rises; the others cannot be found in the input again."""
        offset = self._begin
        with Path(self._path).open("rb") as file:
            file.seek(offset)
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b""), start=2):
                found = self._line(number, offset, line)
                offset += len(line)
                if found is not None:
                    self.first = self.first or (None if found.skipped else found)
                    yield found
        if not self.finished:
            self._wrong(f"unfinished or cut: {self.count:,} decisions, no end line")

    def _wrong(self, sentence: str) -> None:
        self.wrong += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(sentence)

    def _line(self, number: int, offset: int, line: bytes) -> Decision | None:
        bare, here = line.removesuffix(b"\n"), f"line {number}"
        content = _content(bare)
        if content is not None and isinstance(content.get("id"), str):
            here += f" (id {content['id'][:80]})"
        if self.finished:
            self._wrong(f"{here} stands after the end")
        elif bare == line:
            self._wrong(f"{here} breaks off")
        elif content is None:
            self._wrong(f"{here} is no line of an audit")
            self._passed(here, bare)
        elif content["status"] == END:
            self._end(number, content)
        else:
            return self._decision(here, Decision(
                number, offset, content["id"], content["index"], content["status"] == "skipped"
            ), content.get("previous"), bare)  # fmt: skip
        return None

    def _decision(self, here: str, found: Decision, previous: Any, bare: bytes) -> Decision | None:
        expected, rises = self._last + 1, found.index > self._last
        if previous != self._chain.head:
            self._wrong(
                f"{self._before} is not the line that {here} is bound to: it was edited, or lines"
                " were removed, added or moved here"
            )
        elif not rises or (self._every and found.index != expected):
            self._wrong(f"{here} has the index {found.index}, after {self._last}")
        self._passed(here, bare)
        self._last = max(self._last, found.index)
        return found if rises else None

    def _passed(self, here: str, bare: bytes) -> None:
        self._chain.passed(bare)
        self.count, self._before = self._chain.count, here

    def _end(self, number: int, content: Record) -> None:
        self.finished = True
        if content.get("sha256") != self.last_hash:
            self._wrong(
                f"{self._before} is not the line that the end, line {number}, is bound to: it was"
                " edited, or lines were removed or added here"
            )
        if content.get("count") != self.count:
            told = json.dumps(content.get("count"))[:40]
            self._wrong(f"line {number}, the end, tells of {told} decisions: here are {self.count}")


def _content(line: bytes) -> Record | None:
    """A line of an audit; None for anything else."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("status") not in ("ok", "skipped", END):
        return None
    whole = isinstance(found.get("id"), str) and type(found.get("index")) is int
    return found if whole or found["status"] == END else None


def recorded_envelope(audit: AuditFile) -> Recorded:
    """The first line as a report without explanations. Raises ReportError for what is none."""
    content = parsed(audit.envelope_line, audit.path)
    told = content.get("provenance")
    if isinstance(told, dict):  # an audit holds nothing that differs from run to run
        content["provenance"] = {"command": [], "created": "", "wall_s": 0, **told}
    fault = fault_in({**content, "explanations": []})
    read = content.get("input")
    if fault is None and not (
        isinstance(read, dict) and all(isinstance(read.get(key), str) for key in ("path", "format"))
    ):
        fault = "$.input"
    if fault is not None:
        raise ReportError(f"{audit.path} is no audit: its first line is no envelope: {fault}")
    versions = {"limecli": told["limecli"], **told["versions"]}
    return Recorded(
        audit.path, versions, content["model"], content["background"], content["settings"], ()
    )


def with_records(report: Recorded, records: Iterable[Record]) -> Recorded:
    """The same with explanations. Raises ReportError for those that limecli never writes."""
    found = replace(report, explanations=tuple(records))
    fault = fault_in({
        "schema_version": SCHEMA_VERSION,
        "provenance": {"limecli": "", "versions": {}, "command": [], "created": "", "wall_s": 0},
        "model": report.model, "background": report.background, "settings": report.settings,
        "explanations": list(found.explanations),
    })  # fmt: skip
    if fault is not None:
        report.refuse(fault)
    return found


def sample(decisions: Iterable[Decision], size: int, seed: int) -> list[Decision]:
    """So many decisions by rising index, each as likely; of the skipped ones one in ten, if there
    are so many. Reads all.
    """
    rng = np.random.default_rng(seed)
    kept: dict[bool, list[tuple[float, int, Decision]]] = {False: [], True: []}
    for one in decisions:
        heap, item = kept[one.skipped], (float(rng.random()), one.number, one)
        if len(heap) < size:
            heapq.heappush(heap, item)
        else:
            heapq.heappushpop(heap, item)
    explained, skipped = (sorted(heap, reverse=True) for heap in kept.values())
    few = skipped[: max(size // _SKIPPED_SHARE, size - len(explained))]
    found = [one for _, _, one in [*few, *explained[: size - len(few)]]]
    return sorted(found, key=lambda one: one.index)


def at(path: str, decisions: Iterable[Decision]) -> Iterator[tuple[Decision, Record | None]]:
    """The lines of decisions, None for one that is no strict JSON."""
    with Path(path).open("rb") as file:
        for one in decisions:
            file.seek(one.offset)
            try:
                content = parsed(file.readline(_LONGEST), path)
            except ReportError:
                content = None
            yield one, content if isinstance(content, dict) else None


def beside(
    records: Iterable[tuple[Decision, Record | None]], entries: Iterator[Any]
) -> Iterator[tuple[Decision, Record | None, Any]]:
    """Decisions with the entries of the input stream that they tell of, None where there is none.

    Both rise by index. Takes no entry after the last decision's.
    """
    entry = next(entries, None)
    for one, record in records:
        while entry is not None and index_of(entry) < one.index:
            entry = next(entries, None)
        there = entry is not None and index_of(entry) == one.index
        yield one, record, entry if there else None


def index_of(entry: Any) -> int:
    """The place of an entry in its input."""
    return int(entry[0] if isinstance(entry, tuple) else entry.index)


def explained_again(
    worker: Worker, wanted: Iterator[tuple[Decision, Record | None, Any]]
) -> Iterator[tuple[Decision, Record | None, Record | None]]:
    """Decision, what was recorded, and what comes of its entry here. Rows go by blocks."""
    size = ROWS_A_BLOCK if worker.job.reader.kind == "tabular" else 1
    while part := list(islice(wanted, size)):
        entries = tuple(entry for _, _, entry in part if entry is not None)
        with one_thread():
            lines = worker.done(Block(entries)).lines if entries else ()
        here = {item["index"]: item for item in map(json.loads, lines)}
        for one, record, _ in part:
            yield one, record, here.get(one.index)


@dataclass(frozen=True)
class Beside:
    """How records are compared. `names` are what the input is called, in the audit and here; None
    where reasons cannot be compared. `whole` says that both have the same keys, `all_known` that
    what was skipped can be found again.
    """

    names: tuple[str, str] | None
    same_name: bool
    whole: bool
    all_known: bool = True

    def compared(self, one: Decision, record: Record | None, here: Record | None) -> Compared:
        """Every number of a record."""
        if here is None and one.skipped and not self.all_known:
            reason = "the audit does not say where what it skipped lay: --input FILE"
            return Compared(one.id, one.index, None, reason=reason)
        if here is None:
            return not_there(one)
        try:
            found = compare(record or {}, here, same_engine=True, same_name=self.same_name)
            more = tuple(self._more(record or {}, here))
        except _WRONG:
            reason = f"line {one.number} is no decision as limecli writes it"
            return Compared(one.id, one.index, False, reason=reason)
        every = (*found.differences, *more)
        return replace(found, verified=not every, differences=every)

    def _more(self, record: Record, here: Record) -> Iterator[Difference]:
        """What only an audit has, and what a report need not have."""
        if self.whole:
            for key in missing(record, here):
                yield Difference("key of the record", None, key)
            for key in missing(here, record):
                yield Difference("key of the record", key, None)
        if record["status"] != here["status"]:
            return
        if record["status"] == "skipped":
            if self.names is not None and not _same_reason(record, here, self.names):
                yield Difference("reason of skipping", record["reason"], here["reason"])
            return
        for key in ("groups", "bins"):
            if record.get(key) != here.get(key):
                yield Difference(key, record.get(key), here.get(key))
        if record["input"].get("text") != here["input"].get("text"):
            texts = (record["input"].get("text"), here["input"].get("text"))
            yield Difference("text of the input", *texts)
        theirs = {label["index"]: label for label in here["labels"]}
        for label in record["labels"]:
            twin = theirs.get(label["index"])
            if twin is not None and not _same_replicates(label, twin, scale_of(here)):
                yield Difference("replicates", "some", "others", label["label"])


def not_there(one: Decision) -> Compared:
    """A decision whose entry the input does not have."""
    gone = Difference("status", "in the input", "not in the input")
    return Compared(one.id, one.index, False, differences=(gone,))


def missing(one: Any, other: Any, at_key: str = "") -> Iterator[str]:
    """Keys that the second has and the first has not, at any depth."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key, value in other.items():
            where = f"{at_key}.{key}".strip(".")
            if key not in one and key != "previous":
                yield where
            else:
                yield from missing(one.get(key), value, where)
    elif isinstance(one, list) and isinstance(other, list):
        for i, (mine, theirs) in enumerate(zip(one, other, strict=False)):
            yield from missing(mine, theirs, f"{at_key}[{i}]")


def _same_reason(record: Record, here: Record, names: tuple[str, str]) -> bool:
    before, now = names
    same: bool = record["reason"].replace(before, "") == here["reason"].replace(now, "")
    return same


def _same_replicates(label: Record, twin: Record, scale: float) -> bool:
    one, other = replicates_of(label), replicates_of(twin)
    if one is None or other is None:
        return one is None and other is None
    if one.shape != other.shape:
        return False
    near = np.abs(one.astype(np.float64) - other) <= _FLOAT32 * scale
    return bool(near.all())  # NaN is near to nothing


def unmasked(record: Record, here: Record, masked: frozenset[str]) -> Record:
    """A record whose masked parts are what was found here, so that nothing is compared of them."""
    found = deepcopy(dict(record))
    theirs = {label["index"]: label for label in here.get("labels", ())}
    for label in found.get("labels", ()):
        twin = {x["index"]: x for x in theirs.get(label["index"], {}).get("attributions", ())}
        for part in label["attributions"]:
            if part["feature"] in masked and part["index"] in twin:
                part.update({key: twin[part["index"]][key] for key in ("value", "condition")})
    return found
