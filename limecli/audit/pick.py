"""Which decisions to look at: submodular pick (Ribeiro et al. 2016, algorithm 2).

The importance of feature j is I_j = sqrt(sum_i |W_ij|) over all decisions i; a choice V is worth
c(V) = sum of I_j over the features that have a weight in one of its decisions. Greedy choice comes
within 1 - 1/e of the best. One pass over the audit; 4 bytes a weight and 28 a decision stay.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from limecli.audit.places import Again, malformed, placed
from limecli.errors import ReportError, UsageError
from limecli.report.jsonl import AuditFile, line_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from limecli.types import FloatArray

By = Literal["condition", "feature"]
_TIE = 1e-12  # gains closer than this share of the best are equal
_AT_ONCE = 1 << 16  # decisions whose gains are computed together
_FIRST = 4096  # decisions whose gains are brought up to date first
_WRONG = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


@dataclass
class Matrix:
    """The weights of an audit as far as the pick needs them: which features each decision has.

    The features of decision i are `columns[starts[i]:starts[i + 1]]`, rising. `names` and `sums`
    (of |weight|) are the features', `totals` (of |weight|) and `offsets` (bytes) the decisions'.
    `others` counts decisions that do not explain the label, `skipped` those without weights.
    """

    names: list[str] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    columns: array[int] = field(default_factory=lambda: array("i"))
    starts: array[int] = field(default_factory=lambda: array("q", [0]))
    totals: array[float] = field(default_factory=lambda: array("d"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    others: int = 0
    skipped: int = 0

    def add(self, weights: Mapping[int, float], offset: int) -> None:
        """One decision: |weight| by column, none of them 0."""
        for j, size in weights.items():
            self.sums[j] += size
        self.columns.extend(sorted(weights))
        self.starts.append(len(self.columns))
        self.totals.append(sum(weights.values()))
        self.offsets.append(offset)


@dataclass(frozen=True)
class Choice:
    """A decision by its row in the matrix. `adds` and `covered` are shares of the importance of
    all features: what it brings, and what all chosen ones cover. Without `adds` all was covered.
    """

    row: int
    adds: float
    covered: float


@dataclass(frozen=True)
class Pick:
    """The chosen decisions, the first ones first, and what there is to tell of each."""

    choices: tuple[Choice, ...]
    told: tuple[dict[str, Any], ...]
    matrix: Matrix
    by: By
    importance: FloatArray

    def saturated(self) -> int | None:
        """How many decisions cover every feature, where there are fewer than were chosen."""
        found = sum(choice.adds > 0 for choice in self.choices)
        return found if found < len(self.choices) else None


def pick(
    audit: AuditFile,
    number: int,
    label: str | None = None,
    by: By = "condition",
    significant: bool = False,
    seed: int | None = None,
) -> Pick:
    """Choose `number` decisions of an audit, whose weights cover the most important features.

    Weights are those of `label`, or of the first label that a decision explains. `by` says what a
    table's feature is: the column, or (lime's way) its condition, "37 < age <= 45", where there is
    one; a text's is the word. With `significant` a weight whose interval holds 0
    counts as 0. Of equal decisions the first is taken, or, with a `seed`, any. Raises UsageError
    for an audit of images or a label that is not explained, ReportError for one without decisions.
    """
    kind = audit.envelope["settings"].get("kind")
    if kind == "image":
        raise UsageError(
            "superpixels of different pictures have nothing in common: pick chooses among rows of"
            " tables and among texts"
        )
    how: By = by if kind == "tabular" else "feature"
    with Again(audit.path) as again:
        matrix = read_matrix(audit, label, _named(kind, how), significant)
        importance = np.sqrt(np.array(matrix.sums, np.float64))
        choices = tuple(greedy(matrix, importance, number, seed))
        told = tuple(
            _told(rank, choice, again.at(matrix.offsets[choice.row]), label, audit.path)
            for rank, choice in enumerate(choices, start=1)
        )
    return Pick(choices, told, matrix, how, importance)


def _told(
    rank: int, choice: Choice, record: Mapping[str, Any], label: str | None, path: str
) -> dict[str, Any]:
    """A chosen decision as JSON-ready data, strongest features first."""
    try:
        first, labels = record["prediction"][0], record["labels"]
        explained = next((item for item in labels if item["label"] == label), labels[0])
        parts = sorted(explained["attributions"], key=lambda item: item["rank"])
        told = {
            "rank": rank,
            "id": str(record["id"]),
            "index": record["index"],
            "prediction": str(first["label"]),
            "value": float(first["value"]),
            "label": str(explained["label"]),
            "adds": choice.adds,
            "covered": choice.covered,
            "features": [
                {key: item[key] for key in ("feature", "condition", "weight", "low", "high")}
                for item in parts
            ],
        }
        line_of(told)  # refuses what is no JSON
    except _WRONG:
        raise malformed(path, f"decision {record.get('id')}") from None
    return told


def _named(kind: Any, by: By) -> Callable[[Mapping[str, Any]], Hashable]:
    """What tells features apart: columns by their place, as two may share a name; words by name."""
    if kind != "tabular":
        return lambda item: item["feature"]
    if by == "feature":
        return lambda item: item["index"]
    return lambda item: (item["index"], item["condition"])


def read_matrix(
    audit: AuditFile,
    label: str | None,
    named: Callable[[Mapping[str, Any]], Hashable],
    significant: bool,
) -> Matrix:
    """Read a whole audit. `named` gives what tells an attribution's feature from others."""
    matrix, columns = Matrix(), dict[Hashable, int]()
    explained: Counter[str] = Counter()
    for offset, line in placed(audit):
        if line.content["status"] != "ok":
            matrix.skipped += 1
            continue
        try:
            parts = _attributions(line.content, label, explained)
            if parts is None:
                matrix.others += 1
                continue
            matrix.add(_sizes(parts, named, columns, matrix, significant), offset)
        except _WRONG:
            raise malformed(audit.path, f"line {line.number}") from None
    if not matrix.offsets:
        if matrix.others and label is not None:
            found = ", ".join(name for name, _ in explained.most_common(10))
            raise UsageError(f"no decision explains {label!r}", f"explained are: {found}")
        raise ReportError(f"{audit.path} holds no explained decision")
    if significant and not matrix.columns:
        raise UsageError("no weight has an interval that leaves out 0", "leave out --significant")
    return matrix


