"""What an audit says of protected columns: numbers and intervals, no verdict.

Groups are those of a column's values in the audited rows, or of its ranges where it holds numbers
(see `grouping`). Intervals of rates, outputs and associations take the audited rows for a sample of
rows like them; those of weights hold the sampling error of the shared neighborhood.
"""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from limecli.audit.summary.association import cramers_v, interval_of_v
from limecli.audit.summary.averages import sampled
from limecli.audit.summary.group_sums import GroupWeights, Outcomes
from limecli.audit.summary.grouping import MOST_GROUPS, POOLED, Grouping, grouping
from limecli.audit.summary.notes import PROTECTED
from limecli.audit.summary.proportions import wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 1000  # decisions; the first block settles what the groups are
_MOST_CODES = 1000  # of a feature; those beyond are taken together
_STAND_INS = 10
_COMPLEMENT = 1e-5  # how near to 1 (or margins to 0) the sum of two outputs that say the same is
NOT_RECEIVED = "the model does not receive this column"
NOT_SEEN = "no decision shows this column; the model does not name those that it receives"
_NO_WEIGHT = {"mean_abs_weight": 0.0, "low": 0.0, "high": 0.0, "no_interval": None}
OfFeature = Callable[[int], Mapping[str, Any]]


class _Weight(NamedTuple):
    """What a column weighs in one decision towards one label. `replicates` are None where nobody
    knows the error, empty where there is none.
    """

    label: int
    value: float
    replicates: NDArray[np.float32] | None


class _Decision(NamedTuple):
    """What is needed of one decision, until its block is summed."""

    values: tuple[str | None, ...]
    bins: array[int]
    outcome: int
    output: float
    shown: tuple[bool, ...]
    labels: tuple[int, ...]  # towards which weights are known
    weights: tuple[tuple[_Weight, ...], ...]  # of each column; what is not shown weighs 0


