"""What is not as recorded, and the pair of explanations that it is collected from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-8
LOCAL = ("intercept", "local_prediction", "model_prediction")  # on the scale of the outputs
_DESCRIBED = ("feature", "condition", "value", "positions")
_WHAT = {
    "prediction": "prediction",
    "labels": "explained label",
    "attributions": "selected feature",
}


@dataclass(frozen=True)
class Difference:
    """One thing that is not as recorded.

    `difference` is None where it is no number, else |recorded - here|, divided by the scale of the
    model's outputs where that is larger than 1. `deviation` is the same in standard errors, where
    it is judged by these.
    """

    what: str
    recorded: Any
    here: Any
    label: str | None = None
    feature: str | None = None
    difference: float | None = None
    deviation: float | None = None


@dataclass(frozen=True)
class Compared:
    """One explanation's verdict: `verified` is None when it could not be computed again.

    `largest` is the largest difference of all numbers that must be equal, also of those within the
    tolerance; `deviation` the largest of those judged by their standard errors. `reason` says why
    nothing was decided, `notes` what else a reader should know.
    """

    id: str
    index: int
    verified: bool | None
    largest: float | None = None
    differences: tuple[Difference, ...] = ()
    reason: str = ""
    deviation: float | None = None
    notes: tuple[str, ...] = ()


class Pair:
    """Two explanations being compared; collects what differs.

    `lenient` passes over what only one of the two knows, where it may be missing.
    """

    def __init__(self, scale: float, lenient: bool, tolerance: float) -> None:
        self.scale, self.lenient, self.tolerance = scale, lenient, tolerance
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
        difference = abs(recorded - here) / (self.scale if scale is None else scale)
        self.largest = max(self.largest or 0.0, difference)
        if difference > self.tolerance:
            self.found.append(Difference(what, recorded, here, label, feature, difference))

    def passed_over(self, key: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Whether only one side has what may be missing on the other."""
        if key not in one:
            return True
        return self.lenient and (one[key] is None or other.get(key) is None)

    def matched(
        self, key: str, recorded: Mapping[str, Any], here: Mapping[str, Any], name: str,
        label: str | None = None,
    ) -> Iterator[tuple[str, Any, Any]]:  # fmt: skip
        """Name, recorded and computed item of a list, by index; notes the items of one side."""
        one = self.by_index(key, recorded, label)
        other = {item["index"]: item for item in here[key]}
        for index in [*one, *(index for index in other if index not in one)]:
            if index in one and index in other:
                yield other[index][name], one[index], other[index]
                continue
            item = one.get(index) or other.get(index) or {}
            told = item.get("weight", item.get("value", item["index"]))
            sides = (told, None) if index in one else (None, told)
            names = (label, item[name]) if key == "attributions" else (item[name], None)
            self.found.append(Difference(_WHAT[key], *sides, *names))

    def by_index(
        self, key: str, recorded: Mapping[str, Any], label: str | None = None
    ) -> dict[int, Any]:
        """The items of a recorded list; notes those that are given twice."""
        one = {item["index"]: item for item in recorded[key]}
        if len(one) < len(recorded[key]):
            twice = Difference(f"{_WHAT[key]} given twice", len(recorded[key]), len(one), label)
            self.found.append(twice)
        return one

    def predictions(self, recorded: Mapping[str, Any], here: Mapping[str, Any]) -> None:
        """The input, and what the model says of it."""
        self.same("sha256 of the input", recorded["input"]["sha256"], here["input"]["sha256"])
        for label, one, other in self.matched("prediction", recorded, here, "label"):
            self.same("name of the output", one["label"], other["label"], label)
            self.close("prediction", one["value"], other["value"], label)
        if "segmentation" in here or "segmentation" in recorded:
            self._segmentations(recorded.get("segmentation"), here.get("segmentation"))

    def described(
        self, one: Mapping[str, Any], other: Mapping[str, Any], label: str, feature: str
    ) -> None:
        """What a feature is."""
        for key in _DESCRIBED:
            self.same(key, one.get(key), other.get(key), label, feature)
        there = _geometry(other)
        for key, place in _geometry(one).items():
            self.close(key, place, there[key], label, feature, scale=1.0)

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


def started(
    recorded: Mapping[str, Any], here: Mapping[str, Any], lenient: bool, same_name: bool,
    tolerance: float,
) -> tuple[Pair, bool]:  # fmt: skip
    """A pair whose status and name have been compared, and whether both hold numbers."""
    pair = Pair(scale_of(here), lenient, tolerance)
    if same_name:
        pair.same("id", recorded["id"], here["id"])
    if recorded["status"] != here["status"]:
        pair.same("status", _status(recorded), _status(here))
    elif recorded["status"] == "skipped":
        pair.same("kind of skipping", recorded["kind"], here["kind"])
    return pair, recorded["status"] == here["status"] == "ok"


def scale_of(here: Mapping[str, Any]) -> float:
    """What differences are divided by: the largest number on the scale of the outputs, at least 1.

    Taken from what was computed here, so that no report can widen its own tolerance.
    """
    numbers: list[float] = [1.0, *(abs(score["value"]) for score in here.get("prediction", ()))]
    for label in here.get("labels", ()):
        numbers += [abs(label[key]) for key in LOCAL]
        numbers += [abs(item["weight"]) for item in label["attributions"]]
    return max(numbers)


def _status(item: Mapping[str, Any]) -> str:
    return "explained" if item["status"] == "ok" else f"skipped: {item['reason']}"


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