def _attributions(
    content: Mapping[str, Any], label: str | None, explained: Counter[str]
) -> Sequence[Mapping[str, Any]] | None:
    """Those of a label, or of the first; counts the labels while nobody knows the right one."""
    for item in content["labels"]:
        if label is None or item["label"] == label:
            found: Sequence[Mapping[str, Any]] = item["attributions"]
            return found
        if len(explained) < 1000:
            explained[str(item["label"])] += 1
    return None


def _sizes(
    parts: Sequence[Mapping[str, Any]],
    named: Callable[[Mapping[str, Any]], Hashable],
    columns: dict[Hashable, int],
    matrix: Matrix,
    significant: bool,
) -> dict[int, float]:
    """|weight| by column of one decision; a word that stands there twice counts with its sum."""
    sums: dict[int, float] = {}
    for item in parts:
        if significant and not _leaves_out_0(item):
            continue
        if not math.isfinite(item["weight"]):
            raise ValueError("a weight is no number")
        key = named(item)
        j = columns.get(key)
        if j is None:
            j = columns[key] = len(columns)
            told = isinstance(key, tuple) and item["condition"] is not None
            matrix.names.append(str(item["condition"] if told else item["feature"]))
            matrix.sums.append(0.0)
        sums[j] = sums.get(j, 0.0) + item["weight"]
    return {j: abs(weight) for j, weight in sums.items() if weight != 0}


def _leaves_out_0(item: Mapping[str, Any]) -> bool:
    low, high = item["low"], item["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def greedy(
    matrix: Matrix, importance: FloatArray, number: int, seed: int | None = None
) -> Iterator[Choice]:
    """The decision that adds most, then the one that adds most to it, and so on.

    Gains can only shrink, so that old ones are bounds (Minoux 1978): only decisions whose bound
    reaches the best gain known are looked at. When all is covered, the largest sum of |weight| is
    next.
    """
    rng = None if seed is None else np.random.default_rng(seed)
    gains = _Gains(matrix, importance)
    totals = np.frombuffer(matrix.totals, np.float64).copy()
    everything, covered = float(importance.sum()), 0.0
    for _ in range(min(number, len(totals))):
        tied, gain = gains.best() if gains.left.any() else (np.empty(0, np.intp), 0.0)
        if gain <= 0:
            largest = totals.max()
            tied, gain = np.flatnonzero(totals >= largest - _TIE * abs(largest)), 0.0
        row = int(tied[0] if rng is None else rng.choice(tied))
        covered += gain
        gains.cover(row)
        totals[row] = -np.inf
        done = not gains.left.any()
        share = gain / everything if gain else 0.0
        yield Choice(row, share, 1.0 if done else covered / everything)


class _Gains:
    """What each decision would add: sums of the importance that is `left` uncovered."""

    def __init__(self, matrix: Matrix, importance: FloatArray) -> None:
        self._columns = np.frombuffer(matrix.columns, np.int32)
        self._starts = np.frombuffer(matrix.starts, np.int64)
        self.left = importance.copy()
        n = len(self._starts) - 1
        self._bounds: FloatArray = np.full(n, np.inf)
        self._known: NDArray[np.bool_] = np.zeros(n, np.bool_)  # whose bounds are the gains now

    def best(self) -> tuple[NDArray[np.intp], float]:
        """The decisions that add most, and how much that is."""
        most = _FIRST
        while True:
            best = float(self._bounds[self._known].max(initial=0.0))
            reached = self._bounds >= best * (1 - _TIE)
            stale = np.flatnonzero(reached & ~self._known)
            if not len(stale):
                return np.flatnonzero(reached), best
            if len(stale) > most:
                stale = stale[np.argpartition(-self._bounds[stale], most)[:most]]
            for start in range(0, len(stale), _AT_ONCE):
                self._compute(stale[start : start + _AT_ONCE])
            most *= 4

    def _compute(self, rows: NDArray[np.intp]) -> None:
        first, sizes = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        places = np.arange(sizes.sum()) + np.repeat(first - (np.cumsum(sizes) - sizes), sizes)
        owners = np.repeat(np.arange(len(rows)), sizes)
        values = self.left[self._columns[places]]
        self._bounds[rows] = np.bincount(owners, values, minlength=len(rows))
        self._known[rows] = True

    def cover(self, row: int) -> None:
        """Take a decision: its features count no more, and it cannot be taken again."""
        self.left[self._columns[self._starts[row] : self._starts[row + 1]]] = 0.0
        self._known[:] = False
        self._bounds[row] = -1.0
