"""Words and numbers that every readable format shares."""

from __future__ import annotations

from limecli.types import Attribution, Explanation, Flip, Report, Surrogate, Value

_JOINERS = "\u200c\u200d"  # part of emoji and of Persian and Indic words; they steer nothing
NOISE = 1e-12  # weights below it are rounding, of a model that answers always the same


def clean(text: str) -> str:
    """One line, control characters made visible: names from files cannot steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in _JOINERS else char.encode("unicode_escape").decode()
        for char in text
    )


def measured(surrogate: Surrogate) -> float | None:
    """The R² to judge by: held out where measured, else in the sample it was fitted to."""
    return surrogate.r2_fit if surrogate.fidelity is None else surrogate.fidelity


def r2(value: float) -> str:
    """R² with two digits; below 0 it may be anything."""
    return "below -10" if value < -10 else f"{round(value, 2) + 0.0:.2f}"


def fidelity_word(surrogate: Surrogate) -> str:
    """good, fair, low, or undefined."""
    value = measured(surrogate)
    if value is None:
        return "undefined"
    rounded = round(value, 2)  # the word must fit the number shown
    return "good" if rounded >= 0.7 else "fair" if rounded >= 0.3 else "low"


def fidelity_words(surrogate: Surrogate) -> str:
    """R² with the word for it: held out where measured, else in the sample it was fitted to."""
    value, word = measured(surrogate), fidelity_word(surrogate)
    if value is None:
        return _no_fidelity(surrogate)
    if surrogate.fidelity is None and surrogate.no_interval:  # too few samples flatter
        return f"fidelity not measured (R² in sample {r2(value)})"
    where = "in sample" if surrogate.fidelity is None else "held out"
    text = f"fidelity R² {r2(value)} {word} ({where})"
    if word == "low":
        text += ": this surrogate does not describe the model here"
    return text


def _no_fidelity(surrogate: Surrogate) -> str:
    if largest_weight(surrogate.attributions) > NOISE:
        return "fidelity not measured"
    why = surrogate.no_interval or "the model answers the same for every sample"
    return f"fidelity undefined: {why}"


def other_fidelities(item: Explanation, surrogate: Surrogate) -> str:
    """R² in sample and on real rows, to stand beside the one held out; may be empty."""
    parts = []
    if surrogate.fidelity is not None and surrogate.r2_fit is not None:
        parts.append(f"in sample {r2(surrogate.r2_fit)}")
    if surrogate.fidelity_rows is not None:
        count = f"{item.real_rows:,} " if item.real_rows is not None else ""
        parts.append(f"on {count}real rows {r2(surrogate.fidelity_rows)}")
    return f"R² {' · '.join(parts)}" if parts else ""


def number(value: float) -> str:
    """A prediction as a reader wants it: probabilities with three digits, others with five."""
    return (
        f"{value:.3f}"
        if abs(value) < 10
        else f"{value:,.5g}"
        if abs(value) < 1e5
        else f"{value:,.0f}"
        if abs(value) < 1e15
        else f"{value:.8g}"
    )


def weight(value: float, largest: float, sign: str = "+") -> str:
    """A weight with decimals that suit the largest one shown beside it.

    `sign` "+" writes the sign always, "-" that of negative numbers only.
    """
    if largest < NOISE:
        return "0"
    if 1e-2 <= largest < 1e4:
        decimals = 3 if largest < 10 else 2 if largest < 100 else 1
        return f"{value:{sign}.{decimals}f}"
    return f"{value:{sign}.2e}"


def largest_weight(parts: tuple[Attribution, ...]) -> float:
    """The largest |weight| of those shown; 0 when there is none."""
    return max((abs(part.weight) for part in parts), default=0.0)


def interval(part: Attribution, surrogate: Surrogate, largest: float) -> str:
    """The 95 % interval with the decimals of the weights, "exact", or "-" where there is none."""
    if surrogate.interval == "exact":
        return "exact"
    if part.low is None or part.high is None:
        return "-"
    low, high = weight(part.low, largest, "-"), weight(part.high, largest, "-")
    if low == high and part.low < part.high:
        return f"± {(part.high - part.low) / 2:.0e}"  # narrower than the digits shown
    return f"{low} to {high}"


def margin(part: Attribution, surrogate: Surrogate, largest: float) -> str:
    """As `interval`, in less room: how far its farther end lies from the weight."""
    if surrogate.interval == "exact" or part.low is None or part.high is None:
        return interval(part, surrogate, largest)
    return weight(max(part.high - part.weight, part.weight - part.low), largest, "-")


def chance(probability: float | None) -> str:
    """A probability that is only approximate: never more than "> 0.999"."""
    if probability is None:
        return "-"
    if probability > 0.999:
        return "> 0.999"
    return f"{probability:.3f}" if probability > 0.99 else f"{probability:.2f}"


def unsure(part: Attribution) -> bool:
    """Whether the interval holds both signs."""
    return (
        part.low is not None
        and part.high is not None
        and part.low <= 0 <= part.high
        and part.low < part.high
    )


def rank(part: Attribution) -> str:
    """The rank, or the first and last of those that the intervals do not tell apart."""
    return span(*(part.ranks or (part.rank, part.rank)))


def span(first: int, last: int) -> str:
    """Ranks from one to another: "3" or "2-4"."""
    return str(first) if first == last else f"{first}-{last}"


def tied(surrogate: Surrogate) -> list[str]:
    """The groups of ranks whose order is not supported, each once: ["2-4", "6-7"]."""
    groups = {part.ranks for part in surrogate.attributions if part.ranks}
    return [f"{first}-{last}" for first, last in sorted(groups) if first != last]


def cell(part: Attribution) -> str:
    """A feature's value as it stands in the file; a dash where the condition says it already."""
    value = part.value
    if value is None or part.condition == f"{part.feature} = {value}":
        return "-"
    return shown(value)


