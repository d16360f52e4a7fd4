"""One decision as a line of an audit: the explanation of a report, and what only an audit has."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from limecli.report.json import result_dict
from limecli.report.jsonl import line_of
from limecli.types import Explanation, Skipped, Surrogate

_REFUSED = "the model refused it (what it said is left out: a column is masked)"


def record(item: Explanation | Skipped, more: Mapping[str, Any], masked: frozenset[str]) -> bytes:
    """The line, not yet bound to the one before. `more` are keys besides the explanation's."""
    content = result_dict(item, None)
    if isinstance(item, Explanation):
        for label, surrogate in zip(content["labels"], item.surrogates, strict=True):
            told = _replicates(surrogate)
            if told is not None:
                label["replicates"] = told
        content.update(more)
    if masked:
        _mask(content, masked)
    return line_of(content)


def _replicates(surrogate: Surrogate) -> str | None:
    """`float32[replicates, k]`, little-endian, in base64: sampling errors of averages over rows
    come from them.
    """
    if surrogate.replicates is None:
        return None
    return base64.b64encode(surrogate.replicates.astype("<f4").tobytes()).decode("ascii")


def replicates_of(label: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """Back from a record's label, `float32[replicates, k]`."""
    told, k = label.get("replicates"), len(label["attributions"])
    if not told or not k:
        return None
    return np.frombuffer(base64.b64decode(told), "<f4").reshape(-1, k)


def _mask(content: dict[str, Any], masked: frozenset[str]) -> None:
    """Keep the values of masked columns, and what would tell them, out of a record."""
    if content["status"] == "skipped":
        if content["kind"] == "predict":
            content["reason"] = _REFUSED
        return
    words = content["input"].pop("text", None) is not None
    for label in content["labels"]:
        for part in label["attributions"]:
            if words:
                part.pop("positions", None)
                part.update(feature=f"word {part['index']}", value=None, masked=True)
            elif part["feature"] in masked:
                part.update(value=None, condition=None, masked=True)
        for flip in label["flips"] or ():
            for change in flip["changes"]:
                if words:
                    change.update({"feature": f"word {change['index']}"})
                if words or change["feature"] in masked:
                    change.update({"from": None, "to": None})
