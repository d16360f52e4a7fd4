"""What a page says of protected columns: numbers and intervals, no verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limecli.report import words
from limecli.report.html_numbers import between, interval, number, percent, points, signed

_GROUPED = {
    "values": "Groups are the values of the column.",
    "bins": "Groups are the ranges that the background has for the column's numbers.",
    "quartiles": "Groups are the quarters of the first decisions' numbers.",
}


def protected(column: Mapping[str, Any], num_features: int | None) -> dict[str, Any]:
    """One protected column: what was decided in its groups, what it and its stand-ins weigh."""
    rates = any(
        "rate" in found for group in column["groups"] for found in group["outcomes"].values()
    )
    largest = max((abs(row["mean"]) for row in column["weights"]), default=0.0)
    sizes = max((row["mean_abs_weight"] for row in column["stand_ins"]), default=0.0)
    labels = list(column["groups"][0]["outcomes"]) if column["groups"] else []
    differences = column["differences"]
    outcome, difference = "Mean output", "Difference of mean outputs"
    if rates:
        outcome = "Share of each predicted class"
        difference = "Difference of shares, in percentage points,"
    return {
        "name": column["column"],
        "grouped_by": _GROUPED[column["grouped_by"]],
        "outcome": outcome,
        "difference": difference,
        "reference": differences[0]["reference"] if differences else "",
        "labels": labels,
        "groups": [
            {**group, "cells": [_outcome(group["outcomes"][label]) for label in labels]}
            for group in column["groups"]
        ],
        "differences": [
            {**row, "cells": [_outcome(row["outcomes"][label], rates) for label in labels]}
            for row in differences
        ],
        "top": _top(column, num_features),
        "weights": [
            {**row, "shown": words.weight(row["mean"], largest),
             "interval": interval(row["low"], row["high"], largest)}
            for row in column["weights"]
        ],
        "stand_ins": [
            {**row, "between": between(row["low"], row["high"], number),
             "weight": words.weight(row["mean_abs_weight"], sizes, "-"),
             "interval": interval(row["weight_low"], row["weight_high"], sizes)}
            for row in column["stand_ins"]
        ],
        "note": column["note"],
    }  # fmt: skip


def _outcome(found: Mapping[str, Any], rates: bool = True) -> dict[str, str]:
    """A rate, a mean, or a difference of either, with its interval."""
    low, high = found["low"], found["high"]
    if "rate" in found:
        return {"shown": percent(found["rate"]), "interval": between(low, high, percent)}
    if "mean" in found:
        return {"shown": number(found["mean"]), "interval": between(low, high, number)}
    show = points if rates else signed
    return {"shown": show(found["difference"]), "interval": between(low, high, show)}


def _top(column: Mapping[str, Any], num_features: int | None) -> str:
    top, name = column["top"], column["column"]
    if top is None:
        return f"{name}: {column['top_reason']}."
    among = (
        "the features shown" if num_features is None else f"the {num_features} strongest features"
    )
    ends = between(top["low"], top["high"], percent)
    return f"{name} is among {among} in {percent(top['share'])} of the decisions ({ends})."
