"""The summary of an audit as one page that stands for itself: no script, nothing fetched.

Every text that comes from files is escaped by jinja2; control characters are shown as text.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from limecli.report import words
from limecli.report.html_numbers import count, interval, number, percent, place, r2, share
from limecli.report.html_protected import protected

if TYPE_CHECKING:
    from jinja2 import Environment

DECISIONS = 100  # that the page lists
_TOP = 3  # features named of each
_EDGE = -1.0  # R² below it is drawn at the edge
_LISTED = 30  # features in a table
_CLASSES = 50
_REASONS = 5  # for missing intervals
_TRUST = (
    ("fidelity", "fidelity R², on perturbations"),
    ("fidelity_rows", "fidelity R², on own rows"),
    ("gap", "gap of surrogate and model"),
    ("stability", "stability of the top features"),
)
_QUANTILES = ("mean", "p05", "p25", "median", "p75", "p95", "min", "max")
_DEMANDED = (
    ("min_fidelity", "fidelity at least"),
    ("min_stability", "stability at least"),
    ("max_gap", "gap at most"),
    ("max_skipped", "skipped at most"),
)


class LowestFidelity:
    """The decisions of an audit whose first label has the lowest fidelity, in bounded memory.

    Equal ones: those that came first. Decisions whose fidelity was not measured are left out.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, dict[str, Any]]] = []
        self._count = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Take a record of an audit, skipped ones included."""
        self._count += 1
        label = record["labels"][0] if record["status"] == "ok" and record["labels"] else None
        fidelity = None if label is None else label["fidelity"]
        if label is None or fidelity is None:
            return
        place = (-fidelity, -self._count)
        if len(self._heap) < DECISIONS:
            heapq.heappush(self._heap, (*place, _digest(record, label)))
        elif place > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (*place, _digest(record, label)))

    def decisions(self) -> list[dict[str, Any]]:
        """The lowest first: id, index, decision, value, label, fidelity, gap, features."""
        return [found for _, _, found in sorted(self._heap, key=lambda item: item[:2])[::-1]]


def _digest(record: Mapping[str, Any], label: Mapping[str, Any]) -> dict[str, Any]:
    decision = record["prediction"][0]
    return {
        "id": record["id"],
        "index": record["index"],
        "decision": decision["label"],
        "value": decision["value"],
        "label": label["label"],
        "fidelity": label["fidelity"],
        "gap": abs(label["local_prediction"] - label["model_prediction"]),
        "features": [
            {"name": part["condition"] or part["feature"], "weight": part["weight"]}
            for part in label["attributions"][:_TOP]
        ],
    }


def summary_page(
    content: Mapping[str, Any],
    decisions: Sequence[Mapping[str, Any]],
    envelope: Mapping[str, Any],
    end: Mapping[str, Any] | None,
) -> bytes:
    """The page: `content` is the summary of an audit (limecli/audit/summary_schema.py), `decisions`
    what `LowestFidelity` found, `envelope` and `end` the audit's first and last line (None: it has
    no end). Equal arguments give equal bytes.
    """
    view = {
        "model": _name(content),
        "subtitle": _subtitle(content, envelope),
        "end": end,
        "counts": content["counts"],
        "tiles": _tiles(content),
        "audited": _audited(content, envelope, end),
        "run": _settings(content["run"] or {}),
        "settings": _settings(envelope["settings"]),
        "versions": [(name, text, False) for name, text in _versions(envelope).items()],
        "classes": content["classes"][:_CLASSES],
        "more_classes": max(len(content["classes"]) - _CLASSES, 0),
        "outputs": _spreads(content, (("output", "output"),)),
        "trust": _spreads(content, _TRUST),
        "words": _words(content["words"]),
        **_features(content),
        "protected": [
            protected(column, envelope["settings"].get("num_features"))
            for column in content["protected"]
        ],
        "skipped": content["skipped"]["by_reason"],
        "lowest": [_decision(item) for item in decisions],
        "sentences": content["notes"],
        "limecli": _versions(envelope)["limecli"],
    }
    text = _environment().get_template("summary.html.j2").render(view)
    return text.encode("utf-8", "backslashreplace")


def _name(content: Mapping[str, Any]) -> str:
    return str(content["model"].get("name") or "a model")


def _subtitle(content: Mapping[str, Any], envelope: Mapping[str, Any]) -> str:
    model, source = envelope.get("model") or {}, content.get("input") or {}
    classes = model.get("n_classes")
    what = f"{classes} classes" if classes else str(model.get("task", ""))
    parts = (model.get("estimator"), what, content.get("kind"), source.get("path"))
    return " · ".join(str(part) for part in parts if part)


def _tiles(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts = content["counts"]
    tiles = [(count(counts[key]), told) for key, told in (
        ("decisions", "decisions"), ("explained", "explained"), ("skipped", "skipped"),
    )]  # fmt: skip
    if _demands(content):
        tiles.append((count(counts["below"]), "below the gates"))
    for key, told in (("fidelity", "median fidelity R²"), ("fidelity_rows", "the same on own rows"),
                      ("gap", "median gap")):  # fmt: skip
        median = content[key]["median"]
        if median is not None:
            tiles.append((number(median) if key == "gap" else words.r2(median), told))
    return tiles


def _audited(
    content: Mapping[str, Any], envelope: Mapping[str, Any], end: Mapping[str, Any] | None
) -> list[tuple[str, str, bool]]:
    """(name, text, whether it is a hash) of everything that has one, and what it is."""
    model, source = envelope.get("model") or {}, envelope.get("input") or {}
    background = envelope.get("background") or {}
    rows = background.get("rows")
    about = [background.get("source"), f"{rows:,} rows" if isinstance(rows, int) else None]
    facts = [
        ("model", model.get("path") or _name(content), False),
        ("estimator", model.get("estimator"), False),
        ("sha256 of the model", model.get("sha256"), True),
        ("input", source.get("path"), False),
        ("sha256 of the input", source.get("sha256"), True),
        ("background", background.get("path"), False),
        ("background from", ", ".join(str(part) for part in about if part), False),
        ("sha256 of the background", background.get("sha256"), True),
        ("gates", "; ".join(_demands(content)), False),
        ("last hash", None if end is None else end.get("sha256"), True),
    ]
    return [(name, str(text), mono) for name, text, mono in facts if text]


def _demands(content: Mapping[str, Any]) -> list[str]:
    """What the gates asked of the audit."""
    gates = content["gates"]
    asked = [f"{told} {gates[key]}" for key, told in _DEMANDED if gates[key] is not None]
    return [*asked, *(f"to fail on {text}" for text in gates["fail_on"])]


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """What was used; `requested` only repeats what was asked for."""
    return [
        (name.replace("_", " "), _shown(value), False)
        for name, value in settings.items()
        if name != "requested" and value not in (None, [], (), {})
    ]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False)


def _versions(envelope: Mapping[str, Any]) -> dict[str, str]:
    provenance = envelope.get("provenance") or {}
    return {"limecli": provenance.get("limecli", ""), **provenance.get("versions", {})}


def _spreads(content: Mapping[str, Any], names: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Rows for what was measured at all."""
    return [_spread(key, told, content[key]) for key, told in names if content[key] is not None]


