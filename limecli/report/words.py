"""Words and numbers that every readable format shares."""

from __future__ import annotations

from limecli.types import Attribution, Explanation, Report, Surrogate

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


def fidelity_words(surrogate: Surrogate) -> str:
    """R² with the word for it: held out where measured, else in the sample it was fitted to."""
    held_out = surrogate.fidelity is not None
    exact = surrogate.fidelity if held_out else surrogate.r2_fit
    r2 = None if exact is None else round(exact, 2)  # the word must fit the number shown
    if r2 is None:
        return "fidelity undefined: the model answers the same for every sample"
    word = "good" if r2 >= 0.7 else "fair" if r2 >= 0.3 else "low"
    text = f"fidelity R² {r2:.2f} {word} ({'held out' if held_out else 'in sample'})"
    if word == "low":
        text += ": this surrogate does not describe the model here"
    return text


def number(value: float) -> str:
    """A prediction as a reader wants it: probabilities with three digits, others with five."""
    return (
        f"{value:.3f}"
        if abs(value) < 10
        else f"{value:,.5g}"
        if abs(value) < 1e5
        else f"{value:.5g}"
    )


def weight(value: float, largest: float) -> str:
    """A signed weight with decimals that suit the largest one shown beside it."""
    if largest < NOISE:
        return "0"
    if 1e-2 <= largest < 1e4:
        decimals = 3 if largest < 10 else 2 if largest < 100 else 1
        return f"{value:+.{decimals}f}"
    return f"{value:+.2e}"


def cell(part: Attribution) -> str:
    """A feature's value as it stands in the file; a dash where the condition says it already."""
    value = part.value
    if value is None or part.condition == f"{part.feature} = {value}":
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


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


def verdict(surrogate: Surrogate, report: Report) -> list[str]:
    """How far one label's weights can be trusted."""
    local = prediction(surrogate.local_prediction, report)
    model = prediction(surrogate.model_prediction, report)
    lines = [fidelity_words(surrogate), f"surrogate {local}, model {model}"]
    if len("   ".join(lines)) <= 76:
        lines = ["   ".join(lines)]
    if report.settings["kind"] == "tabular" and report.settings.get("discretizer") == "none":
        lines.append("weights of number columns are per standard deviation of the background")
    return lines


def basis(item: Explanation, report: Report) -> list[str]:
    """What an explanation rests on."""
    settings, background = report.settings, report.background
    lines = [
        f"engine {settings['engine']}, sampler {settings['sampler']} · {item.model_calls} model"
        f" calls · seed {settings['seed']}"
    ]
    if background is not None:
        where = {"rows": f"the {background['rows']} rows of {background['path']}",
                 "model": "recovered from the model"}  # fmt: skip
        lines.append(f"background: {where.get(background['source'], background['path'])}")
    return lines
