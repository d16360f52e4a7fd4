"""An audit's summary in plain lines for the end of a run: at most 40 of at most 100 characters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from limecli.report.words import clean, number, weight

_LARGE = 1e6  # numbers from here on are told by three digits and an exponent
_WIDTH = 100
_NAME = 28  # characters of a name
_CLASSES, _FEATURES, _REASONS, _COLUMNS = 4, 6, 3, 3
_SPREADS = {
    "fidelity": "fidelity R², held out",
    "fidelity_rows": "fidelity R², real rows",
    "stability": "stability",
    "gap": "|surrogate - model|",
    "output": "output",
}
_QUANTILES = ("mean", "p05", "p25", "median", "p75", "p95")


def summary_lines(content: Mapping[str, Any]) -> list[str]:
    """What `Summary.content()` says, the most important of it."""
    lines = [
        *_counts(content),
        *_classes(content["classes"]),
        *_spreads(content),
        *_words(content),
        *_features(content),
        *_skipped(content["skipped"]["by_reason"]),
        *_protected(content["protected"]),
    ]
    return [_cut(clean(line)) for line in lines]


def _counts(content: Mapping[str, Any]) -> list[str]:
    counts, run = content["counts"], content["run"] or {}
    facts = [f"{counts['explained']:,} explained", f"{counts['skipped']:,} skipped"]
    gates = content["gates"]
    if any(gates[name] is not None for name in ("min_fidelity", "min_stability", "max_gap")):
        facts.append(f"{counts['below']:,} below the gates")
    if counts["repeated_ids"]:
        facts.append(f"{counts['repeated_ids']:,} have an id that stands before them, too")
    lines = [f"{counts['decisions']:,} decisions: {', '.join(facts)}"]
    speed = []
    if run.get("wall_s") is not None:
        speed.append(f"{run['wall_s']:,.1f} s")
    if run.get("rows_per_s") is not None:
        speed.append(f"{run['rows_per_s']:,.1f} decisions a second")
    speed += [f"{name} {run[name]}" for name in ("backend", "jobs") if run.get(name) is not None]
    return [*lines, *([" · ".join(speed)] if speed else [])]


def _classes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = [(row["label"], row["decisions"], row["share"]) for row in rows[:_CLASSES]]
    rest = rows[_CLASSES:]
    if rest:
        count = sum(row["decisions"] for row in rest)
        shown.append((f"{len(rest):,} others", count, sum(row["share"] for row in rest)))
    return [
        f"  {'predicted' if i == 0 else '':<10}{_short(label):<{_NAME}} {count:>12,} {share:>8.1%}"
        for i, (label, count, share) in enumerate(shown)
    ]


def _spreads(content: Mapping[str, Any]) -> list[str]:
    rows = []
    for key, name in _SPREADS.items():
        found = content[key]
        if found is None:
            continue
        if not found["count"]:
            rows.append(f"  {name:<23} not measured")
            continue
        cells = "".join(f" {_value(found[part]):>10}" for part in _QUANTILES)
        unknown = f"{found['unknown']:,} unknown" if found["unknown"] else ""
        rows.append(f"  {name:<23}{cells}  {unknown}".rstrip())
    return [f"{'':<25}{''.join(f'{name:>11}' for name in _QUANTILES)}", *rows]


def _words(content: Mapping[str, Any]) -> list[str]:
    if not content["fidelity"]["count"]:
        return []
    facts = [
        f"{word} {found['share']:.1%}"
        for word, found in content["words"].items()
        if found["decisions"]
    ]
    return [f"  {'fidelity in words':<23} {', '.join(facts)}"]


def _features(content: Mapping[str, Any]) -> list[str]:
    rows, explained = content["features"], content["counts"]["explained"]
    if not rows:
        return []
    largest = rows[0]["mean_abs_weight"]
    lines = [
        f"  {'strongest features':<{_NAME}} mean |weight|   95 % interval         shown  first"
    ]
    for row in rows[:_FEATURES]:
        size = weight(row["mean_abs_weight"], largest, "-")
        ends = _ends(row["low"], row["high"], row["mean_abs_weight"], largest)
        shown, first = row["decisions"] / explained, row["top"] / explained
        name = f"{_short(row['feature']):<{_NAME}}"
        lines.append(f"  {name} {size:>13}   {ends:<20} {shown:>6.1%} {first:>6.1%}")
    reason = rows[0]["no_interval"]
    if reason:
        lines[0] = lines[0].replace("95 % interval", "no interval  ")
    return lines


def _skipped(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"  {'skipped' if i == 0 else '':<10}{row['count']:>8,}  {row['reason']}"
        f" (first: index {row['first']:,})"
        for i, row in enumerate(rows[:_REASONS])
    ]
    rest = sum(row["count"] for row in rows[_REASONS:])
    return [*lines, f"  {'':<10}{rest:>8,}  for other reasons"] if rest else lines


def _protected(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [line for column in columns[:_COLUMNS] for line in _column(column)]
    if len(columns) > _COLUMNS:
        rest = len(columns) - _COLUMNS
        lines.append(
            f"{rest} more protected {'column' if rest == 1 else 'columns'}: in the summary"
        )
    return [*lines, *([columns[0]["note"]] if columns else [])]


def _column(column: Mapping[str, Any]) -> Iterable[str]:
    top = column["top"]
    place = column["top_reason"]
    if top is not None:
        share = _percent(top["share"], top["low"], top["high"])
        place = f"among those shown in {share} of decisions"
    yield f"protected {_short(column['column'])}: {place}"
    label = _label(column)
    if label is not None:
        told = [_outcome(group, label) for group in column["groups"]]
        verb = "predicted" if "rate" in column["groups"][0]["outcomes"][label] else "mean"
        yield _joined(f"  {verb} {_short(label)}:", told)
    weights = [row for row in column["weights"] if row["label"] == label] or column["weights"]
    if weights:
        largest = max(abs(row["mean"]) for row in weights)
        told = [f"{_short(row['value'])} {_signed(row, largest)}{_shown(row)}" for row in weights]
        yield _joined(f"  mean weight for {_short(weights[0]['label'])}:", told)
    elif top is not None:
        yield "  no mean weight: no decision shows it among its features (-k shows more)"
    stand_ins = [
        f"{_short(row['feature'])} {row['association']:.2f}"
        + ("" if row["low"] is None else f" ({row['low']:.2f}-{row['high']:.2f})")
        for row in column["stand_ins"]
    ]
    if stand_ins:
        yield _joined("  stand-ins (Cramér's V):", stand_ins)


def _shown(row: Mapping[str, Any]) -> str:
    """In how many decisions a column is among the features; elsewhere it counts as 0."""
    if row["shown"] == row["decisions"]:
        return ""
    return f" in {row['shown'] / row['decisions']:.0%}, else 0"


def _label(column: Mapping[str, Any]) -> str | None:
    """The label to tell of: of two classes the second, of several the most frequent."""
    found: dict[str, int] = {}
    for group in column["groups"]:
        for label, outcome in group["outcomes"].items():
            found[label] = found.get(label, 0) + outcome.get("decisions", 1)
    told = {row["label"] for row in column["weights"]}
    if len(told) == 1 and told <= set(found):
        return str(next(iter(told)))
    if len(found) == 2:
        return list(found)[1]
    return max(found, key=lambda label: found[label], default=None)


def _outcome(group: Mapping[str, Any], label: str) -> str:
    found, name = group["outcomes"][label], _short(group["value"])
    if "rate" in found:
        return f"{name} {_percent(found['rate'], found['low'], found['high'])}"
    if found["low"] is None:
        return f"{name} {_value(found['mean'])}"
    return f"{name} {_value(found['mean'])} ({_value(found['low'])} to {_value(found['high'])})"


def _signed(row: Mapping[str, Any], largest: float) -> str:
    shown = weight(row["mean"], largest)
    if row["low"] is None or row["low"] == row["high"]:
        return shown
    return f"{shown} ({weight(row['low'], largest)} to {weight(row['high'], largest)})"


def _joined(head: str, parts: Sequence[str]) -> str:
    """As many parts as there is room for, and how many more there are."""
    line = head
    for i, part in enumerate(parts):
        more = f", {len(parts) - i} more"
        nearly = f"{line}{',' if i else ''} {part}"
        room = _WIDTH if i == len(parts) - 1 else _WIDTH - len(more)
        if i and len(nearly) > room:
            return line + more
        line = nearly
    return line


def _ends(low: float | None, high: float | None, value: float, largest: float) -> str:
    if low is None or high is None:
        return "-"
    if low == high == value:
        return "exact"
    one, other = weight(low, largest, "-"), weight(high, largest, "-")
    return f"± {(high - low) / 2:.0e}" if one == other else f"{one} to {other}"


def _percent(share: float, low: float, high: float) -> str:
    return f"{share:.1%} ({100 * low:.1f} to {100 * high:.1f})"


def _value(value: float | None) -> str:
    if value is None:
        return "-"
    return number(value) if abs(value) < _LARGE else f"{value:.3g}"


def _short(text: str) -> str:
    return text if len(text) <= _NAME else f"{text[: _NAME - 3]}..."


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."
