"""An explanation beside lime's: two samplers never give equal weights, but within their errors.

A weight deviates when it is further from lime's than 99.9 % of the largest deviations of as many
true weights would be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from limecli.report.differences import Compared, Difference, Pair, started

_ALPHA = 1e-3  # how often a true report may fail
_LEVEL = 0.975  # of a 95 % interval
_FITTED = 1e-7  # by so much other penalties move weights that no sampling error moves
_FAR = 37.0  # standard errors: beyond, the normal law's tail is no number


class Drawn(Protocol):
    """A weight by lime's draws; `told` is False where too few samples tell of it."""

    @property
    def weight(self) -> float: ...

    @property
    def error(self) -> float: ...

    @property
    def told(self) -> bool: ...


@dataclass(frozen=True)
class Sides:
    """What one recorded explanation is judged by.

    `again` is the same computed again as it was made, whose intervals have `degrees` of freedom (a
    report must not widen its own), `lime` what lime's own classes say, both in the form of the
    JSON report. `drawn` are weights by lime's draws, by label and feature. `faulty` are columns in
    which lime draws what is not there.
    """

    again: Mapping[str, Any]
    lime: Mapping[str, Any]
    drawn: Mapping[int, Mapping[int, Drawn]]
    degrees: float
    faulty: tuple[str, ...] = ()


def allowed_deviation(weights: int) -> float:
    """In standard errors, for so many weights at once."""
    from scipy.special import ndtri

    return float(-ndtri(_ALPHA / (2 * max(weights, 1))))


def compare_within(
    recorded: Mapping[str, Any], sides: Sides, same_name: bool, tolerance: float, allowed: float
) -> Compared:
    """Compare with lime's weights within `allowed` standard errors, all that lime knows exactly
    within the tolerance.
    """
    pair, numbers = started(recorded, sides.lime, True, same_name, tolerance)
    judged = _Judged(pair, sides, allowed)
    if numbers:
        pair.predictions(recorded, sides.lime)
        again = {item["index"]: item for item in sides.again.get("labels", ())}
        for label, one, other in pair.matched("labels", recorded, sides.lime, "label"):
            pair.same("name of the label", one["label"], other["label"], label)
            both = one["model_prediction"], other["model_prediction"]
            pair.close("model_prediction", *both, label)
            judged.label(label, one, other, again.get(one["index"]))
    return judged.compared(recorded)


class _Judged:
    """The weights of one explanation, judged one by one."""

    def __init__(self, pair: Pair, sides: Sides, allowed: float) -> None:
        self._pair, self._sides, self._allowed = pair, sides, allowed
        self._excused: list[Difference] = []
        self._deviation: float | None = None
        self._reason = ""
        self._notes: list[str] = []

    def label(
        self, label: str, one: Mapping[str, Any], lime: Mapping[str, Any],
        again: Mapping[str, Any] | None,
    ) -> None:  # fmt: skip
        """Judge the weights of one label."""
        here = {item["index"]: item for item in again["attributions"]} if again else {}
        errors = {j: self._error(item) for j, item in here.items()}
        known = [error for error in errors.values() if error is not None]
        if not known:
            why = (again or {}).get("no_interval") or "it has none of these weights"
            self._reason = f"computed again, it has no intervals: {why}"
            return
        there = {item["index"]: item for item in lime["attributions"]}
        drawn = self._sides.drawn.get(one["index"], {})
        rare = []
        for j, item in self._pair.by_index("attributions", one, label).items():
            for described in (here.get(j), there.get(j)):
                if described is not None:
                    self._pair.described(item, described, label, described["feature"])
                    break
            if j not in drawn:
                found = Difference("selected feature", item["weight"], None, label, item["feature"])
                self._pair.found.append(found)
                continue
            error = errors.get(j, max(known))
            if error is None or not drawn[j].told:
                rare.append(item["feature"])
            else:
                self._judge(label, item, drawn[j], error, here.get(j))
        if rare:
            self._notes.append(f"{label}: too few of lime's samples tell of {', '.join(rare)}")
        self._tell_others(label, one, there)

    def _tell_others(
        self, label: str, one: Mapping[str, Any], there: Mapping[int, Mapping[str, Any]]
    ) -> None:
        mine = {item["index"]: item["feature"] for item in one["attributions"]}
        theirs = {j: item["feature"] for j, item in there.items()}
        for who, some, others in (("the report", mine, theirs), ("lime", theirs, mine)):
            only = [name for j, name in some.items() if j not in others]
            if only:
                self._notes.append(f"{label}: selected by {who} alone: {', '.join(only)}")

    def _error(self, item: Mapping[str, Any]) -> float | None:
        """The standard error behind an interval."""
        if item.get("low") is None or item.get("high") is None:
            return None
        return float(item["high"] - item["low"]) / 2 / _quantile(self._sides.degrees)

    def _judge(
        self, label: str, item: Mapping[str, Any], drawn: Drawn, error: float,
        here: Mapping[str, Any] | None,
    ) -> None:  # fmt: skip
        weight = item["weight"]
        deviation = self._apart(weight, drawn.weight, error, drawn.error)
        self._deviation = max(self._deviation or 0.0, deviation)
        if deviation <= self._allowed:
            return
        difference = abs(weight - drawn.weight) / self._pair.scale
        found = Difference(
            "weight", weight, drawn.weight, label, item["feature"], difference, deviation
        )
        # lime's fault explains no weight that does not come out again either.
        excused = (
            self._sides.faulty
            and here is not None
            and self._apart(weight, here["weight"], error, error) <= self._allowed
        )
        (self._excused if excused else self._pair.found).append(found)

    def _apart(self, one: float, other: float, error: float, its_error: float) -> float:
        """Standard errors between two weights, but for rounding."""
        apart = max(0.0, abs(one - other) - max(self._pair.tolerance, _FITTED) * self._pair.scale)
        return _deviation(apart, error, its_error, self._sides.degrees)

    def compared(self, recorded: Mapping[str, Any]) -> Compared:
        """The verdict. Where lime draws what is not there, a deviating weight decides nothing."""
        found, reason = tuple(self._pair.found), self._reason
        if self._excused:
            columns, count = ", ".join(self._sides.faulty), len(self._excused)
            deviate = "1 weight deviates" if count == 1 else f"{count} weights deviate"
            reason = f"lime perturbs bins with a single value to 0 (in {columns}), and {deviate}"
        if not reason and recorded["status"] == "ok" and self._deviation is None:
            reason = "there is no weight that lime's samples tell of"
        verified = False if found else None if reason else True
        return Compared(
            recorded["id"], recorded["index"], verified, self._pair.largest, found,
            "" if found else reason, self._deviation, tuple(self._notes),
        )  # fmt: skip


def _quantile(degrees: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri(_LEVEL) if math.isinf(degrees) else stdtrit(degrees, _LEVEL))


def _deviation(apart: float, error: float, other: float, degrees: float) -> float:
    """Standard errors that two estimates are apart, as a normal law would have them.

    The first error has `degrees` of freedom, the second many (Welch 1947).
    """
    from scipy.special import ndtr, ndtri, stdtr

    both = math.hypot(error, other)
    if apart == 0:
        return 0.0
    if both == 0:
        return _FAR
    ratio = apart / both
    if math.isinf(degrees) or error == 0:
        return min(ratio, _FAR)
    freedom = degrees * (both / error) ** 4
    tail = float(stdtr(freedom, -ratio))
    return min(ratio, _FAR if tail < float(ndtr(-_FAR)) else float(-ndtri(tail)))
