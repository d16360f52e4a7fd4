"""What came of computing a report again: for programs, and for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from limecli.report.differences import TOLERANCE, Compared, Difference
from limecli.report.words import clean

_SCHEMA_VERSION = 1
_SHOWN = 80  # characters of a recorded value
_KEPT = 1000  # decisions of an audit that are told one by one


@dataclass(frozen=True)
class Verdict:
    """The comparison of a whole report. `differences` are those of the model and the background.

    `versions` maps each package that is another one here to (recorded, here). `tolerance` is wider
    than usual where the model itself rounds more coarsely. `allowed` is how many standard errors a
    weight may lie from lime's where two samplers are compared, else None. `left_out` is what the
    report holds that was not computed again.
    """

    report: str
    kind: str
    against: str
    differences: tuple[Difference, ...]
    explanations: tuple[Compared, ...]
    versions: Mapping[str, tuple[str | None, str | None]]
    tolerance: float = TOLERANCE
    allowed: float | None = None
    left_out: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether nothing differs."""
        return not self.differences and all(
            item.verified is not False for item in self.explanations
        )

    @property
    def largest(self) -> float | None:
        """The largest difference of all numbers; None when none was compared."""
        found = [item.largest for item in self.explanations if item.largest is not None]
        return max(found, default=None)

    @property
    def deviation(self) -> float | None:
        """The largest deviation in standard errors; None when none was judged by these."""
        found = [item.deviation for item in self.explanations if item.deviation is not None]
        return max(found, default=None)

    def as_json(self) -> str:
        """The verdict for programs, in plain ASCII."""
        content = {
            "schema_version": _SCHEMA_VERSION,
            "report": self.report,
            "against": self.against,
            "tolerance": self.tolerance,
            "verified": self.verified,
            "largest_difference": self.largest,
            "comparison": "equal numbers" if self.allowed is None else "within the intervals",
            "largest_deviation": self.deviation,
            "allowed_deviation": self.allowed,
            "left_out": list(self.left_out),
            "versions": {name: list(pair) for name, pair in self.versions.items()},
            "differences": [asdict(item) for item in self.differences],
            "explanations": [_as_dict(item) for item in self.explanations],
        }
        return json.dumps(content, allow_nan=False, indent=2) + "\n"

    def lines(self) -> Iterator[str]:
        """The verdict for a reader: a line for each explanation, what differs below it."""
        how = "computed again with the engine"
        if self.allowed is not None:
            how = "compared within the intervals with the engine"
        yield f" {clean(self.report)}   {how} {self.against}"
        yield ""
        for difference in self.differences:
            yield f"  {_sentence(difference)}"
        if self.differences:
            yield ""
        if not all(item.verified is None and not item.reason for item in self.explanations):
            yield from self._table()
            yield ""
        if self.left_out:
            yield f"  not computed again: {', '.join(self.left_out)}"
        yield f"  {self._last_line()}"

    def _table(self) -> Iterator[str]:
        from rich.cells import cell_len

        names = [clean(self._name(item)) for item in self.explanations]
        width = max(map(cell_len, [*names, "explanation"]))
        what = "difference" if self.allowed is None else "deviation"
        yield f"  {'explanation':<{width}}  largest {what}"
        for name, item in zip(names, self.explanations, strict=True):
            padding = " " * (width - cell_len(name))
            yield f"  {name}{padding}  {self._largest(item):<18}  {_word(item)}"
            for difference in item.differences:
                yield f"    {_sentence(difference)}"
            for note in item.notes:
                yield f"    {clean(note)}"

    def _largest(self, item: Compared) -> str:
        if self.allowed is None:
            return "-" if item.largest is None else _number(item.largest)
        return "-" if item.deviation is None else _errors(item.deviation)

    def _name(self, item: Compared) -> str:
        return f"{_kind(self.kind)} {item.id}"

    def _last_line(self) -> str:
        count = len(self.explanations)
        wrong = sum(item.verified is False for item in self.explanations)
        if self.verified:
            return self._good(sum(item.verified is True for item in self.explanations), count)
        if wrong == 0:
            what = " and ".join(item.what.removeprefix("sha256 of ") for item in self.differences)
            return f"not verified: {what} differ{'s' if len(self.differences) == 1 else ''}"
        if self.allowed is None:
            within = _tolerance(self.tolerance)
            return f"not verified: {wrong} of {count} differ by more than the {within}"
        return f"not verified: {wrong} of {count} differ; {self._deviations()}"

    def _good(self, again: int, count: int) -> str:
        if not again:
            return "nothing could be compared"
        every, plural = "" if count == again else f" of {count}", "" if count == 1 else "s"
        if self.allowed is not None:
            good = f"verified within the intervals: {again}{every} explanation{plural}"
            return f"{good}; {self._deviations()}"
        number = "" if self.largest is None else f"; largest difference {_number(self.largest)}"
        return f"verified: {again}{every} explanation{plural}{number}, {_tolerance(self.tolerance)}"

    def _deviations(self) -> str:
        largest = "none" if self.deviation is None else _errors(self.deviation)
        return f"largest deviation {largest}, {self.allowed or 0.0:.1f} allowed"


