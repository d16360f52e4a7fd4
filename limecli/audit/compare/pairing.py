"""Two audits decision by decision, matched by id; the n-th of an id with the n-th.

As long as both have the same order they are read side by side. Where they part, the rest of the new
one is read for its ids (24 bytes a decision), and its lines are then read where they stand.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from limecli.audit.places import Again, malformed, placed
from limecli.report.jsonl import AuditFile, AuditLine

if TYPE_CHECKING:
    from numpy.typing import NDArray

Record = Mapping[str, Any]
Placed = tuple[int, AuditLine]


def pairs(old: AuditFile, new: AuditFile) -> Iterator[tuple[Record | None, Record | None]]:
    """(old, new) of every decision, None where one audit lacks it. Reads both to their ends."""
    before, now = placed(old), placed(new)
    while True:
        one, other = next(before, None), next(now, None)
        if one is not None and other is not None:
            if _id(one[1], old.path) != _id(other[1], new.path):
                yield from _by_index(old, new, chain([one], before), chain([other], now))
                return
            yield one[1].content, other[1].content
            continue
        for rest, side in ((_from(one, before), 0), (_from(other, now), 1)):
            for _, line in rest:
                yield (line.content, None) if side == 0 else (None, line.content)
        return


def _from(first: Placed | None, rest: Iterator[Placed]) -> Iterator[Placed]:
    return rest if first is None else chain([first], rest)


def _id(line: AuditLine, path: str) -> str:
    found = line.content.get("id")
    if not isinstance(found, str):
        raise malformed(path, f"line {line.number}")
    return found


def _key(name: str) -> int:
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _by_index(
    old: AuditFile, new: AuditFile, before: Iterator[Placed], now: Iterator[Placed]
) -> Iterator[tuple[Record | None, Record | None]]:
    with Again(new.path) as again:
        index = _Index(new.path, now)
        for _, line in before:
            name = _id(line, old.path)
            offset = index.taken(name)
            twin = None if offset is None else again.at(offset)
            if twin is not None and twin.get("id") != name:
                twin = None  # two ids with one key: once in a million audits of ten million
            yield line.content, twin
        for offset in index.left():
            yield None, again.at(offset)


class _Index:
    """Where the decisions of an audit stand, by the hash of their ids."""

    def __init__(self, path: str, lines: Iterator[Placed]) -> None:
        keys, offsets = array("Q"), array("Q")
        for offset, line in lines:
            keys.append(_key(_id(line, path)))
            offsets.append(offset)
        found = np.frombuffer(keys, np.uint64)
        order = np.argsort(found, kind="stable")  # equal ids stay in their order
        self._keys: NDArray[np.uint64] = found[order]
        self._offsets: NDArray[np.uint64] = np.frombuffer(offsets, np.uint64)[order]
        self._free: NDArray[np.bool_] = np.ones(len(order), np.bool_)
        self._used: dict[int, int] = {}  # of keys that stand there more than once

    def taken(self, name: str) -> int | None:
        """The next decision of this id, if there is one more; it is taken then."""
        key = np.uint64(_key(name))
        first = int(np.searchsorted(self._keys, key))
        place = first + self._used.get(first, 0)
        if place >= len(self._keys) or self._keys[place] != key or not self._free[place]:
            return None
        self._free[place] = False
        if place + 1 < len(self._keys) and self._keys[place + 1] == key:
            self._used[first] = place + 1 - first
        return int(self._offsets[place])

    def left(self) -> Iterator[int]:
        """The decisions that nobody took, in the order of the file."""
        yield from np.sort(self._offsets[self._free]).tolist()
