"""What a terminal shows of two audits compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from limecli.audit.plain import aligned, cut, share
from limecli.report.words import clean, number, weight

_CHANGED, _FEATURES, _CLASSES, _DIFFERENT = 20, 10, 10, 20  # lines of each
Content = Mapping[str, Any]


def lines(content: Content, changed: Iterable[Content]) -> Iterator[str]:
    """Counts, means, what differs in the two audits, and the first of the `changed` decisions."""
    decisions = content["decisions"]
    for side in ("old", "new"):
        yield f" {side}  {clean(content[side])}   {decisions[side]:,} decisions"
    yield (
        f" {decisions['both']:,} in both, {decisions['explained']:,} explained in both,"
        f" {decisions['changed']:,} changed"
    )
    yield ""
    yield from _counts(content)
    yield from _transitions(content)
    yield from _means(content)
    yield from _differences(content)
    yield from _changed(changed, decisions["changed"])
    yield ""
    yield from _footer(content)


def _counts(content: Content) -> Iterator[str]:
    decisions = content["decisions"]
    every = decisions["old"] + decisions["new"] - decisions["both"]
    rows = [[kind, f"{count:,}", share(count, every)] for kind, count in content["counts"].items()]
    for line in aligned(rows, right=(1, 2)):
        yield f"  {line}"
    for key, what in (
        ("other_input", "have another input"),
        ("other_label", "explain another class: their weights are not compared"),
        ("without_errors", "have weights of unknown error: these are not compared"),
    ):
        if decisions[key]:
            yield f"  {decisions[key]:,} {what}"


def _transitions(content: Content) -> Iterator[str]:
    found = content["transitions"]
    if not found:
        return
    yield ""
    yield "  decided before -> now"
    rows = [[f"{item['old']} -> {item['new']}", f"{item['count']:,}"] for item in found[:_CLASSES]]
    yield from (f"  {line}" for line in aligned(rows, right=(1,)))
    if len(found) > _CLASSES:
        yield f"  ... and {len(found) - _CLASSES} more: --json lists all"


def _means(content: Content) -> Iterator[str]:
    found = content["features"][:_FEATURES]
    if not found:
        return
    yield ""
    largest = max(max(item["old"] or 0.0, item["new"] or 0.0) for item in found)
    rows = [["mean |weight|", "old", "new", "difference", "95% interval", "shown in"]]
    for item in found:
        shown = f"{item['shown_old']:,} -> {item['shown_new']:,}"
        if item["decisions"] == item["shown_old"] == item["shown_new"]:
            shown = f"{item['decisions']:,}"
        told = ["-", "-", "-", "-"]
        if item["decisions"]:
            told = [weight(item["old"], largest, "-"), weight(item["new"], largest, "-"),
                    weight(item["difference"], largest), _interval(item, content)]  # fmt: skip
        rows.append([item["feature"], *told, shown])
    yield from (f"  {line}" for line in aligned(rows, right=(1, 2, 3, 4, 5)))
    more = len(content["features"]) - _FEATURES
    if more > 0:
        yield f"  ... and {more} more: --json lists them"


def _interval(item: Content, content: Content) -> str:
    """As in a report, with more digits where it is narrower than those shown."""
    if item["low"] is None:
        return "-"
    if not content["chance"]["decisions"]:
        return "exact"
    largest = max(item["old"], item["new"])
    low, high = weight(item["low"], largest, "-"), weight(item["high"], largest, "-")
    if low == high and item["low"] < item["high"]:
        return f"± {(item['high'] - item['low']) / 2:.0e}"  # narrower than the digits shown
    return f"{low} to {high}"


def _differences(content: Content) -> Iterator[str]:
    found = content["differences"]
    if not found:
        return
    yield ""
    rows = [[item["what"], _short(item["old"]), "->", _short(item["new"])] for item in found]
    rows = [["differs", "", "", ""], *rows[:_DIFFERENT]]
    yield from (f"  {line}" for line in aligned(rows))
    if len(found) > _DIFFERENT:
        yield f"  ... and {len(found) - _DIFFERENT} more: --json lists all"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)}: {', '.join(map(str, value[:8]))}"
    text = "none" if value is None else str(value)
    return text[:12] + "…" if len(text) == 64 else cut(clean(text), 40)


def _changed(changed: Iterable[Content], count: int) -> Iterator[str]:
    if not count:
        return
    yield ""
    rows = [["changed", "in", "decision, value", "strongest", "more"]]
    for item in islice(changed, _CHANGED):
        moved = item["sign"] or item["weight"]
        fidelity = f"R² {item['fidelity']}" if item["fidelity"] else ""
        told = item.get("reason") or "; ".join(part for part in (moved, fidelity) if part)
        rows.append([item["id"], item["changes"],
                     _pair(_side(item["old"]), _side(item["new"])),
                     _pair(item["old_top"] or "", item["new_top"] or ""), told])  # fmt: skip
    yield from (f"  {line}" for line in aligned(rows))
    if count > _CHANGED:
        yield f"  ... and {count - _CHANGED:,} more: -o FILE.csv or .json lists all"


def _side(side: Content | None) -> str:
    if side is None:
        return "missing"
    return f"{side['label']} {number(side['value'])}" if side["status"] == "ok" else side["status"]


def _pair(old: str, new: str) -> str:
    return old if old == new else f"{old} -> {new}"


def _footer(content: Content) -> Iterator[str]:
    chance = content["chance"]
    if chance["decisions"]:
        yield from (
            "  Weights, signs and strongest features count where their errors do not explain the"
            " change: at 95 %,",
            "  divided by the number of weights of the decision (Bonferroni). By chance alone at"
            f" most {chance['at_most']:,.0f} of {chance['decisions']:,}",
            "  decisions would count, in each of the three.",
        )
        if chance["same_draws"]:
            yield "  Both audits rest on the same samples: an unchanged model changes nothing."
        else:
            yield "  Decisions that share their samples err together: chance changes many, or none."
    elif content["decisions"]["explained"]:
        yield "  Exact weights have no sampling error: any difference but rounding is a change."
    if content["features"]:
        yield (
            "  Means: of the first label that both explain, over decisions that show the feature in"
            " both; sampling error only."
        )
