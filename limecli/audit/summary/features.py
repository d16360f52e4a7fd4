"""Which features carried how much weight over many decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.audit.summary.averages import Averages, mean_of, sampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.audit.summary.averages import Keys
    from limecli.types import FloatArray

_BLOCK = 1024  # decisions taken into the sums at once
_MOST = 10_000  # words held
_LONGEST = 200  # characters of a name
_SHOWN = 1000  # features of all decisions in the summary
_SHOWN_BY_LABEL = 100


class _Table:
    """Sums over one set of decisions, by feature."""

    def __init__(self) -> None:
        self.decisions = 0
        self.sizes = Averages()
        self._counts: NDArray[np.int64] = np.zeros((2, 0), np.int64)  # shown, of rank 1
        self._signed: FloatArray = np.zeros(0)

    def reserve(self, size: int) -> None:
        self.sizes.reserve(size)
        more = len(self.sizes.sums) - len(self._signed)
        if more > 0:
            self._counts = np.pad(self._counts, ((0, 0), (0, more)))
            self._signed = np.pad(self._signed, (0, more))

    def count(self, shown: Keys, top: Keys) -> None:
        np.add.at(self._counts[0], shown, 1)
        np.add.at(self._counts[1], top, 1)

    def add(self, keys: Keys, weights: FloatArray) -> None:
        self.sizes.add(keys, np.abs(weights))
        with np.errstate(over="ignore", invalid="ignore"):
            np.add.at(self._signed, keys, weights)

    def keep(self, keys: Keys) -> None:
        """Forget all but these features."""
        self.reserve(int(keys.max(initial=-1)) + 1)
        self.sizes.keep(keys)
        self._counts, self._signed = self._counts[:, keys], self._signed[keys]

    def content(self, names: list[str], most: int) -> list[dict[str, Any]]:
        """A row for each of the features with the largest mean |weight|."""
        size, n = min(len(names), len(self._signed)), max(self.decisions, 1)
        shown = np.flatnonzero(self._counts[0][:size])
        order = shown[np.argsort(-self.sizes.sums[shown], kind="stable")][:most]
        return [self._row(names[key], key, n) for key in order.tolist()]

    def _row(self, name: str, key: int, n: int) -> dict[str, Any]:
        return {
            "feature": name,
            "decisions": int(self._counts[0, key]),
            "top": int(self._counts[1, key]),
            **self.size(key),
            "mean_weight": mean_of(self._signed[key], n),
        }

    def size(self, key: int) -> dict[str, Any]:
        """The mean |weight| of a feature, and its interval."""
        n = max(self.decisions, 1)
        found = self.sizes.interval(key, n)
        if found["low"] is not None:
            found["low"] = max(found["low"], 0.0)  # no mean of sizes lies below
        return {"mean_abs_weight": self.sizes.mean(key, n), **found}


class _Block:
    """Decisions waiting to be summed; lists run over all their attributions."""

    def __init__(self) -> None:
        self.labels: list[int] = []
        self.lengths: list[int] = []
        self.keys: list[int] = []
        self.weights: list[float] = []
        self.shown: list[int] = []  # keys, each once a decision
        self.shown_lengths: list[int] = []
        self.top: list[int] = []  # one key a decision, -1 for none
        self.errors: list[int] = []  # replicates, 0 where exact, -1 where unknown
        self.replicates: list[NDArray[np.float32]] = []


class FeatureTable:
    """The mean |weight| of every feature over the first label of each decision.

    A feature that a decision does not show counts as 0 in it. Table columns are told apart by their
    index, words by themselves: of these the 10,000 with the most weight are held (`left_out` says
    what was forgotten), a word that stands several times in a text with the sum of its sizes.
    `labels` says whether there is a table for each label as well.
    """

    def __init__(self, by_name: bool, labels: bool, most: int = _MOST) -> None:
        self._by_name, self._most = by_name, most
        self._ids: dict[int | str, int] = {}
        self._names: list[str] = []
        self._all = _Table()
        self._labels: dict[int, _Table] | None = {} if labels else None
        self._label_names: dict[int, str] = {}
        self._block = _Block()
        self._cut = {"words": 0, "weight": 0.0}
        self.errors = {"exact": 0, "replicates": 0, "unknown": 0}

    def add(self, label: Mapping[str, Any]) -> None:
        """Take the first label of a record."""
        block, parts = self._block, label["attributions"]
        keys = self._keys(parts)
        top = next((i for i, part in enumerate(parts) if part["rank"] == 1), None)
        block.keys += keys
        block.weights += [part["weight"] for part in parts]
        block.lengths.append(len(keys))
        shown = list(dict.fromkeys(keys)) if self._by_name else keys
        block.shown += shown
        block.shown_lengths.append(len(shown))
        block.top.append(-1 if top is None or not parts[top]["weight"] else keys[top])
        block.labels.append(label["index"])
        self._label_names[label["index"]] = label["label"]
        block.errors.append(self._errors(label))
        if len(block.labels) >= _BLOCK:
            self.flush()
        if self._by_name and len(self._names) >= 2 * self._most:
            self._forget()

    def _errors(self, label: Mapping[str, Any]) -> int:
        """How sure the label's weights are: see `_Block.errors`."""
        if label.get("interval") == "exact":
            self.errors["exact"] += 1
            return 0
        found = sampled(label)
        if found is None:
            self.errors["unknown"] += 1
            return -1
        self.errors["replicates"] += 1
        self._block.replicates.append(found.T)
        return len(found)

    def _keys(self, parts: Sequence[Mapping[str, Any]]) -> list[int]:
        """What tells the features apart: numbers in the order in which they came."""
        by, ids = "feature" if self._by_name else "index", self._ids
        try:
            return [ids[part[by]] for part in parts]
        except KeyError:
            for part in parts:
                if part[by] not in ids:
                    ids[part[by]] = len(self._names)
                    self._names.append(_cut(part["feature"]))
            return [ids[part[by]] for part in parts]

    def flush(self) -> None:
        """Take the waiting decisions into the sums."""
        block, self._block = self._block, _Block()
        if not block.labels:
            return
        labels = np.array(block.labels)
        self._add(self._all, block, np.ones(len(labels), np.bool_))
        if self._labels is not None:
            for label in np.unique(labels).tolist():
                self._add(self._labels.setdefault(label, _Table()), block, labels == label)

    def _add(self, table: _Table, block: _Block, chosen: NDArray[np.bool_]) -> None:
        """Take the chosen decisions of a block into a table."""
        table.decisions += int(chosen.sum())
        table.reserve(len(self._names))
        lengths, errors = np.array(block.lengths), np.array(block.errors)
        taken = np.repeat(chosen, lengths)
        keys = np.array(block.keys, np.intp)
        weights = np.array(block.weights, np.float64)
        top = np.array(block.top, np.intp)
        shown = np.array(block.shown, np.intp)[np.repeat(chosen, np.array(block.shown_lengths))]
        table.count(shown, top[chosen & (top >= 0)])
        table.add(keys[taken], weights[taken])
        each = np.repeat(errors, lengths)
        table.sizes.add_unknown(keys[taken & (each < 0)])
        sampled = errors[errors > 0]
        picked = chosen[errors > 0]
        for count in np.unique(sampled).tolist():
            rows = [
                found
                for found, r, one in zip(block.replicates, sampled, picked, strict=True)
                if one and r == count
            ]
            if rows:
                mine = taken & (each == count)
                signs = np.where(weights[mine] < 0, -1.0, 1.0)
                table.sizes.add_replicates(
                    keys[mine], np.concatenate(rows).astype(np.float64) * signs[:, None]
                )

    def _forget(self) -> None:
        """Keep the words with the most weight."""
        self.flush()
        sums = self._all.sizes.sums[: len(self._names)]
        order = np.argsort(-sums, kind="stable")
        kept, gone = np.sort(order[: self._most]), order[self._most :]
        self._cut["words"] += len(gone)
        self._cut["weight"] += float(sums[gone].sum())
        for table in (self._all, *(self._labels or {}).values()):
            table.keep(kept)
        names = list(self._ids)
        self._ids = {names[old]: new for new, old in enumerate(kept.tolist())}
        self._names = [self._names[old] for old in kept.tolist()]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each feature, all labels together, the largest mean |weight| first."""
        self.flush()
        return self._all.content(self._names, _SHOWN)

    def of_features(self) -> Callable[[int], dict[str, Any]]:
        """What gives the row of a table's column by its index; zeros where it never was shown."""
        self.flush()
        never = len(self._all.sizes.sums)
        return lambda index: self._all.size(self._ids.get(index, never))

    def by_label(self) -> list[dict[str, Any]]:
        """The rows of the decisions that explain each label, in the order of the labels."""
        self.flush()
        return [
            {
                "label": self._label_names[label],
                "index": label,
                "decisions": table.decisions,
                "features": table.content(self._names, _SHOWN_BY_LABEL),
            }
            for label, table in sorted((self._labels or {}).items())
        ]

    def left_out(self) -> dict[str, Any]:
        """How many features the rows leave out, and what of words was forgotten on the way: how
        many (those that came again more than once), and their share of all |weight|.
        """
        self.flush()
        total, weight = float(self._all.sizes.sums.sum()), self._cut["weight"]
        return {
            "features": max(len(self._names) - _SHOWN, 0),
            "words_forgotten": self._cut["words"],
            "weight_share": weight / (total + weight) if weight else 0.0,
        }


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