def shown(value: Value) -> str:
    """A value out of a file or a flip; "missing" for none."""
    if value is None:
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def changes(flip: Flip, kind: str) -> str:
    """What a flip changes: 'bill length 38.1 -> 46.2', or 'without "win", "prize"'."""
    if kind == "text":
        return "without " + ", ".join(f'"{change.feature}"' for change in flip.changes)
    if kind == "image":
        return "without " + ", ".join(change.feature for change in flip.changes)
    parts = []
    for change in flip.changes:
        before, after = shown(change.before), shown(change.after)
        if before == after:  # six digits do not tell them apart
            before, after = str(change.before), str(change.after)
        parts.append(f"{change.feature} {before} -> {after}")
    return ", ".join(parts)


def title(item: Explanation, report: Report) -> str:
    """What is explained, in a few words."""
    instance = item.instance
    if instance.kind == "tabular":
        column = report.settings.get("id_column")
        return f"{column} {instance.id}" if column else f"row {instance.id}"
    where = instance.path or {"image": "picture", "text": "text"}[instance.kind]
    several = instance.kind == "text" and len(report.explanations) > 1
    return f"{where}, line {instance.index + 1}" if several else where


def prediction(value: float, report: Report) -> str:
    """As `number`, but a regression may live on any scale: small values keep their digits."""
    small = report.model["task"] == "regression" and 0 < abs(value) < 0.1
    return f"{value:.4g}" if small else number(value)


def question(surrogate: Surrogate, report: Report) -> str:
    """The heading over a label's attributions."""
    if report.model["task"] == "regression":
        return f"why {surrogate.label} = {prediction(surrogate.model_prediction, report)}?"
    return f"why {surrogate.label}?"


def outcome(flip: Flip, report: Report) -> str:
    """What the model says after a flip: the class, or the target with its new value."""
    if report.model["task"] == "regression":
        return f"{flip.to} = {prediction(flip.value, report)}"
    return flip.to
