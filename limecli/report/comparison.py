"""An explanation as it was recorded, beside the same one computed again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-8
_LOCAL = ("intercept", "local_prediction", "model_prediction")  # on the scale of the outputs
_DESCRIBED = ("feature", "condition", "value", "positions")
_MEASURED_LABEL = ("fidelity", "stability", "settled", "flips")
_MEASURED = ("low", "high", "sign_probability", "top_probability")


@dataclass(frozen=True)
class Difference:
    """One thing that is not as recorded.

    `difference` is None where it is no number, else |recorded - here|, divided by the scale of the
    model's outputs where that is larger than 1.
    """

    what: str
    recorded: Any
    here: Any
    label: str | None = None
    feature: str | None = None
    difference: float | None = None


@dataclass(frozen=True)
class Compared:
    """One explanation's verdict: `verified` is None when it could not be computed again.

    `largest` is the largest difference of all its numbers, also of those within the tolerance.
    """

    id: str
    index: int
    verified: bool | None
    largest: float | None = None
    differences: tuple[Difference, ...] = ()
    reason: str = ""


def compare(
    recorded: Mapping[str, Any],
    here: Mapping[str, Any],
    same_engine: bool,
    same_name: bool,
    tolerance: float = TOLERANCE,
) -> Compared:
    """Compare two explanations in the form of the JSON report.

    Without `same_engine`, what only one of two engines measures is passed over; without
    `same_name`, the id is.
    """
    pair = _Pair(scale_of(here), same_engine, tolerance)
    if recorded["status"] != here["status"]:
        pair.same("status", _status(recorded), _status(here))
    elif recorded["status"] == "skipped":
        pair.same("kind of skipping", recorded["kind"], here["kind"])
    else:
        pair.explanations(recorded, here)
    if same_name:
        pair.same("id", recorded["id"], here["id"])
    return Compared(
        recorded["id"], recorded["index"], not pair.found, pair.largest, tuple(pair.found)
    )


def scale_of(here: Mapping[str, Any]) -> float:
    """What differences are divided by: the largest number on the scale of the outputs, at least 1.

    Taken from what was computed here, so that no report can widen its own tolerance.
    """
    numbers: list[float] = [1.0, *(abs(score["value"]) for score in here.get("prediction", ()))]
    for label in here.get("labels", ()):
        numbers += [abs(label[key]) for key in _LOCAL]
        numbers += [abs(item["weight"]) for item in label["attributions"]]
    return max(numbers)


def _status(item: Mapping[str, Any]) -> str:
    return "explained" if item["status"] == "ok" else f"skipped: {item['reason']}"


class _Pair:
    """Two explanations being compared; collects what differs."""

    def __init__(self, scale: float, same_engine: bool, tolerance: float) -> None:
        self._scale, self._same_engine, self._tolerance = scale, same_engine, tolerance
        self.found: list[Difference] = []
        self.largest: float | None = None

    def same(
        self,
        what: str,
        recorded: Any,
        here: Any,
        label: str | None = None,
        feature: str | None = None,
    ) -> None:
        """Note a difference between two things that must be equal."""
        if recorded != here or isinstance(recorded, bool) != isinstance(here, bool):
            self.found.append(Difference(what, recorded, here, label, feature))

    def close(
        self, what: str, recorded: Any, here: Any, label: str | None = None,
        feature: str | None = None, scale: float | None = None,
    ) -> None:  # fmt: skip
        """Note a difference between two numbers that must be equal within the tolerance."""
        if recorded is None or here is None:
            self.same(what, recorded, here, label, feature)
            return
        difference = abs(recorded - here) / (self._scale if scale is None else scale)
        self.largest = max(self.largest or 0.0, difference)
        if difference > self._tolerance:
            self.found.append(Difference(what, recorded, here, label, feature, difference))

    def explanations(self, recorded: Mapping[str, Any], here: Mapping[str, Any]) -> None:
        if self._same_engine:
            self.same("model calls", recorded["model_calls"], here["model_calls"])
        self.same("sha256 of the input", recorded["input"]["sha256"], here["input"]["sha256"])
        for label, one, other in self._matched("prediction", recorded, here, "label"):
            self.same("name of the output", one["label"], other["label"], label)
            self.close("prediction", one["value"], other["value"], label)
        for label, one, other in self._matched("labels", recorded, here, "label"):
            self._surrogates(label, one, other)
        if "segmentation" in here or "segmentation" in recorded:
            self._segmentations(recorded.get("segmentation"), here.get("segmentation"))

    def _matched(
        self, key: str, recorded: Mapping[str, Any], here: Mapping[str, Any], name: str,
        label: str | None = None,
    ) -> Iterator[tuple[str, Any, Any]]:  # fmt: skip
        """Name, recorded and computed item of a list, by index; notes the items of one side."""
        one = {item["index"]: item for item in recorded[key]}
        other = {item["index"]: item for item in here[key]}
        what = {"prediction": "prediction", "labels": "explained label"}.get(
            key, "selected feature"
        )
        if len(one) < len(recorded[key]):
            self.found.append(
                Difference(f"{what} given twice", len(recorded[key]), len(one), label)
            )
        for index in [*one, *(index for index in other if index not in one)]:
            if index in one and index in other:
                yield other[index][name], one[index], other[index]
                continue
            item = one.get(index) or other.get(index) or {}
            told = item.get("weight", item.get("value", item["index"]))
            sides = (told, None) if index in one else (None, told)
            names = (label, item[name]) if key == "attributions" else (item[name], None)
            self.found.append(Difference(what, *sides, *names))

    def _surrogates(self, label: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
        self.same("name of the label", one["label"], other["label"], label)
        for key in _LOCAL:
            self.close(key, one[key], other[key], label)
        self.close("r2_fit", one["r2_fit"], other["r2_fit"], label, scale=1.0)
        self._measured(_MEASURED_LABEL, one, other, label)
        weights = {}
        for feature, a, b in self._matched("attributions", one, other, "feature", label):
            for key in _DESCRIBED:
                self.same(key, a.get(key), b.get(key), label, feature)
            self.close("weight", a["weight"], b["weight"], label, feature)
            there = _geometry(b)
            for key, place in _geometry(a).items():
                self.close(key, place, there[key], label, feature, scale=1.0)
            self._measured(_MEASURED, a, b, label, feature)
            weights[a["rank"], feature] = abs(b["weight"])
        self._ranks(label, one["attributions"], weights)

    def _ranks(
        self, label: str, recorded: Sequence[Mapping[str, Any]],
        weights: Mapping[tuple[int, str], float],
    ) -> None:  # fmt: skip
        """Ranks must count from 1 and follow the weights; two equal ones may stand either way."""
        ranks = sorted(item["rank"] for item in recorded)
        if ranks != list(range(1, len(ranks) + 1)):
            self.same("ranks", ranks, list(range(1, len(ranks) + 1)), label)
        last = None
        for (rank, feature), weight in sorted(weights.items()):
            if last is not None and weight - last > self._tolerance * self._scale:
                self.found.append(Difference("rank", rank, "higher", label, feature))
            last = weight

    def _measured(
        self, keys: Sequence[str], one: Mapping[str, Any], other: Mapping[str, Any],
        label: str, feature: str | None = None,
    ) -> None:  # fmt: skip
        for key in keys:
            a, b = one.get(key), other.get(key)
            if not self._same_engine and (a is None or b is None):
                continue
            numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
            (self.close if numbers else self.same)(key, a, b, label, feature)

    def _segmentations(
        self, one: Mapping[str, Any] | None, other: Mapping[str, Any] | None
    ) -> None:
        if one is None or other is None:
            self.same("superpixels", one and one["count"], other and other["count"])
            return
        self.same("superpixel algorithm", one["algorithm"], other["algorithm"])
        self.same("number of superpixels", one["count"], other["count"])
        if not _same_map(one["map"], other["map"]):
            self.found.append(Difference("superpixels", "one map", "another"))


def _geometry(item: Mapping[str, Any]) -> dict[str, Any]:
    y, x = item.get("centroid") or (None, None)
    return {"area": item.get("area"), "centre y": y, "centre x": x}


def _same_map(one: str, other: str) -> bool:
    """Whether two label maps are equal, however their PNG files were packed."""
    import numpy as np

    from limecli.report.label_map import decoded

    mine = decoded(other)
    theirs = decoded(one, None if mine is None else mine.shape)
    return mine is not None and theirs is not None and bool(np.array_equal(mine, theirs))
