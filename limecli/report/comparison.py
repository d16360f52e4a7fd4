"""An explanation as it was recorded, beside the same one computed again: every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limecli.report.differences import LOCAL, TOLERANCE, Compared, Difference, Pair, started

_COUNTED = ("sampler", "model_calls", "weight_calls", "real_rows")
_COUNTED_LABEL = ("settled", "interval", "flip_samples")
_PROBABILITY = 1e-6  # as near as probabilities must be
_SIDES_IN_ERRORS = 3.92  # a 95 % interval is so many standard errors wide


def compare(
    recorded: Mapping[str, Any],
    here: Mapping[str, Any],
    same_engine: bool,
    same_name: bool,
    tolerance: float = TOLERANCE,
) -> Compared:
    """Compare two explanations in the form of the JSON report.

    Without `same_engine`, what only one of two engines measures is passed over; so is what a report
    of before does not have. Without `same_name`, the id is.
    """
    lenient = not same_engine or "sampler" not in recorded
    pair, numbers = started(recorded, here, lenient, same_name, tolerance)
    if numbers:
        pair.predictions(recorded, here)
        for key in _COUNTED:
            # Two engines may ask for the same samples in different ways.
            if not pair.passed_over(key, recorded, here) and (same_engine or "calls" not in key):
                pair.same(key.replace("_", " "), recorded[key], here.get(key))
        _localities(pair, recorded, here)
        for label, one, other in pair.matched("labels", recorded, here, "label"):
            _surrogates(pair, label, one, other)
    return Compared(
        recorded["id"], recorded["index"], not pair.found, pair.largest, tuple(pair.found)
    )


def _localities(pair: Pair, recorded: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    if pair.passed_over("locality", recorded, here):
        return
    one, other = recorded["locality"] or {}, here["locality"] or {}
    pair.same("features of the locality", one.get("of"), other.get("of"))
    scale = max(1.0, other.get("of") or 0.0)
    pair.close("shared features", one.get("shared"), other.get("shared"), scale=scale)
    pair.close("toward_mean", one.get("toward_mean"), other.get("toward_mean"), scale=1.0)


def _surrogates(pair: Pair, label: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    pair.same("name of the label", one["label"], other["label"], label)
    for key in LOCAL:
        pair.close(key, one[key], other[key], label)
    pair.close("r2_fit", one["r2_fit"], other["r2_fit"], label, scale=_at_least_1(other["r2_fit"]))
    for key in ("fidelity", "fidelity_rows"):
        if not pair.passed_over(key, one, other):
            scale = _at_least_1(other.get(key))
            pair.close(key, one[key], other.get(key), label, scale=scale)
    for key in _COUNTED_LABEL:
        if not pair.passed_over(key, one, other):
            pair.same(key.replace("_", " "), one[key], other.get(key), label)
    _cells(pair, label, one, other)
    _flips(pair, label, one, other)
    _attributions(pair, label, one, other)


def _at_least_1(number: float | None) -> float:
    """The scale of R², which may lie far below 0."""
    return max(1.0, abs(number or 0.0))


def _attributions(pair: Pair, label: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    weights, slack = {}, _PROBABILITY
    for feature, a, b in pair.matched("attributions", one, other, "feature", label):
        pair.described(a, b, label, feature)
        pair.close("weight", a["weight"], b["weight"], label, feature)
        for key in ("low", "high"):
            if not pair.passed_over(key, a, b):
                pair.close(key, a[key], b[key], label, feature)
        allowed = _slack(pair, b)
        for key in ("sign_probability", "top_probability"):
            _chances(pair, key, a, b, allowed, label, feature)
        if allowed < 1 and not pair.passed_over("ranks", a, b):
            pair.same("tied ranks", a["ranks"], b.get("ranks"), label, feature)
        weights[a["rank"], feature] = abs(b["weight"])
        slack = max(slack, allowed)
    _chances(pair, "stability", one, other, slack, label)
    _ranks(pair, label, one["attributions"], weights)


def _slack(pair: Pair, here: Mapping[str, Any]) -> float:
    """How far a probability may move when its weight moves by the tolerance.

    Where the interval is no wider than that, rounding alone decides. By what was computed here.
    """
    low, high, rounding = here.get("low"), here.get("high"), pair.tolerance * pair.scale
    if low is None or high is None:
        return _PROBABILITY
    if high > low:
        return max(_PROBABILITY, rounding * _SIDES_IN_ERRORS / float(high - low))
    return 1.0 if abs(float(here["weight"])) <= rounding else _PROBABILITY


def _chances(
    pair: Pair, key: str, one: Mapping[str, Any], other: Mapping[str, Any], allowed: float,
    label: str, feature: str | None = None,
) -> None:  # fmt: skip
    if pair.passed_over(key, one, other):
        return
    a, b = one[key], other.get(key)
    if a is None or b is None:
        pair.same(key, a, b, label, feature)
    elif abs(a - b) > allowed:
        pair.found.append(Difference(key, a, b, label, feature, abs(a - b)))


def _ranks(
    pair: Pair, label: str, recorded: Sequence[Mapping[str, Any]],
    weights: Mapping[tuple[int, str], float],
) -> None:  # fmt: skip
    """Ranks must count from 1 and follow the weights; two equal ones may stand either way."""
    ranks = sorted(item["rank"] for item in recorded)
    if ranks != list(range(1, len(ranks) + 1)):
        pair.same("ranks", ranks, list(range(1, len(ranks) + 1)), label)
    last = None
    for (rank, feature), weight in sorted(weights.items()):
        if last is not None and weight - last > pair.tolerance * pair.scale:
            pair.found.append(Difference("rank", rank, "higher", label, feature))
        last = weight


def _cells(pair: Pair, label: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    if pair.passed_over("cell", one, other):
        return
    a, b = one["cell"] or {}, other["cell"] or {}
    pair.same("rows of the cell", a.get("rows"), b.get("rows"), label)
    for key in ("low", "high"):
        pair.close(f"{key}est prediction of the cell", a.get(key), b.get(key), label)


def _flips(pair: Pair, label: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Flips must be the same ones, their numbers within the tolerance."""
    if pair.passed_over("flips", one, other):
        return
    a, b = one["flips"], other["flips"]
    if a is None or b is None or len(a) != len(b):
        pair.same("flips", a if a is None else len(a), b if b is None else len(b), label)
        return
    for number, (mine, theirs) in enumerate(zip(a, b, strict=True), start=1):
        what = f"flip {number}"
        for key in ("to", "index"):
            pair.same(f"{what}: {key}", mine.get(key), theirs[key], label)
        pair.close(f"{what}: value", mine.get("value"), theirs["value"], label)
        before, now = ([one["feature"] for one in flip["changes"]] for flip in (mine, theirs))
        pair.same(f"{what}: features", before, now, label)
        if before != now:
            continue
        for x, y in zip(mine["changes"], theirs["changes"], strict=True):
            pair.same(f"{what}: index", x.get("index"), y["index"], label, y["feature"])
            for key in ("from", "to"):
                _values(pair, f"{what}: {key}", x[key], y[key], label, y["feature"])


def _values(pair: Pair, what: str, one: Any, other: Any, label: str, feature: str) -> None:
    """Values of a feature: numbers within the tolerance, anything else equal."""
    if all(isinstance(x, int | float) and not isinstance(x, bool) for x in (one, other)):
        pair.close(what, one, other, label, feature, scale=max(1.0, abs(other)))
    else:
        pair.same(what, one, other, label, feature)
