"""What came of computing a report again: for programs, and for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from limecli.report.differences import TOLERANCE, Compared, Difference
from limecli.report.words import clean

_SCHEMA_VERSION = 1
_SHOWN = 80  # characters of a recorded value


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
        return f"{ {'tabular': 'row', 'image': 'picture'}.get(self.kind, 'text') } {item.id}"

    def _within(self) -> str:
        why = "" if self.tolerance == TOLERANCE else " (the model's own rounding)"
        return f"tolerance {self.tolerance:.2g}{why}"

    def _last_line(self) -> str:
        count = len(self.explanations)
        wrong = sum(item.verified is False for item in self.explanations)
        if self.verified:
            return self._good(sum(item.verified is True for item in self.explanations), count)
        if wrong == 0:
            what = " and ".join(item.what.removeprefix("sha256 of ") for item in self.differences)
            return f"not verified: {what} differ{'s' if len(self.differences) == 1 else ''}"
        if self.allowed is None:
            return f"not verified: {wrong} of {count} differ by more than the {self._within()}"
        return f"not verified: {wrong} of {count} differ; {self._deviations()}"

    def _good(self, again: int, count: int) -> str:
        if not again:
            return "nothing could be compared"
        every, plural = "" if count == again else f" of {count}", "" if count == 1 else "s"
        if self.allowed is not None:
            good = f"verified within the intervals: {again}{every} explanation{plural}"
            return f"{good}; {self._deviations()}"
        number = "" if self.largest is None else f"; largest difference {_number(self.largest)}"
        return f"verified: {again}{every} explanation{plural}{number}, {self._within()}"

    def _deviations(self) -> str:
        largest = "none" if self.deviation is None else _errors(self.deviation)
        return f"largest deviation {largest}, {self.allowed or 0.0:.1f} allowed"


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
