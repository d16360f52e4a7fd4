"""What changed in one decision between two audits.

* prediction: another class is decided; a regression's value moved (see `Limits`).
* top: another feature is first, and in both audits the errors support that it is.
* weight: a weight moved by more than its errors explain (see `apart`).
* sign: such a weight whose interval leaves out 0 in both, on different sides.
* fidelity: R² moved by more than `Limits.fidelity`.
* skipped: explained in one, skipped in the other. missing: in one of them only.

Compared are labels and features that both explain: what one of them does not show has no weight
there that anybody could compare.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limecli.audit.compare.apart import Gap, Known, gaps, on_top, shared

KINDS = ("prediction", "top", "sign", "weight", "fidelity", "skipped", "missing")
_MOVED = 1e-6  # of what the features move: smaller changes of a regression are rounding
_DIGITS = 1e-9  # of the value itself
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """What counts as a change. `prediction`: of a regression's value, or of the score of the class
    that was decided; None: any other class, any value that differs by more than rounding.
    """

    prediction: float | None = None
    fidelity: float = 0.1


@dataclass(frozen=True)
class Terms:
    """What two audits share. `names`: features are told apart by name, not by place; by both unless
    `alone`. `same_draws`: they rest on the same samples.
    """

    kind: str
    regression: bool
    names: bool
    alone: bool
    same_draws: bool

    def keys(self, label: Record) -> list[Hashable]:
        """What tells the features of a label apart, in the order of its attributions."""
        parts = label["attributions"]
        if not self.names:
            return [item["index"] for item in parts]
        found: list[Hashable] = [item["feature"] for item in parts]
        if not self.alone or len(set(found)) < len(found):
            return [(item["feature"], item["index"]) for item in parts]
        return found


@dataclass
class Change:
    """One decision in both audits: what changed in it (`found`, keys of KINDS), and in numbers.

    `labels` are pairs of what both explain. `tests` is how many weights were compared that have a
    sampling error; `unjudged` how many have none on record.
    """

    old: Record | None
    new: Record | None
    found: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    labels: list[tuple[str, Known, Known]] = field(default_factory=list)
    tests: int = 0
    unjudged: int = 0
    other_input: bool = False
    other_label: bool = False

    @property
    def explained(self) -> bool:
        """Whether both audits explain it."""
        return all(side is not None and side["status"] == "ok" for side in (self.old, self.new))

    def as_dict(self) -> dict[str, Any]:
        """As JSON: what changed, and both sides in short."""
        record = self.new or self.old or {}
        return {
            "id": record["id"],
            "index": record["index"],
            "changes": [kind for kind in KINDS if kind in self.found],
            "old": _side(self.old),
            "new": _side(self.new),
            **{kind: parts for kind, parts in self.found.items() if parts},
        }


def judge(old: Record | None, new: Record | None, terms: Terms, limits: Limits) -> Change:
    """Compare one decision. Raises KeyError, TypeError, ValueError and the like for what is no
    record.
    """
    change = Change(old, new)
    if old is None or new is None:
        change.found["missing"] = []
        return change
    if old["status"] != new["status"]:
        change.found["skipped"] = []
        return change
    if not change.explained:
        return change
    change.other_input = old["input"].get("sha256") != new["input"].get("sha256")
    _predictions(change, old, new, terms, limits)
    theirs = {_name(item, terms): item for item in new["labels"]}
    both = [
        (str(item["label"]), item, theirs[_name(item, terms)])
        for item in old["labels"]
        if _name(item, terms) in theirs
    ]
    change.other_label = not both
    _fidelities(change, both, limits)
    if terms.kind != "image" or _same_superpixels(old, new):
        for name, one, other in both:
            first = Known(one, terms.keys(one))
            second = first if one == other else Known(other, terms.keys(other))
            change.labels.append((name, first, second))
        _weights(change, terms.same_draws)
        _tops(change)
    return change


def _name(label: Record, terms: Terms) -> Any:
    return None if terms.regression else label["label"]


def _same_superpixels(old: Record, new: Record) -> bool:
    one, other = old.get("segmentation"), new.get("segmentation")
    return one is not None and other is not None and one["map"] == other["map"]


def _predictions(change: Change, old: Record, new: Record, terms: Terms, limits: Limits) -> None:
    a, b = old["prediction"][0], new["prediction"][0]
    if terms.regression:
        limit = limits.prediction
        if limit is None:
            effects = sum(abs(item["weight"]) for item in old["labels"][0]["attributions"])
            limit = _MOVED * effects + _DIGITS * abs(a["value"])
        changed = abs(a["value"] - b["value"]) > limit
    else:
        changed = a["label"] != b["label"]
        if not changed and limits.prediction is not None:
            changed = abs(a["value"] - b["value"]) > limits.prediction
    if changed:
        change.found["prediction"] = []


def _fidelities(change: Change, both: Sequence[tuple[str, Record, Record]], limits: Limits) -> None:
    for name, one, other in both:
        a, b = one["fidelity"], other["fidelity"]
        if a is not None and b is not None and abs(a - b) > limits.fidelity:
            found = {"label": name, "old": a, "new": b}
            change.found.setdefault("fidelity", []).append(found)


def _weights(change: Change, same_draws: bool) -> None:
    pairs = [shared(old, new) for _, old, new in change.labels]
    tests = sum(map(len, pairs))
    for (name, old, new), common in zip(change.labels, pairs, strict=True):
        change.unjudged += len(old.places.keys() & new.places.keys()) - len(common)
        if not (old.exact and new.exact):
            change.tests += len(common)
        for gap in gaps(old, new, common, tests, same_draws):
            told = _gap(name, old, new, gap)
            change.found.setdefault("weight", []).append(told)
            opposite = (told["old"] > 0) != (told["new"] > 0)
            if opposite and old.leaves_out_0(gap.old) and new.leaves_out_0(gap.new):
                change.found.setdefault("sign", []).append(told)
    for kind in ("weight", "sign"):  # what moved most comes first
        change.found.get(kind, []).sort(key=lambda told: -abs(told["new"] - told["old"]))


def _gap(label: str, old: Known, new: Known, gap: Gap) -> dict[str, Any]:
    return {"label": label, "feature": str(old.parts[gap.old]["feature"]),
            "old": old.weights[gap.old], "new": new.weights[gap.new],
            "margin": gap.margin}  # fmt: skip


def _tops(change: Change) -> None:
    for name, old, new in change.labels:
        if old.top is None or new.top is None:
            continue
        one, other = old.keys[old.top], new.keys[new.top]
        if one != other and on_top(old, other) and on_top(new, one):
            features = old.parts[old.top]["feature"], new.parts[new.top]["feature"]
            found = {"label": name, "old": features[0], "new": features[1]}
            change.found.setdefault("top", []).append(found)


def _side(record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    if record["status"] != "ok":
        return {"status": "skipped", "reason": str(record["reason"])}
    first = record["prediction"][0]
    label, value = str(first["label"]), float(first["value"])
    return {"status": "ok", "label": label, "value": value, "top": next(_firsts(record), None)}


def _firsts(record: Record) -> Iterator[str]:
    """The strongest feature of each label."""
    for label in record["labels"]:
        for item in label["attributions"]:
            if item["rank"] == 1:
                yield str(item["feature"])
