"""The JSON report, schema 1: see `schema.py` and `limecli schema`."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from limecli.report.caveats import caveats
from limecli.report.sensitivity import held
from limecli.types import (
    Attribution,
    Cell,
    Explanation,
    Flip,
    Report,
    Segmentation,
    Skipped,
    Surrogate,
)

# JSON escapes the other control characters itself; these would steer a terminal or turn text round.
_CONTROLS = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
SCHEMA_VERSION = 1  # raise it when a key changes its meaning or goes; adding keys leaves it


class JsonFormat:
    """Strict JSON: no NaN, keys in a fixed order, equal bytes for equal runs outside provenance."""

    suffixes = (".json",)
    one_each = False
    binary = False

    def render(self, report: Report) -> bytes:
        """The report as indented UTF-8."""
        return json_bytes(as_dict(report), indent=2) + b"\n"


def json_bytes(content: Mapping[str, Any], indent: int | None) -> bytes:
    """Strict JSON as UTF-8, on one line and without spaces where `indent` is None."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(
        content, allow_nan=False, ensure_ascii=False, indent=indent, separators=separators
    )
    if not text.isascii():
        text = _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    elif "\x7f" in text:
        text = text.replace("\x7f", "\\u007f")
    # A lone surrogate (from broken text) has no UTF-8 form; JSON has an escape for it.
    return text.encode("utf-8", "backslashreplace")


def as_dict(report: Report) -> dict[str, Any]:
    """The report as JSON-ready data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "provenance": dict(report.provenance),
        "model": dict(report.model),
        "background": None if report.background is None else dict(report.background),
        "settings": dict(report.settings),
        "explanations": [result_dict(item, report) for item in report.explanations],
    }


def result_dict(item: Explanation | Skipped, report: Report | None) -> dict[str, Any]:
    """One explanation, or what was skipped, as JSON-ready data.

    `report` is what it is part of, for the sentences about it; an audit's envelope has them.
    """
    if isinstance(item, Skipped):
        return {"id": item.id, "index": item.index, "status": "skipped", "reason": item.reason,
                "kind": item.kind}  # fmt: skip
    instance = item.instance
    source: dict[str, Any] = {"path": instance.path, "sha256": instance.sha256}
    if instance.kind == "text":
        source["text"] = instance.payload
    result: dict[str, Any] = {
        "id": instance.id,
        "index": instance.index,
        "status": "ok",
        "input": source,
        "prediction": [
            {"label": score.label, "index": score.index, "value": score.value}
            for score in item.prediction
        ],
        "model_calls": item.model_calls,
        "labels": [_surrogate(surrogate) for surrogate in item.surrogates],
        "sampler": item.sampler,
        "weight_calls": item.weight_calls,
        "locality": None if item.locality is None else asdict(item.locality),
        "real_rows": item.real_rows,
    }
    if report is not None:
        result["caveats"] = caveats(item, report)
    if item.segmentation is not None:
        result["segmentation"] = _segmentation(item.segmentation)
    return result


def _surrogate(surrogate: Surrogate) -> dict[str, Any]:
    return {
        "label": surrogate.label,
        "index": surrogate.index,
        "intercept": surrogate.intercept,
        "local_prediction": surrogate.local_prediction,
        "model_prediction": surrogate.model_prediction,
        "fidelity": surrogate.fidelity,
        "r2_fit": surrogate.r2_fit,
        "stability": surrogate.stability,
        "stability_top": surrogate.stability_top,
        "settled": surrogate.settled,
        "attributions": _attributions(surrogate),
        "interval": surrogate.interval,
        "no_interval": surrogate.no_interval or None,
        "fidelity_rows": surrogate.fidelity_rows,
        "cell": None if surrogate.cell is None else _cell(surrogate.cell),
        "flips": None if surrogate.flips is None else [_flip(flip) for flip in surrogate.flips],
        "flip_samples": surrogate.flip_samples,
        "repeats": None if surrogate.repeats is None else asdict(surrogate.repeats),
        "variants": _variants(surrogate),
    }


def _attributions(surrogate: Surrogate) -> list[dict[str, Any]]:
    found = [_attribution(attribution) for attribution in surrogate.attributions]
    for item, over_all in zip(found, held(surrogate), strict=False):  # with variants only
        item["sign_holds"] = over_all.holds
    return found


def _variants(surrogate: Surrogate) -> list[dict[str, Any]] | None:
    """What each variant says, strongest effect first."""
    if surrogate.variants is None:
        return None
    return [
        {
            "name": variant.name,
            "fidelity": variant.fidelity,
            "effects": [{"index": index, "effect": effect} for index, effect in variant.effects],
        }
        for variant in surrogate.variants
    ]


def _cell(found: Cell) -> dict[str, Any]:
    """No row has no range."""
    some = found.rows > 0
    return {"rows": found.rows, "low": found.low if some else None,
            "high": found.high if some else None}  # fmt: skip


def _flip(flip: Flip) -> dict[str, Any]:
    return {
        "to": flip.to,
        "index": flip.index,
        "value": flip.value,
        "changes": [
            {"feature": item.feature, "index": item.index, "from": item.before, "to": item.after}
            for item in flip.changes
        ],
    }


def _attribution(item: Attribution) -> dict[str, Any]:
    result: dict[str, Any] = {
        "feature": item.feature,
        "index": item.index,
        "condition": item.condition,
        "value": item.value,
        "weight": item.weight,
        "low": item.low,
        "high": item.high,
        "sign_probability": item.sign_probability,
        "top_probability": item.top_probability,
        "rank": item.rank,
        "ranks": None if item.ranks is None else list(item.ranks),
    }
    if item.positions is not None:
        result["positions"] = [list(position) for position in item.positions]
    if item.area is not None and item.centroid is not None:
        result["area"] = item.area
        result["centroid"] = list(item.centroid)
    return result


def _segmentation(found: Segmentation) -> dict[str, Any]:
    """Algorithm, count, and the label map as a 16-bit PNG in base64."""
    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(found.labels.astype(np.uint16)).save(buffer, "PNG")
    return {
        "algorithm": found.algorithm,
        "parameters": dict(found.parameters),
        "count": found.count,
        "map": base64.b64encode(buffer.getvalue()).decode("ascii"),
    }
