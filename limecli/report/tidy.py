"""Explanations as a long table: one line per decision, label and feature. CSV and Parquet share it.

Lines are made from what a JSON report or an audit says of a decision, so that a table is the same
whether it was written at once or rendered from the file years later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from limecli.report import words
from limecli.report.json import result_dict
from limecli.types import Change, Flip, Report

COLUMNS = (
    "id", "index", "status", "reason", "label", "label_index", "model_prediction",
    "local_prediction", "intercept", "fidelity", "r2_fit", "stability", "rank", "feature",
    "feature_index", "condition", "value", "weight", "low", "high", "sign_probability",
    "top_probability", "rank_first", "rank_last", "fidelity_rows", "real_rows", "settled",
    "interval", "no_interval", "shared", "shared_of", "cell_rows", "cell_low", "cell_high", "flips",
    "flip_samples", "sampler", "model_calls", "weight_calls", "sign_holds",
    "caveats",
)  # fmt: skip
_MASKED = "(masked)"


def report_lines(report: Report) -> Iterator[dict[str, Any]]:
    """The lines of a whole report."""
    kind, task = report.settings["kind"], report.model["task"]
    for item in report.explanations:
        yield from tidy_lines(result_dict(item, report), kind, task)


def tidy_lines(
    item: Mapping[str, Any], kind: str, task: str, sentences: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The lines of one decision; columns that do not apply are absent or None.

    `item` is an explanation of a JSON report or a record of an audit, skipped ones included (one
    line, with the reason). `kind` is the settings', `task` the model's. `sentences` are the caveats
    of all decisions, as an audit's envelope has them. A label without any feature has a line of its
    own, so that no decision is lost. What lacks a key raises KeyError.
    """
    if item["status"] != "ok":
        return [{"id": item["id"], "index": item["index"], "status": item["status"],
                 "reason": item["reason"]}]  # fmt: skip
    head = _explanation(item, sentences)
    lines = []
    for label in item["labels"]:
        shared = head | _label(label, kind, task)
        lines += [shared | _attribution(part) for part in label["attributions"]] or [shared]
    return lines


def _explanation(item: Mapping[str, Any], sentences: Sequence[str]) -> dict[str, Any]:
    locality = item.get("locality") or {}
    return {
        "id": item["id"],
        "index": item["index"],
        "status": "ok",
        "real_rows": item.get("real_rows"),
        "shared": locality.get("shared"),
        "shared_of": locality.get("of"),
        "sampler": item.get("sampler"),
        "model_calls": item["model_calls"],
        "weight_calls": item.get("weight_calls"),
        "caveats": " ".join([*sentences, *item.get("caveats", ())]),
    }


def _label(label: Mapping[str, Any], kind: str, task: str) -> dict[str, Any]:
    cell = label.get("cell") or {}
    flips = label["flips"]
    if flips is not None:  # None: nobody looked
        flips = "; ".join(_flip(flip, kind, task) for flip in flips)
    return {
        "label": label["label"],
        "label_index": label["index"],
        "model_prediction": label["model_prediction"],
        "local_prediction": label["local_prediction"],
        "intercept": label["intercept"],
        "fidelity": label["fidelity"],
        "r2_fit": label["r2_fit"],
        "stability": label["stability"],
        "fidelity_rows": label.get("fidelity_rows"),
        "settled": label["settled"],
        "interval": label.get("interval"),
        "no_interval": label.get("no_interval"),
        "cell_rows": cell.get("rows"),
        "cell_low": cell.get("low"),
        "cell_high": cell.get("high"),
        "flips": flips,
        "flip_samples": label.get("flip_samples"),
    }


def _flip(found: Mapping[str, Any], kind: str, task: str) -> str:
    """What to change, and what the model says then, in the words of the other formats."""
    flip = Flip(
        found["to"],
        found.get("index", 0),
        found.get("value", 0.0),
        tuple(_change(change, kind) for change in found["changes"]),
    )
    # Reports of before flips had a value know its class only.
    outcome = words.outcome(flip, _of_task(task)) if "value" in found else flip.to
    return f"{words.changes(flip, kind)} gives {outcome}"


def _change(found: Mapping[str, Any], kind: str) -> Change:
    before, after = found["from"], found["to"]
    if kind == "tabular" and before is None and after is None:  # no change: both are masked
        before = after = _MASKED
    return Change(found["feature"], found.get("index", 0), before, after)


def _of_task(task: str) -> Report:
    """All that the words for an outcome ask of a report."""
    return Report({}, {"task": task}, None, {}, ())


def _attribution(part: Mapping[str, Any]) -> dict[str, Any]:
    first, last = part.get("ranks") or (None, None)
    return {
        "rank": part["rank"],
        "feature": part["feature"],
        "feature_index": part["index"],
        "condition": part["condition"],
        "value": part["value"],
        "weight": part["weight"],
        "low": part["low"],
        "high": part["high"],
        "sign_probability": part["sign_probability"],
        "top_probability": part["top_probability"],
        "rank_first": first,
        "rank_last": last,
        "sign_holds": part.get("sign_holds"),
    }