class Groups:
    """Folds the records of an audit into what it says of each protected column."""

    def __init__(self, envelope: Mapping[str, Any]) -> None:
        settings, model = envelope["settings"], envelope["model"]
        self.columns: tuple[str, ...] = tuple(settings.get("protected") or ())
        self._masked = set(settings.get("mask") or ())
        self._regression = model["task"] == "regression"
        self._binary = not self._regression and model.get("n_classes") == 2
        self._names = dict(enumerate(model.get("feature_names") or ()))
        self._named = bool(self._names) or settings["kind"] != "tabular"
        self._at: dict[int, int] = {}  # by a feature's index: the column's place
        self._position: dict[int, int] = {}  # the other way round
        self._locate(self._names)
        self._labels: dict[int, str] = dict(enumerate(model.get("class_names") or ()))
        self._waiting: list[_Decision] = []
        self._found: list[_Column] | None = None

    def add(self, record: Mapping[str, Any]) -> None:
        """Take an explained record; others say nothing here."""
        if not self.columns or record["status"] != "ok":
            return
        self._waiting.append(self._decision(record))
        if len(self._waiting) >= _BLOCK:
            self._flush()

    def _locate(self, names: Mapping[int, str]) -> None:
        """Find protected columns among features."""
        for index, name in names.items():
            if name in self.columns:
                self._at[index] = place = self.columns.index(name)
                self._position[place] = index

    def _learn(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Take the names of features from what a record shows."""
        new = {p["index"]: p["feature"] for p in parts if p["index"] not in self._names}
        self._names.update(new)
        self._locate(new)

    def _decision(self, record: Mapping[str, Any]) -> _Decision:
        values = record.get("groups") or {}
        bins = record.get("bins") or ()
        best = record["prediction"][0]
        self._labels.setdefault(best["index"], best["label"])
        shown = [False] * len(self.columns)
        weights: list[list[_Weight]] = [[] for _ in self.columns]
        if not self._named:
            self._learn(record["labels"][0]["attributions"])
        for part in record["labels"][0]["attributions"]:
            if part["index"] in self._at:
                shown[self._at[part["index"]]] = True
        towards = self._towards(record)
        for index, label, sign in towards:
            self._labels.setdefault(index, label["label"])
            for place, weight in self._weights(index, label, sign):
                weights[place].append(weight)
        return _Decision(
            tuple(values.get(name) for name in self.columns),
            array("i", [-1 if code is None else code for code in bins]),
            best["index"],
            best["value"],
            tuple(shown),
            tuple(index for index, _, _ in towards),
            tuple(tuple(found) for found in weights),
        )

    def _towards(self, record: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any], float]]:
        """Labels, and with which sign their weights speak for the label that is told of."""
        labels = record["labels"]
        if not self._binary:
            return [(label["index"], label, 1.0) for label in labels]
        for label in labels:
            if label["index"] == 1:
                return [(1, label, 1.0)]
        for score in record["prediction"]:
            self._labels.setdefault(score["index"], score["label"])
        values = [score["value"] for score in record["prediction"]]
        total, size = sum(values), max(1.0, *map(abs, values))
        if len(values) == 2 and min(abs(total), abs(total - 1.0)) <= _COMPLEMENT * size:
            return [(1, labels[0], -1.0)]  # what speaks for one speaks against the other
        return []

    def _weights(
        self, index: int, label: Mapping[str, Any], sign: float
    ) -> Iterator[tuple[int, _Weight]]:
        """The weights of protected columns that a label shows, each with the column's place."""
        at, parts = self._at, label["attributions"]
        shown = [(j, at[part["index"]]) for j, part in enumerate(parts) if part["index"] in at]
        if not shown:
            return
        exact = label.get("interval") == "exact"
        found = np.zeros((0, len(parts)), np.float32) if exact else sampled(label)
        if found is not None and sign < 0:
            found = -found
        for j, place in shown:
            if parts[j]["weight"] == 0 and parts[j]["low"] is None and label.get("interval"):
                continue  # never in the background: its 0 was not measured
            replicates = None if found is None else found[:, j]
            yield place, _Weight(index, sign * parts[j]["weight"], replicates)

    def _flush(self) -> None:
        block, self._waiting = self._waiting, []
        if not block:
            return
        if self._found is None:
            self._found = [self._column(place, block) for place in range(len(self.columns))]
        bins = self._codes(block)
        for column in self._found:
            column.add(block, bins)

    def _column(self, place: int, block: Sequence[_Decision]) -> _Column:
        at = self._position.get(place)
        values = [decision.values[place] for decision in block]
        codes = [_code(decision, at) for decision in block]
        return _Column(place, at, grouping(values, codes), self._regression, self._labels)

    def _codes(self, block: Sequence[_Decision]) -> NDArray[np.intp]:
        """[decisions, features]; -1 where a code is not told."""
        width = max(len(decision.bins) for decision in block)
        codes = np.full((len(block), width), -1, np.intp)
        for i, decision in enumerate(block):
            codes[i, : len(decision.bins)] = decision.bins
        return np.minimum(codes, _MOST_CODES - 1)

    def content(self, of_feature: OfFeature | None = None) -> list[dict[str, Any]]:
        """What was found of each column (`summary_schema` has the keys), JSON-ready. `of_feature`
        gives a feature's mean |weight| and its interval by the feature's index.
        """
        if self._found is None and self._waiting:  # too early to settle for good what groups are
            settled = copy.deepcopy(self)
            settled._flush()
            return settled.content(of_feature)
        self._flush()
        return [self._told(column, of_feature) for column in self._found or ()]

    def _told(self, column: _Column, of_feature: OfFeature | None) -> dict[str, Any]:
        received = column.place in self._position
        reason = NOT_RECEIVED if self._named else NOT_SEEN
        order, names = column.order(), column.grouping.names()
        shown = column.shown
        low, high = wilson(shown, column.decisions)
        share = shown / column.decisions
        top = {"decisions": shown, "share": share, "low": low, "high": high}
        return {
            "column": self.columns[column.place],
            "decisions": column.decisions,
            "grouped_by": column.grouping.by,
            "groups": [
                {
                    "value": names[code],
                    "decisions": int(column.counts[code]),
                    "share": int(column.counts[code]) / column.decisions,
                    "outcomes": column.outcomes.of(code),
                }
                for code in order
            ],
            "differences": self._differences(column, order, names),
            "top": top if received else None,
            "top_reason": None if received else reason,
            "weights": column.weights.content(order, names) if received else [],
            "weights_unknown": column.weights.unknown if received else 0,
            "stand_ins": self._stand_ins(column, of_feature),
            "note": PROTECTED,
        }

    @staticmethod
    def _differences(column: _Column, order: list[int], names: list[str]) -> list[dict[str, Any]]:
        """How far the outcomes of each group are from those of the largest."""
        own = [code for code in order if names[code] not in POOLED] or order
        largest = max(own, key=lambda code: int(column.counts[code]))
        return [
            {
                "value": names[code],
                "reference": names[largest],
                "outcomes": column.outcomes.between(code, largest),
            }
            for code in order
            if code != largest
        ]

    def _stand_ins(self, column: _Column, of_feature: OfFeature | None) -> list[dict[str, Any]]:
        """The features that tell most of which group a row is in."""
        found = []
        for index, table in column.tables.items():
            name = self._names.get(index, f"column {index}")
            if index != self._position.get(column.place) and name not in self._masked:
                association = cramers_v(table)
                if association is not None:
                    found.append((association, index, name, table))
        found.sort(key=lambda one: (-one[0], one[1]))
        return [
            _stand_in(name, table, association, _NO_WEIGHT if of_feature is None else of_feature(i))
            for association, i, name, table in found[:_STAND_INS]
        ]


def _stand_in(
    name: str, table: NDArray[np.int64], association: float, weight: Mapping[str, Any]
) -> dict[str, Any]:
    low, high = interval_of_v(table) or (None, None)
    return {
        "feature": name,
        "rows": int(table.sum()),
        "association": association,
        "low": low,
        "high": high,
        "mean_abs_weight": weight["mean_abs_weight"],
        "weight_low": weight["low"],
        "weight_high": weight["high"],
        "no_interval": weight["no_interval"],
    }


class _Column:
    """The sums of one protected column over its groups. `position` is its index as a feature."""

    def __init__(
        self,
        place: int,
        position: int | None,
        grouped: Grouping,
        regression: bool,
        labels: Mapping[int, str],
    ) -> None:
        self.place, self.position, self.grouping = place, position, grouped
        self.decisions, self.shown = 0, 0
        self.counts: NDArray[np.int64] = np.zeros(MOST_GROUPS, np.int64)
        self.outcomes = Outcomes(regression, labels)
        self.weights = GroupWeights(labels)
        self.tables: dict[int, NDArray[np.int64]] = {}  # by feature: [codes, groups]

    def add(self, block: Sequence[_Decision], bins: NDArray[np.intp]) -> None:
        """Take a block and its decisions' `bins` [decisions, features]."""
        place = self.place
        found = [
            self.grouping.code(decision.values[place], _code(decision, self.position))
            for decision in block
        ]
        codes = np.array(found, np.intp)
        self.decisions += len(block)
        self.shown += sum(decision.shown[place] for decision in block)
        self.counts += np.bincount(codes, minlength=MOST_GROUPS)
        self.outcomes.add(found, [one.outcome for one in block], [one.output for one in block])
        self.weights.count(found, [one.labels for one in block])
        self.weights.add([
            (code, *weight)
            for code, decision in zip(found, block, strict=True)
            for weight in decision.weights[place]
        ])  # fmt: skip
        for feature in range(bins.shape[1]):
            self._associate(feature, bins[:, feature], codes)

    def _associate(self, feature: int, bins: NDArray[np.intp], codes: NDArray[np.intp]) -> None:
        known = bins >= 0
        if not known.any():
            return
        bins, codes = bins[known], codes[known]
        table = self.tables.get(feature, np.zeros((0, MOST_GROUPS), np.int64))
        height = max(len(table), int(bins.max()) + 1)
        found = np.bincount(bins * MOST_GROUPS + codes, minlength=height * MOST_GROUPS)
        found = found.reshape(height, MOST_GROUPS)
        found[: len(table)] += table
        self.tables[feature] = found

    def order(self) -> list[int]:
        """The codes of the groups that have decisions."""
        counts = self.counts.tolist()
        return [code for code in self.grouping.order(counts) if counts[code]]


def _code(decision: _Decision, at: int | None) -> int | None:
    """The bin of the feature at this index."""
    code = -1 if at is None or at >= len(decision.bins) else decision.bins[at]
    return None if code < 0 else code