@dataclass
class Tally:
    """What came of the decisions of an audit that were computed again, in flat memory.

    `told` are the first of those that differ, could not be compared, or have notes.
    """

    verified: int = 0
    skipped: int = 0  # of the verified ones: they were skipped again
    differing: int = 0
    undecided: int = 0
    largest: float | None = None
    deviation: float | None = None
    told: list[Compared] = field(default_factory=list)

    def add(self, item: Compared) -> None:
        """Count one decision."""
        self.verified += item.verified is True
        self.skipped += item.verified is True and item.largest is None
        self.differing += item.verified is False
        self.undecided += item.verified is None
        self.largest = _larger(self.largest, item.largest)
        self.deviation = _larger(self.deviation, item.deviation)
        if (item.verified is not True or item.notes) and len(self.told) < _KEPT:
            self.told.append(item)

    @property
    def count(self) -> int:
        """How many decisions were tried."""
        return self.verified + self.differing + self.undecided


def _larger(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else max(one, other)


@dataclass(frozen=True)
class AuditVerdict:
    """What came of checking an audit. `faults` are sentences on its lines, the first of `wrong`.

    `against` is None where nothing was to be computed again, `sampled` where it was not, for the
    reason `not_again` if there is one. `kept` says that the last hash was given, and compared.
    `checked` names the files whose hashes were compared,
    `unchecked` says why others were not. The rest is as in `Verdict`.
    """

    report: str
    kind: str
    against: str | None
    decisions: int
    last_hash: str
    faults: tuple[str, ...] = ()
    wrong: int = 0
    differences: tuple[Difference, ...] = ()
    checked: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    sampled: Tally | None = None
    versions: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    tolerance: float = TOLERANCE
    allowed: float | None = None
    not_again: str = ""
    kept: bool = False

    @property
    def verified(self) -> bool:
        """Whether the chain holds and nothing differs."""
        differing = 0 if self.sampled is None else self.sampled.differing
        return not (self.wrong or self.differences or differing)

    def as_json(self) -> str:
        """The verdict for programs, in plain ASCII."""
        found = self.sampled or Tally()
        content = {
            "schema_version": _SCHEMA_VERSION,
            "report": self.report,
            "decisions": self.decisions,
            "last_hash": self.last_hash,
            "last_hash_compared": self.kept,
            "against": self.against,
            "tolerance": self.tolerance,
            "verified": self.verified,
            "findings": list(self.faults),
            "findings_count": self.wrong,
            "files_checked": list(self.checked),
            "files_not_checked": list(self.unchecked),
            "sampled": found.count,
            "sampled_verified": found.verified,
            "sampled_skipped_again": found.skipped,
            "sampled_differing": found.differing,
            "sampled_not_compared": found.undecided,
            "not_computed_again": self.not_again,
            "largest_difference": found.largest,
            "comparison": "equal numbers" if self.allowed is None else "within the intervals",
            "largest_deviation": found.deviation,
            "allowed_deviation": self.allowed,
            "versions": {name: list(pair) for name, pair in self.versions.items()},
            "differences": [asdict(item) for item in self.differences],
            "explanations": [_as_dict(item) for item in found.told],
        }
        return json.dumps(content, allow_nan=False, indent=2) + "\n"

    def lines(self) -> Iterator[str]:
        """The verdict for a reader: what is wrong, a line each, then what was checked."""
        yield f" {clean(self.report)}   audit of {self.decisions:,} decisions"
        yield ""
        for fault in self.faults:
            yield f"  {clean(fault)}"
        if self.wrong > len(self.faults):
            yield f"  and {self.wrong - len(self.faults):,} more"
        for difference in self.differences:
            yield f"  {_sentence(difference)}"
        if self.faults or self.differences:
            yield ""
        yield from self._told()
        for reason in self.unchecked:
            yield f"  not checked: {clean(reason)}"
        if self.not_again:
            yield f"  not computed again: {clean(self.not_again)}"
        if not self.wrong:
            kept = "as it was kept" if self.kept else "edits show only if it was kept (--last-hash)"
            yield f"  the chain of all lines holds, up to the last hash: {kept}"
        if self.checked:
            yield f"  sha256 compared: {', '.join(self.checked)}"
        yield f"  last hash {self.last_hash}"
        yield f"  {self._last_line()}"

    def _told(self) -> Iterator[str]:
        told = [] if self.sampled is None else self.sampled.told
        for item in told:
            yield f"  {_kind(self.kind)} {clean(item.id)}  {_word(item)}"
            for difference in item.differences:
                yield f"    {_sentence(difference)}"
            for note in item.notes:
                yield f"    {clean(note)}"
        if told:
            yield ""

    def _last_line(self) -> str:
        if self.verified:
            return f"verified: {self._again() or 'hashes only'}"
        found = [f"{item.what} differs" for item in self.differences]
        if self.wrong:
            found.append(f"{self.wrong:,} finding{'' if self.wrong == 1 else 's'} in its lines")
        again = self._again()
        return f"not verified: {clean(', '.join(found))}{'; ' if found and again else ''}{again}"

    def _again(self) -> str:
        found = self.sampled
        if found is None or not found.count:
            return ""
        if not found.verified and not found.differing:
            return "nothing could be compared"
        how = "computed again" if self.allowed is None else "compared within the intervals"
        told = f"{found.count:,} decision{'' if found.count == 1 else 's'} {how}"
        if found.differing:
            told += f", {found.differing:,} differ"
        if found.undecided:
            told += f", {found.undecided:,} not compared"
        if found.skipped:
            told += f", {found.skipped:,} skipped again"
        if self.allowed is not None:
            largest = "none" if found.deviation is None else _errors(found.deviation)
            return f"{told}; largest deviation {largest}, {self.allowed:.1f} allowed"
        largest = "none" if found.largest is None else _number(found.largest)
        return f"{told}; largest difference {largest}, {_tolerance(self.tolerance)}"


def _kind(kind: str) -> str:
    return {"tabular": "row", "image": "picture"}.get(kind, "text")


def _tolerance(tolerance: float) -> str:
    why = "" if tolerance == TOLERANCE else " (the model's own rounding)"
    return f"tolerance {tolerance:.2g}{why}"


def _as_dict(item: Compared) -> dict[str, Any]:
    return {
        "id": item.id,
        "index": item.index,
        "verified": item.verified,
        "largest_difference": item.largest,
        "largest_deviation": item.deviation,
        "differences": [asdict(difference) for difference in item.differences],
        **({"notes": list(item.notes)} if item.notes else {}),
        **({"reason": item.reason} if item.reason else {}),
    }


def _word(item: Compared) -> str:
    if item.verified is None:
        return clean(f"not compared: {item.reason}")
    if not item.verified:
        return clean(f"differs: {item.reason}" if item.reason else "differs")
    return "skipped again" if item.largest is None else "verified"


def _errors(deviation: float) -> str:
    return f"{deviation:.1f} standard errors"


def _number(difference: float) -> str:
    return f"{difference:.1e}" if difference else "0"


def _sentence(item: Difference) -> str:
    where = f"{item.label}: " if item.label is not None else ""
    of = f" of {item.feature}" if item.feature is not None else ""
    far = "" if item.deviation is None else f" ({_errors(item.deviation)})"
    sides = f"{_shown(item.recorded)} in the report, {_shown(item.here)} here"
    return clean(f"{where}{item.what}{of}: {sides}{far}")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
