"""Sums by group of a protected column: what was decided, and what the column itself weighed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.audit.summary.averages import Averages
from limecli.audit.summary.grouping import MOST_GROUPS
from limecli.audit.summary.proportions import newcombe, of_difference, of_mean, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_LABELS = 20  # the most frequent ones are told of


class Outcomes:
    """What the model says of each group: shares of its labels, or the mean of a regression.

    `names` are those of the labels by index; it may grow from outside.
    """

    def __init__(self, regression: bool, names: Mapping[int, str]) -> None:
        self._regression, self._names = regression, names
        self._labels: Counter[int] = Counter()
        self._counts: Counter[tuple[int, int]] = Counter()
        self._sizes: Counter[int] = Counter()
        self._around: float | None = None  # the first output: rounding spares the variance then
        self._sums: dict[int, tuple[float, float]] = {}

    def add(self, groups: Sequence[int], labels: Sequence[int], outputs: Sequence[float]) -> None:
        """Take decisions: of each its group, and a class's label or a regression's output."""
        self._sizes.update(groups)
        self._labels.update(labels)
        if not self._regression:
            self._counts.update(zip(groups, labels, strict=True))
            return
        for group, output in zip(groups, outputs, strict=True):
            if self._around is None:
                self._around = output
            apart = output - self._around
            first, second = self._sums.get(group, (0.0, 0.0))
            self._sums[group] = first + apart, second + apart * apart

    def of(self, group: int) -> dict[str, dict[str, Any]]:
        """By label: `decisions`, `rate` and its Wilson interval; of a regression `mean` and its t
        interval.
        """
        n = self._sizes[group]
        if self._regression:
            mean, variance, _ = self._moments(group)
            low, high = of_mean(mean, variance, n)
            return {
                name: _finite({"mean": mean, "low": low, "high": high}) for _, name in self._told()
            }
        found = {}
        for label, name in self._told():
            count = self._counts[group, label]
            low, high = wilson(count, n)
            found[name] = {"decisions": count, "rate": count / n, "low": low, "high": high}
        return found

    def between(self, group: int, reference: int) -> dict[str, dict[str, Any]]:
        """By label: how much higher the group's rate (or mean) is than that of the reference."""
        if self._regression:
            one, other = self._moments(group), self._moments(reference)
            low, high = of_difference(one, other)
            apart = {"difference": one[0] - other[0], "low": low, "high": high}
            return {name: _finite(apart) for _, name in self._told()}
        n, m = self._sizes[group], self._sizes[reference]
        found = {}
        for label, name in self._told():
            count, others = self._counts[group, label], self._counts[reference, label]
            low, high = newcombe((count, n), (others, m))
            found[name] = {"difference": count / n - others / m, "low": low, "high": high}
        return found

    def _moments(self, group: int) -> tuple[float, float, int]:
        """Mean, variance and count of a regression's outputs."""
        n = self._sizes[group]
        first, second = self._sums[group]
        apart = first / n
        variance = max(second / n - apart * apart, 0.0) * n / (n - 1) if n > 1 else math.nan
        return (self._around or 0.0) + apart, variance, n

    def _told(self) -> list[tuple[int, str]]:
        """The most frequent labels in the order of the model; two of one name tell their index."""
        labels = sorted(label for label, _ in self._labels.most_common(_MOST_LABELS))
        twice = Counter(self._names.values())
        return [
            (label, name if twice[name] == 1 else f"{name} (index:{label})")
            for label in labels
            for name in (self._names[label],)
        ]


class GroupWeights:
    """Mean signed weight of a column in each group, towards each label that is explained.

    What a decision does not show weighs 0 in it; of a group where none shows it nothing is told.
    `unknown` decisions say nothing of such a label.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._slots: dict[int, int] = {}
        self._decisions: Counter[int] = Counter()
        self._shown: Counter[int] = Counter()
        self._means = Averages()
        self.unknown = 0

    def count(self, groups: Sequence[int], labels: Sequence[Sequence[int]]) -> None:
        """Take decisions: of each its group, and the labels that it explains."""
        self.unknown += sum(not own for own in labels)
        pairs = zip(groups, labels, strict=True)
        found = Counter((group, label) for group, own in pairs for label in own)
        for (group, label), count in found.items():
            key = self._key(group, label)
            if key is not None:
                self._decisions[key] += count

    def add(self, entries: Sequence[tuple[int, int, float, NDArray[np.float32] | None]]) -> None:
        """Take weights: (group, label, weight, what the replicates say of it). These are empty
        where the weight is exact, None where nobody knows its error.
        """
        kept = [
            (key, value, replicates)
            for group, label, value, replicates in entries
            if (key := self._key(group, label)) is not None
        ]
        if not kept:
            return
        self._shown.update(key for key, _, _ in kept)
        keys = np.array([key for key, _, _ in kept], np.intp)
        self._means.reserve(len(self._slots) * MOST_GROUPS)
        self._means.add(keys, np.array([value for _, value, _ in kept]))
        counts = np.array([-1 if found is None else len(found) for _, _, found in kept])
        self._means.add_unknown(keys[counts < 0])
        for count in np.unique(counts[counts > 0]).tolist():
            rows = [found for _, _, found in kept if found is not None and len(found) == count]
            self._means.add_replicates(keys[counts == count], np.stack(rows).astype(np.float64))

    def _key(self, group: int, label: int) -> int | None:
        """None for a label after the twentieth."""
        if label not in self._slots:
            if len(self._slots) >= _MOST_LABELS:
                return None
            self._slots[label] = len(self._slots)
        return self._slots[label] * MOST_GROUPS + group

    def content(self, order: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """A line for each label and group (`order`; `names` by code) of which some show it."""
        found = []
        for label in sorted(self._slots):
            for group in order:
                key = self._slots[label] * MOST_GROUPS + group
                n = self._decisions[key]
                if n and self._shown[key]:
                    found.append({
                        "value": names[group],
                        "label": self._names[label],
                        "index": label,
                        "decisions": n,
                        "shown": self._shown[key],
                        "mean": self._means.mean(key, n),
                        **self._means.interval(key, n),
                    })  # fmt: skip
        return found


def _finite(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in values.items()
    }
