"""Why decisions were skipped, alike reasons together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# Names stay as they are where a word says what they are ("column 'age'"); other quoted text and
# numbers differ from row to row.
_NAMED = r"(?:columns?|feature|class|label) "
_QUOTED = re.compile(
    rf"({_NAMED})?(?<!\w)('(?:[^'\\]|\\.)*(?:'|$)|\"(?:[^\"\\]|\\.)*(?:\"|$))", re.DOTALL
)
_NUMBER = re.compile(r"(?<![\w'\"-])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w'\"])")
_HELD = 1000  # reasons told apart
_SHOWN = 20
_LONGEST = 300  # characters of a reason
OTHER = "other"


def normalised(reason: str) -> str:
    """The reason without what only one row has: its number, its values."""
    parts, at = [], 0
    reason = reason[: 4 * _LONGEST]
    for found in _QUOTED.finditer(reason):
        parts.append(_NUMBER.sub("N", reason[at : found.start()]))
        parts.append(found[0] if found[1] else "'...'")
        at = found.end()
    parts.append(_NUMBER.sub("N", reason[at:]))
    text = "".join(parts)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class Reasons:
    """Counts of skipped decisions by kind and reason, each with the index of the first.

    `name` is what the input is called: reasons begin with it, and the row's number.
    """

    def __init__(self, name: str) -> None:
        self._where = re.compile(rf"{re.escape(name)}, (?:row|line) \d+[,:]? ?")
        self._kinds: dict[str, list[int]] = {}
        self._reasons: dict[str, list[int]] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Take a record with status "skipped"."""
        index = record["index"]
        _count(self._kinds, record.get("kind", "input"), index)
        reason = normalised(self._where.sub("", record["reason"], count=1))
        if reason not in self._reasons and len(self._reasons) >= _HELD:
            reason = OTHER
        _count(self._reasons, reason, index)

    def content(self) -> dict[str, Any]:
        """`by_kind` and `by_reason`, most first; reasons after the twentieth as "other"."""
        reasons = sorted(
            (item for item in self._reasons.items() if item[0] != OTHER),
            key=lambda item: _rank(item[1]),
        )
        rest = [found for _, found in reasons[_SHOWN:]]
        if OTHER in self._reasons:
            rest.append(self._reasons[OTHER])
        shown = _listed("reason", reasons[:_SHOWN])
        if rest:
            pooled = [sum(count for count, _ in rest), min(first for _, first in rest)]
            shown += _listed("reason", [(OTHER, pooled)])
        kinds = sorted(self._kinds.items(), key=lambda item: _rank(item[1]))
        return {"by_kind": _listed("kind", kinds), "by_reason": shown}


def _count(counts: dict[str, list[int]], name: str, index: int) -> None:
    found = counts.setdefault(name, [0, index])
    found[0] += 1
    found[1] = min(found[1], index)


def _rank(found: list[int]) -> tuple[int, int]:
    return -found[0], found[1]


def _listed(key: str, items: Iterable[tuple[str, list[int]]]) -> list[dict[str, Any]]:
    return [{key: name, "count": count, "first": first} for name, (count, first) in items]