def _spread(key: str, told: str, found: Mapping[str, Any]) -> dict[str, Any]:
    scored = key.startswith("fidelity")
    show = r2 if scored else number
    row: dict[str, Any] = {
        "name": told,
        "measured": found["count"],
        "unknown": found["unknown"],
        "cells": [show(found[name]) for name in _QUANTILES],
        "places": None,
        "limits": (),
        "scale": "",
    }
    if not found["count"]:
        return row
    low, high = 0.0, 1.0
    if scored:
        low = max(_EDGE, min(0.0, found["p05"]))
    elif key == "gap":
        high = found["p95"]
    elif key == "output":
        low, high = found["min"], found["max"]
    row["places"] = {
        name: place(found[name], low, high) for name in ("p05", "p25", "median", "p75", "p95")
    }
    row["limits"] = tuple(place(limit, low, high) for limit in (0.3, 0.7)) if scored else ()
    row["scale"] = f"{low:.3g} to {high:.3g}"
    return row


def _words(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    styles = {"good": "good", "fair": "fair", "low": "low", "undefined": "track"}
    return [{"word": word, "style": style, **found[word]} for word, style in styles.items()]


def _features(content: Mapping[str, Any]) -> dict[str, Any]:
    """The table of all labels together, those of each label, and what to say of them."""
    rows, left = content["features"], content["features_left_out"]
    notes = [row["no_interval"] for row in rows[:_LISTED] if row["no_interval"]]
    notes = [f"No interval (-): {reason}." for reason in dict.fromkeys(notes)][:_REASONS]
    if left["features"]:
        notes.append(f"{count(left['features'])} more features are not in the summary.")
    if left["words_forgotten"]:
        notes.append(
            f"{count(left['words_forgotten'])} rare words with {percent(left['weight_share'])} of"
            " all |weight| were not kept."
        )
    explained = content["counts"]["explained"]
    return {
        "features": _feature_table(rows, explained) if rows else None,
        "feature_note": notes,
        "labels": [
            {"label": found["label"], **_feature_table(found["features"], found["decisions"])}
            for found in content["features_by_label"]
            if found["features"]
        ],
    }


def _feature_table(rows: Sequence[Mapping[str, Any]], decisions: int) -> dict[str, Any]:
    shown = rows[:_LISTED]
    largest = shown[0]["mean_abs_weight"]
    scale = max([largest, *(row["high"] for row in shown if row["high"] is not None)])
    cut = f"The {_LISTED} strongest of {count(len(rows))} features. " if len(rows) > _LISTED else ""
    return {
        "rows": [_feature(row, largest, scale) for row in shown],
        "scale": scale,
        "largest": largest,
        "decisions": decisions,
        "caption": f"{cut}A feature that a decision does not show counts as 0 in it.",
    }


def _feature(row: Mapping[str, Any], largest: float, scale: float) -> dict[str, Any]:
    low, high = row["low"], row["high"]
    drawn = low is not None and high is not None and scale > 0
    return {
        **row,
        "interval": interval(low, high, largest),
        "bar": place(row["mean_abs_weight"], 0.0, scale) if scale > 0 else 0.0,
        "from": place(low, 0.0, scale) if drawn else None,
        "to": place(high, 0.0, scale) if drawn else None,
    }


def _decision(item: Mapping[str, Any]) -> dict[str, Any]:
    decision = f"{item['decision']} {number(item['value'])}"
    if item["label"] != item["decision"]:
        decision += f", explained: {item['label']}"
    largest = max((abs(part["weight"]) for part in item["features"]), default=0.0)
    features = [
        {**part, "shown": words.weight(part["weight"], largest)} for part in item["features"]
    ]
    return {**item, "decision": decision, "fidelity": words.r2(item["fidelity"]),
            "features": features}  # fmt: skip


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("limecli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        count=count, percent=percent, number=number, share=share, weight=words.weight
    )
    return found


def _printable(value: Any) -> Any:
    # What is Markup already (a macro's result) is a class of its own.
    return words.clean(value) if type(value) is str else value
